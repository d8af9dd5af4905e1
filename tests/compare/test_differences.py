"""Better, worse, no difference, not decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.compare.differences import Judgement, Scale, difference_of
from mlpstorage.compare.gates import check_gates, parse_gate
from mlpstorage.core.errors import UsageError
from mlpstorage.core.measures import Better, Measure

if TYPE_CHECKING:
    from mlpstorage.compare.differences import Difference

EPOCHS = (100.0, 101.0, 99.0, 100.5, 99.5)


def run(*samples: float, better: Better = Better.HIGHER, name: str = "throughput") -> Measure:
    """A run with these epochs."""
    mean = float(np.mean(samples))
    return Measure(name, "throughput", "samples/s", better, mean, samples, "epochs")


def compared(before: list[Measure], after: list[Measure], scale: Scale | None = None) -> Difference:
    """The difference of two sides."""
    return difference_of(before, after, scale or Scale())


def scaled(factor: float) -> tuple[float, ...]:
    """The epochs, all changed alike."""
    return tuple(value * factor for value in EPOCHS)


def test_identical_runs_do_not_differ() -> None:
    """The same epochs on both sides are no difference of 0 %."""
    found = compared([run(*EPOCHS)], [run(*EPOCHS)])
    assert found.judgement is Judgement.SAME
    assert found.percent == 0
    assert found.basis == "5 and 5 epochs"


@pytest.mark.parametrize(
    ("factor", "better", "judgement"),
    [
        (1.1, Better.HIGHER, Judgement.BETTER),
        (0.9, Better.HIGHER, Judgement.WORSE),
        (1.1, Better.LOWER, Judgement.WORSE),
        (0.9, Better.LOWER, Judgement.BETTER),
    ],
)
def test_a_shift_is_judged_by_the_direction_of_the_figure(
    factor: float, better: Better, judgement: Judgement
) -> None:
    """More throughput is better, and more latency is worse."""
    found = compared([run(*EPOCHS, better=better)], [run(*scaled(factor), better=better)])
    assert found.judgement is judgement
    assert found.percent == pytest.approx(100 * (factor - 1))
    assert found.interval is not None
    assert found.interval[0] < found.percent < found.interval[1]


def test_a_certain_difference_may_be_too_small_to_matter() -> None:
    """Half a percent between constants is sure, and no difference until --least is lowered."""
    before, after = [run(100, 100, 100)], [run(100.5, 100.5, 100.5)]
    assert compared(before, after).judgement is Judgement.SAME
    assert compared(before, after, Scale(least_percent=0.1)).judgement is Judgement.BETTER


def test_a_wide_spread_hides_a_difference() -> None:
    """Means that lie 10 % apart among epochs that vary by 40 % do not differ."""
    before, after = [run(80, 100, 120, 60, 140)], [run(90, 110, 130, 70, 150)]
    assert compared(before, after).judgement is Judgement.SAME


def test_runs_of_sets_are_the_samples() -> None:
    """With three runs on both sides, what varies is seen from run to run, not within one."""
    before = [run(value, value + 0.1, value - 0.1) for value in (90, 100, 110)]
    after = [run(value, value + 0.1, value - 0.1) for value in (95, 105, 115)]
    found = compared(before, after)
    assert found.basis == "3 and 3 runs"
    assert found.judgement is Judgement.SAME
    alone = compared(before[:1], after[:1])
    assert alone.basis == "3 and 3 epochs"
    assert alone.judgement is Judgement.BETTER


def test_few_values_decide_nothing() -> None:
    """Two epochs, or a figure without parts, have a difference but no judgement."""
    for before, after in (([run(100, 101)], [run(200, 201)]), ([run(1.0)], [run(2.0)])):
        found = compared(before, after)
        assert found.judgement is Judgement.OPEN
        assert found.interval is None
        assert found.percent == pytest.approx(100, rel=0.01)


def test_zero_has_no_percentage() -> None:
    """A baseline of zero is shown, and neither better nor worse."""
    found = compared([run(0.0, 0.0, 0.0)], [run(*EPOCHS)])
    assert (found.percent, found.judgement) == (None, Judgement.OPEN)


@pytest.mark.parametrize(
    ("text", "factor", "failed"),
    [
        ("throughput<-5%", 0.9, True),
        ("throughput<-5%", 0.96, False),
        ("throughput < -15 %", 0.9, False),
        ("throughput>5%", 1.1, True),
        ("throughput>5%", 0.9, False),
        ("throughput<0%", 1.0, False),
    ],
)
def test_gates_fail_on_what_changed_so_much(text: str, factor: float, failed: bool) -> None:
    """A condition holds when the difference is beyond its limit, and is none of chance."""
    difference = compared([run(*EPOCHS)], [run(*scaled(factor))])
    (checked,) = check_gates([parse_gate(text)], [difference])
    assert checked.failed is failed


def test_a_gate_does_not_fail_by_chance() -> None:
    """Means 9 % apart within a spread of 40 % meet no condition."""
    difference = compared([run(90, 110, 130, 70, 150)], [run(80, 100, 120, 60, 140)])
    (checked,) = check_gates([parse_gate("throughput<-5%")], [difference])
    assert difference.percent == pytest.approx(-9.09, abs=0.01)
    assert not checked.failed


def test_a_gate_takes_a_single_value_as_it_is() -> None:
    """Where nothing is known about chance, the difference itself decides: no gate is void."""
    difference = compared([run(100)], [run(80)])
    (checked,) = check_gates([parse_gate("throughput<-5%")], [difference])
    assert checked.failed


@pytest.mark.parametrize(
    "text", ["throughput", "throughput<5", "<5%", "throughput=5%", "throughput<-5%%", "a b<1%", ""]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    """A condition is a figure, a direction and a percentage; else the fix shows one."""
    with pytest.raises(UsageError, match="not a condition") as caught:
        parse_gate(text)
    assert "throughput<-5%" in caught.value.fix


def test_a_gate_on_an_unknown_figure_is_refused() -> None:
    """A figure that is not on both sides never passes silently; the nearest is named."""
    difference = compared([run(*EPOCHS)], [run(*EPOCHS)])
    with pytest.raises(UsageError, match="no figure 'troughput'") as caught:
        check_gates([parse_gate("troughput<-5%")], [difference])
    assert caught.value.fix == "did you mean throughput?"
