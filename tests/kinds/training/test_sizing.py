"""The one sizing function, against worked values of the published rule."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.kinds.training.sizing import size_dataset, trial_files
from mlpstorage.kinds.training.workload import resolve_workload

GIB = 1 << 30


@pytest.mark.parametrize(
    ("model", "accelerators", "memory", "files", "binds"),
    [
        ("unet3d", 16, 2 * 128 * GIB, 56_000, "steps"),
        ("unet3d", 1, 15 * GIB, 3_500, "steps"),
        ("unet3d", 1, 512 * GIB, 18_751, "memory"),
        ("resnet50", 1, 1 * GIB, 160, "steps"),
        ("cosmoflow", 1, 128 * GIB, 242_955, "memory"),
    ],
)
def test_worked_values(model: str, accelerators: int, memory: int, files: int, binds: str) -> None:
    """The published examples come out, rounded up, with the bound that decides."""
    sizing = size_dataset(resolve_workload(model, "h100").workload, accelerators, memory)
    assert (sizing.files, sizing.binds) == (files, binds)


@given(st.integers(1, 4096), st.integers(0, 1 << 50))
def test_both_bounds_hold_and_one_is_tight(accelerators: int, memory: int) -> None:
    """The samples meet both bounds, and one file less would miss one."""
    workload = resolve_workload("resnet50", "h100").workload
    sizing = size_dataset(workload, accelerators, memory)
    per_file = workload.dataset.num_samples_per_file
    need = max(
        500 * workload.reader.batch_size * accelerators,
        5 * memory / workload.dataset.record_length_bytes,
    )
    assert sizing.samples >= need > sizing.samples - per_file


def test_no_folder_holds_more_than_ten_thousand_files() -> None:
    """Large data sets are spread over subfolders."""
    sizing = size_dataset(resolve_workload("unet3d", "h100").workload, 16, GIB)
    assert sizing.subfolders == 6


@pytest.mark.parametrize("model", ["unet3d", "resnet50", "cosmoflow"])
@pytest.mark.parametrize("accelerators", [1, 4])
def test_a_trial_has_several_steps_and_fits(model: str, accelerators: int) -> None:
    """A trial has at least five steps for every accelerator and takes at most half the disk."""
    workload = resolve_workload(model, "h100").workload
    files = trial_files(workload, accelerators, 100 * GIB)
    samples = files * workload.dataset.num_samples_per_file
    assert samples >= 5 * workload.reader.batch_size * accelerators
    assert samples * workload.dataset.record_length_bytes <= 50 * GIB


def test_no_trial_where_not_even_two_steps_fit() -> None:
    """A disk too small for any trial is told by 0 files."""
    assert trial_files(resolve_workload("unet3d", "h100").workload, 8, 2 * GIB) == 0
