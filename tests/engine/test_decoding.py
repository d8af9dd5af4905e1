from __future__ import annotations

import io
import math
import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import BenchmarkError, ConfigurationError
from mlpstorage.engine.decoding import Run, decoder_of, require_decoder
from mlpstorage.engine.formats import FORMAT_NAMES, format_of
from mlpstorage.engine.payload import Payload

FORMATS = [name for name in FORMAT_NAMES if name != "parquet"]
SEVERAL = [name for name in FORMATS if name not in {"jpeg", "png"}]
PATH = "/data/train/img_3_of_9"
RECORD = 20_000


def make(name: str, samples: int, record_bytes: int = RECORD) -> bytearray:
    """The file."""
    out = io.BytesIO()
    buffer = memoryview(bytearray(1 << 16))
    for offset, piece in format_of(name).pieces(record_bytes, samples, Payload(1, 0), buffer):
        out.seek(offset)
        out.write(piece)
    return bytearray(out.getvalue())


def decode(name: str, data: bytearray, first: int, samples: int, of: int) -> int:
    """Decode samples of a file of `of` samples from nothing but their bytes."""
    layout = format_of(name).layout(RECORD, of)
    begin = layout.header_bytes + first * layout.sample_bytes if first else 0
    last = first + samples
    end = layout.header_bytes + last * layout.sample_bytes if last < of else len(data)
    run = Run.of(layout, first, samples)
    return decoder_of(name, of).decode(memoryview(data)[begin:end], PATH, run)


def array_bytes(name: str, record_bytes: int = RECORD) -> int:
    """The bytes of the array of one sample that is no picture, by the format's own rules."""
    if name == "csv":
        return 8 * math.ceil((record_bytes - 1) / 8)
    return format_of(name).payload_bytes(record_bytes)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_of_one_sample_becomes_its_array(name: str) -> None:
    """Every format's file is decoded to the bytes that its array must have."""
    data = make(name, 1)
    if name == "png":
        width, height = struct.unpack_from(">II", data, 16)
        wanted = width * height * 3
    elif name == "jpeg":
        height, width = struct.unpack_from(">HH", data, data.index(b"\xff\xc0") + 5)
        wanted = width * height * 3
    else:
        wanted = array_bytes(name)
    assert decode(name, data, 0, 1, of=1) == wanted


@pytest.mark.parametrize("name", SEVERAL)
@given(cuts=st.sets(st.integers(1, 6)))
def test_runs_are_decoded_without_the_rest_of_the_file(name: str, cuts: set[int]) -> None:
    """However a file of 7 samples is cut at their borders, its runs make the same arrays."""
    data = make(name, 7)
    bounds = [0, *sorted(cuts), 7]
    for first, last in pairwise(bounds):
        made = decode(name, data, first, last - first, of=7)
        assert made == array_bytes(name) * (last - first)


def test_bare_samples_are_taken_from_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is copied are the samples' bytes, not the header's or a neighbour's."""
    seen: list[bytes] = []
    frombuffer = np.frombuffer

    def spy(data: memoryview, dtype: type) -> np.ndarray:
        seen.append(bytes(data))
        return frombuffer(data, dtype)

    data = make("npy", 3)
    payload = bytearray(3 * RECORD)
    Payload(1, 0).fill(memoryview(payload))
    monkeypatch.setattr(np, "frombuffer", spy)
    decode("npy", data, 0, 2, of=3)
    decode("npy", data, 2, 1, of=3)
    assert seen == [payload[: 2 * RECORD], payload[2 * RECORD :]]


# Bare bytes have no structure that could be damaged.
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "indexed_binary"])
def test_a_damaged_start_is_refused(name: str) -> None:
    """Bytes that are not the format's name the file, the library's words and the remedy."""
    data = make(name, 1)
    data[:100] = b"\xa5" * 100
    with pytest.raises(BenchmarkError, match=f"{PATH} cannot be decoded") as caught:
        decode(name, data, 0, 1, of=1)
    assert "Error" in caught.value.why
    assert "\n" not in caught.value.why
    assert "datagen again" in caught.value.fix


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_ends_early_is_refused(name: str) -> None:
    """Half of a file is no file."""
    data = make(name, 1)
    with pytest.raises(BenchmarkError, match=f"{PATH} cannot be decoded"):
        decode(name, data[: len(data) // 2], 0, 1, of=1)


@pytest.mark.parametrize("name", ["npz", "tfrecord"])
def test_checksums_are_compared(name: str) -> None:
    """One changed byte in the payload is found where the library compares a checksum."""
    data = make(name, 1)
    data[len(data) // 2] ^= 1
    with pytest.raises(BenchmarkError, match="cannot be decoded"):
        decode(name, data, 0, 1, of=1)


@pytest.mark.parametrize("byte", [0, 9, -1])
def test_both_checksums_of_a_record_are_compared(byte: int) -> None:
    """A changed length, checksum of the length, or checksum of the message is found."""
    data = make("tfrecord", 3)
    data[byte] ^= 1
    with pytest.raises(BenchmarkError, match="checksum"):
        decode("tfrecord", data, 0, 3, of=3)


@pytest.mark.parametrize("name", SEVERAL)
def test_a_run_with_too_few_samples_is_refused(name: str) -> None:
    """A run that lacks its last sample is an error, though what is there is whole."""
    data = make(name, 3)
    layout = format_of(name).layout(RECORD, 3)
    two = memoryview(data)[: layout.header_bytes + 2 * layout.sample_bytes]
    with pytest.raises(BenchmarkError, match="cannot be decoded"):
        decoder_of(name, 3).decode(two, PATH, Run.of(layout, 0, 3))


@pytest.mark.parametrize(
    ("name", "module", "project"),
    [
        ("hdf5", "h5py", "h5py"),
        ("jpeg", "PIL.Image", "Pillow"),
        ("parquet", "pyarrow.parquet", "pyarrow"),
    ],
)
def test_a_missing_library_is_said_beforehand(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, project: str
) -> None:
    """Before any run it is said which library lacks, why it is needed and what installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=f"cannot decode {name} files") as caught:
        require_decoder(name, 1)
    assert project in caught.value.why
    assert "pip install 'mlpstorage[decode]'" in caught.value.fix


def test_bare_samples_need_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several samples of an HDF5 file are decoded without h5py."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    require_decoder("hdf5", 2)
    assert decode("hdf5", make("hdf5", 2), 1, 1, of=2) == RECORD


@pytest.mark.parametrize("name", FORMATS)
def test_threads_share_a_decoder(name: str) -> None:
    """Readers decode at the same time, all with the same result."""
    data = make(name, 1)
    decoder, run = decoder_of(name, 1), Run.of(format_of(name).layout(RECORD, 1), 0, 1)
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: decoder.decode(memoryview(data), PATH, run), range(40)))
    assert len(set(made)) == 1
