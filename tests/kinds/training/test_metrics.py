"""AU and throughput, against recorded timings worked through the reference engine's formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.kinds.training.metrics import (
    EpochTimings,
    Window,
    aggregate,
    au_measured,
    au_nominal,
    throughput,
    throughput_reference,
)

# A recorded epoch of two ranks: seconds of load and compute per step, and of the whole block.
RECORDED = (
    EpochTimings(
        load=(0.412, 0.003, 0.051, 0.002, 0.118, 0.004),
        compute=(0.3231, 0.3232, 0.3230, 0.3231, 0.3234, 0.3230),
        block_seconds=2.5419,
        batch=7,
    ),
    EpochTimings(
        load=(0.385, 0.030, 0.049, 0.004, 0.120, 0.002),
        compute=(0.3230, 0.3231, 0.3231, 0.3230, 0.3231, 0.3233),
        block_seconds=2.5418,
        batch=7,
    ),
)


def reference_2025(
    load: list[float], compute: list[float], total: float, batch: int
) -> tuple[float, float]:
    """DLIO since 2025 (default window: the first step left out), step by step as it computes."""
    proc = [a + b for a, b in zip(load, compute, strict=True)]
    duration = total - proc[0]
    au = sum(compute[1:]) / duration * 100
    return au, (len(load) - 2) / duration * batch


def reference_2024(load: list[float], compute: float, total: float) -> float:
    """DLIO 2.0.0: nominal compute of all steps but the first over the time without the first."""
    return 100 * (len(load) - 1) * compute / (total - load[0] - compute)


@pytest.mark.parametrize("timings", RECORDED)
def test_agrees_with_the_reference_engine(timings: EpochTimings) -> None:
    """On the same timings, both formulas give what the reference engine gives."""
    au, rate = reference_2025(
        list(timings.load), list(timings.compute), timings.block_seconds, timings.batch
    )
    assert au_measured(timings, Window()) == pytest.approx(au, rel=1e-12)
    assert throughput_reference(timings, Window()) == pytest.approx(rate, rel=1e-12)
    nominal = reference_2024(list(timings.load), timings.compute[0], timings.block_seconds)
    assert au_nominal(timings, timings.compute[0]) == pytest.approx(nominal, rel=1e-12)


def test_throughput_counts_the_steps_of_its_own_window() -> None:
    """The reference counts one step too few; ours counts the window's n - 1."""
    ours = throughput(RECORDED[0], Window())
    theirs = throughput_reference(RECORDED[0], Window())
    assert ours / theirs == pytest.approx(5 / 4)


def test_ranks_are_averaged_and_added() -> None:
    """AU is the mean over ranks, throughput their sum."""
    both = aggregate([RECORDED], Window(), 0.323)
    single = [aggregate([[rank]], Window(), 0.323) for rank in RECORDED]
    assert both.au_percent[0] == pytest.approx(sum(s.au_percent[0] for s in single) / 2)
    assert both.samples_per_second[0] == pytest.approx(sum(s.samples_per_second[0] for s in single))


@pytest.mark.parametrize("steps", [0, 1])
def test_an_epoch_without_a_window_has_no_metric(steps: int) -> None:
    """Too few steps give nan, which no floor accepts, rather than 0 or a negative figure."""
    short = EpochTimings((0.1,) * steps, (0.2,) * steps, 1.0, 4)
    assert math.isnan(au_measured(short, Window()))
    assert math.isnan(throughput(short, Window()))
    assert math.isnan(au_nominal(short, 0.2))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1)), min_size=2, max_size=50),
    st.floats(0, 0.5),
)
def test_au_never_exceeds_one_hundred(steps: list[tuple[float, float]], overhead: float) -> None:
    """Whatever the timings, compute is part of the time: AU lies between 0 and 100 %."""
    load, compute = zip(*steps, strict=True)
    total = math.fsum(load) + math.fsum(compute) + overhead
    assert 0 < au_measured(EpochTimings(load, compute, total, 1), Window()) <= 100 + 1e-6


def test_published_run_has_the_throughput_that_its_au_implies() -> None:
    """A published result (MLPerf Storage v1.0, unet3d) agrees with AU × batch ÷ compute time."""
    shared = Path(__file__).parents[4] / "shared" / "data" / "results-v1.0"
    found = sorted(shared.glob("Closed/HPE/results/*/unet3d_h100/run-*/summary.json"))
    if not found:
        pytest.skip("the published results are not beside this checkout")
    for path in found:
        summary = json.loads(path.read_text())
        metric, ranks = summary["metric"], summary["num_accelerators"]
        implied = metric["train_au_mean_percentage"] / 100 * ranks * 7 / 0.323
        assert metric["train_throughput_mean_samples_per_second"] == pytest.approx(
            implied, rel=0.01
        )
