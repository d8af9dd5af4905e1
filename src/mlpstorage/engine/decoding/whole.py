"""Decoding files that are read whole and hold one sample, by the library that writes them too."""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlpstorage.engine.decoding import Decode, Run


def npz(data: memoryview, _run: Run) -> int:
    """The array that the reference engine takes; unpacking it checks its CRC-32."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return int(arrays["x"].nbytes)


def npy(data: memoryview, _run: Run) -> int:
    """The array of the file."""
    return int(np.load(io.BytesIO(data), allow_pickle=False).nbytes)


def hdf5(data: memoryview, _run: Run) -> int:
    """The dataset of samples, from memory."""
    h5py = importlib.import_module("h5py")
    with h5py.File(io.BytesIO(data), "r") as file:
        return int(file["records"][:].nbytes)


def picture(data: memoryview, _run: Run) -> int:
    """The pixels."""
    image: Any = importlib.import_module("PIL.Image")
    # The limit is against files of strangers; these are as large as the workload says.
    image.MAX_IMAGE_PIXELS = None
    with image.open(io.BytesIO(data)) as opened:
        return int(np.asarray(opened).nbytes)


DECODERS: dict[str, Decode] = {
    "npz": npz,
    "npy": npy,
    "hdf5": hdf5,
    "jpeg": picture,
    "png": picture,
}
