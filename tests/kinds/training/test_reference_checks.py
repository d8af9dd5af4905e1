from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import UsageError
from mlpstorage.engine.dlio.tree import Capabilities, Tree
from mlpstorage.kinds.training.dataset_choice import dataset_spec
from mlpstorage.kinds.training.options import RunOptions
from mlpstorage.kinds.training.reference import engine_options
from mlpstorage.kinds.training.reference_checks import (
    findings,
    modules_for,
    placement_problems,
    used_files,
    workload_problems,
)
from mlpstorage.kinds.training.reference_document import document_of
from mlpstorage.kinds.training.workload import resolve_workload

OLD = Tree(Path("/x"), "2.0.0", Capabilities())
LATER = Tree(Path("/x"), "2.0.0", Capabilities(direct=True, metric_window=True))
OPTIONS = RunOptions(model="unet3d", accelerator_type="h100", num_accelerators=2)


def _workload(model: str = "unet3d", *params: str):  # noqa: ANN202 (a Workload)
    return resolve_workload(model, "h100", params).workload


@given(
    files=st.integers(1, 5000),
    samples=st.integers(1, 1300),
    batch=st.integers(1, 500),
    ranks=st.integers(1, 64),
)
def test_dlio_gets_files_that_divide_by_its_ranks(
    files: int, samples: int, batch: int, ranks: int
) -> None:
    """Samples divide by the ranks, and no file more is left out than one unit of that."""
    used = used_files(files, samples, batch, ranks)
    assert used <= files
    assert used * samples % ranks == 0
    assert files - used < max(ranks, batch * ranks)


def test_one_sample_per_file_loses_no_step() -> None:
    """With one sample per file DLIO does the steps of the native engine."""
    for files in range(1, 200):
        assert used_files(files, 1, 4, 3) // 12 == files // 12


def test_dlio_always_starts_by_mpi() -> None:
    """By default that is mpi, local is a contradiction, and native keeps what was said."""
    dlio = replace(OPTIONS, engine="dlio")
    assert engine_options(dlio).exec_type == "mpi"
    assert engine_options(OPTIONS).exec_type == "auto"
    with pytest.raises(UsageError, match="local cannot start DLIO"):
        engine_options(replace(dlio, exec_type="local"))


@pytest.mark.parametrize(
    "changes",
    [
        {"engine": "dilo"},
        {"dlio_stock": True},
        {"dlio_path": "x"},
        {"dlio_start_method": "spawn"},
        {"engine": "dlio", "dlio_start_method": "thread"},
    ],
)
def test_options_that_contradict_are_refused(changes: dict[str, str | bool]) -> None:
    """Unknown engines and start methods, and options of DLIO without it, are usage errors."""
    with pytest.raises(UsageError):
        engine_options(replace(OPTIONS, **changes))


def test_what_dlio_would_ignore_is_refused() -> None:
    """Direct I/O needs a tree that knows it; TFRecord files need TensorFlow's loader."""
    direct = _workload("unet3d", "reader.odirect=true")
    assert ["reader.odirect" in p.what for p in workload_problems(direct, OLD)] == [True]
    assert not list(workload_problems(direct, LATER))
    torch = _workload("resnet50", "reader.data_loader=pytorch")
    assert ["TFRecord" in p.what for p in workload_problems(torch, OLD)] == [True]
    assert modules_for(_workload("resnet50")) == ("tensorflow",)
    assert modules_for(torch, generates=True) == ("tensorflow",)
    assert modules_for(_workload()) == ()


def test_hosts_with_unequal_ranks_are_refused() -> None:
    """DLIO hangs where hosts have different numbers of ranks."""
    hosts = (Host("a", 2), Host("b", 2))
    assert not list(placement_problems(hosts, 4))
    (problem,) = placement_problems(hosts, 3)
    assert "a: 2, b: 1" in problem.what


def test_known_defects_are_told_where_they_apply() -> None:
    """Whole files read for every sample, and shuffles without effect, are findings."""
    several = _workload("unet3d", "dataset.num_samples_per_file=8")
    assert any("read whole for each" in text for text in findings(several, OLD))
    assert not any("read whole for each" in text for text in findings(_workload(), OLD))
    assert any("file_shuffle has no effect" in text for text in findings(_workload(), OLD))
    assert any("nominal" in text for text in findings(_workload(), OLD))
    assert not any("nominal" in text for text in findings(_workload(), LATER))


def test_the_document_speaks_both_generations_of_names() -> None:
    """Sizes under both names, no read_type, and shuffles that are off left out."""
    workload = _workload("unet3d", "reader.file_shuffle=off")
    document = document_of(
        workload, dataset_spec(workload, 8), Path("/data/unet3d"), files=6, seed=5,
        start_method="spawn",
    )  # fmt: skip
    dataset, reader = document["dataset"], document["reader"]
    for name in ("record_length", "record_length_bytes"):
        assert dataset[name] == 146_600_628
        assert dataset[f"{name}_stdev"] == 68_341_808
        assert dataset[f"{name}_resize"] == 2_097_152
    assert dataset["num_files_train"] == 6
    assert "read_type" not in reader
    assert "file_shuffle" not in reader
    assert reader["sample_shuffle"] == "seed"
    assert reader["multiprocessing_context"] == "spawn"
    assert document["train"]["seed"] == 5
    assert msgspec.json.encode(document)
