"""Conditions on differences, such as `throughput<-5%`, that make a comparison fail."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.compare.differences import Judgement
from mlpstorage.core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.compare.differences import Difference

_GATE = re.compile(
    r"\s*(?P<name>[a-z][a-z0-9_]*)\s*(?P<sign>[<>])\s*(?P<limit>[+-]?[0-9]+(?:\.[0-9]+)?)\s*%\s*"
)


@dataclass(frozen=True)
class Gate:
    """Fails when the figure's difference in percent is below (or above) the limit."""

    text: str
    name: str
    below: bool
    limit: float

    def is_met(self, difference: Difference) -> bool:
        """Whether the condition holds, and the gate so fails.

        A difference that may be chance meets no condition; one that nothing is known about, for
        there are too few values, is taken as it is.

        Raises:
            UsageError: the figure of one side is 0, so that there is no difference in percent.
        """
        if difference.percent is None:
            raise UsageError(
                f"--fail-if {self.text}: {self.name} has no difference in percent",
                why=f"it was {difference.before:g} and is {difference.after:g}",
                fix="leave this condition out, or see why the first is not positive",
            )
        beyond = difference.percent < self.limit if self.below else difference.percent > self.limit
        return beyond and difference.judgement is not Judgement.SAME


@dataclass(frozen=True)
class Checked:
    """A gate, the difference it looked at, and whether it failed."""

    gate: Gate
    difference: Difference
    failed: bool

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON-ready values."""
        return {
            "condition": self.gate.text,
            "metric": self.gate.name,
            "difference_percent": self.difference.percent,
            "judgement": self.difference.judgement.value,
            "failed": self.failed,
        }


def parse_gate(text: str) -> Gate:
    """The gate that a condition describes.

    >>> parse_gate("throughput<-5%")
    Gate(text='throughput<-5%', name='throughput', below=True, limit=-5.0)

    Raises:
        UsageError: it is no condition.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--fail-if {text!r} is not a condition",
            fix="write a figure, < or >, and a percentage: 'throughput<-5%' or 'read_p99>10%'",
        )
    return Gate(text.strip(), match["name"], match["sign"] == "<", float(match["limit"]))


def check_gates(gates: Sequence[Gate], differences: Sequence[Difference]) -> tuple[Checked, ...]:
    """Each gate against its figure.

    Raises:
        UsageError: both sides together do not have the figure; a gate never passes unlooked at.
    """
    known = {one.name: one for one in differences}
    for gate in gates:
        if gate.name not in known:
            raise UsageError(
                f"--fail-if {gate.text}: no figure {gate.name!r} on both sides",
                fix=did_you_mean(gate.name, known) if known else "compare runs that have figures",
            )
    return tuple(Checked(g, known[g.name], g.is_met(known[g.name])) for g in gates)
