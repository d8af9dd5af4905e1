"""`mlpstorage compare`: the figures of two runs or sets side by side, and what differs otherwise.

sides ──► differing settings ──► refused, or
      └─► differences (bootstrap) ──► gates ──► sections, document, exit code
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.compare.differences import Scale, difference_of
from mlpstorage.compare.gates import check_gates
from mlpstorage.compare.settings import differing
from mlpstorage.core.errors import EXIT_INVALID, EXIT_OK, ConfigurationError, UsageError
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.kinds.comparing import comparer_of
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.compare.differences import Difference
    from mlpstorage.compare.gates import Checked, Gate
    from mlpstorage.compare.settings import Differing, Setting
    from mlpstorage.compare.sides import Side

SCHEMA_VERSION = 1
_SHOWN = 5


@dataclass(frozen=True)
class Comparison:
    """Everything that was found; the second side is judged against the first."""

    baseline: Side
    candidate: Side
    differences: tuple[Difference, ...]
    differing: Differing
    checked: tuple[Checked, ...]
    scale: Scale

    @property
    def exit_code(self) -> int:
        """1 when a gate failed, else 0: being worse alone is no failure."""
        return EXIT_INVALID if any(one.failed for one in self.checked) else EXIT_OK

    def as_dict(self) -> dict[str, Any]:
        """The comparison as one JSON-ready document."""
        return {
            "schema_version": SCHEMA_VERSION,
            "baseline": self.baseline.as_dict(),
            "candidate": self.candidate.as_dict(),
            "confidence": self.scale.confidence,
            "least_percent": self.scale.least_percent,
            "metrics": [one.as_dict() for one in self.differences],
            "differs": self.differing.as_dict(),
            "conditions": [one.as_dict() for one in self.checked],
            "exit_code": self.exit_code,
        }

    def sections(self) -> tuple[Section, ...]:
        """The comparison for people."""
        return tuple(section for section in self._sections() if section is not None)

    def _sections(self) -> tuple[Section | None, ...]:
        return (
            Section(
                "comparison",
                rows=(_side_row("baseline", self.baseline), _side_row("candidate", self.candidate)),
            ),
            self._figures(),
            _differing_section("different workloads", self.differing.workload),
            _differing_section("what was set differently", self.differing.configuration),
            _differing_section("hosts that differ", self.differing.hosts),
            self._gates(),
        )

    def _figures(self) -> Section:
        percent = f"{100 * self.scale.confidence:g} %"
        head = ("", "baseline", "candidate", "difference", f"{percent} interval", "candidate is")
        body = tuple(
            (
                f"{one.label} {one.unit}".rstrip(),
                f"{one.before:.4g}",
                f"{one.after:.4g}",
                "–" if one.percent is None else f"{one.percent:+.1f} %",
                "–"
                if one.interval is None
                else f"{one.interval[0]:+.1f} to {one.interval[1]:+.1f} %",
                one.judgement.value,
            )
            for one in self.differences
        )
        bases: dict[str, list[str]] = {}
        for one in self.differences:
            bases.setdefault(one.basis, []).append(one.label)
        lines = [f"{', '.join(labels)}: {basis}" for basis, labels in bases.items()]
        if any(one.interval and not one.basis.endswith("runs") for one in self.differences):
            lines.append(
                "what changes from one run to the next is not seen: compare sets of three runs "
                "or more to know it"
            )
        return Section("figures", table=Table(head, body), lines=tuple(lines))

    def _gates(self) -> Section | None:
        if not self.checked:
            return None
        rows = tuple(
            Row(
                one.gate.text,
                "FAILED" if one.failed else "passed",
                f"{one.difference.percent:+.1f} %, {one.difference.judgement.value}",
            )
            for one in self.checked
        )
        return Section("conditions", rows=rows)


def compare(
    baseline: Side,
    candidate: Side,
    *,
    gates: Sequence[Gate] = (),
    scale: Scale | None = None,
    force: bool = False,
) -> Comparison:
    """Hold the candidate against the baseline.

    Raises:
        ConfigurationError: they measured different work, and `force` is not given.
        UsageError: a gate's figure is not on both sides.
    """
    known = comparer_of(baseline.metadata.benchmark_type)
    if known is None or baseline.metadata.benchmark_type != candidate.metadata.benchmark_type:
        raise UsageError(
            f"{baseline.name} and {candidate.name} are of different benchmarks",
            why=f"{baseline.metadata.benchmark_type} and {candidate.metadata.benchmark_type} have "
            "no figure in common",
            fix="compare two runs of one benchmark",
        )
    found = differing(baseline.metadata, candidate.metadata, known)
    if found.workload and not force:
        raise _refused(found, baseline, candidate)
    scale = scale or Scale()
    differences = tuple(
        difference_of(baseline.named(name), candidate.named(name), scale)
        for name in baseline.names
        if candidate.named(name)
    )
    if not differences:
        raise ConfigurationError(
            f"{baseline.name} and {candidate.name} have no figure in common",
            fix="compare runs that did the same, such as two that write",
        )
    checked = check_gates(gates, differences)
    return Comparison(baseline, candidate, differences, found, checked, scale)


def _refused(found: Differing, baseline: Side, candidate: Side) -> ConfigurationError:
    def listed(settings: Sequence[Setting]) -> str:
        more = f" and {len(settings) - _SHOWN} more" if len(settings) > _SHOWN else ""
        return "; ".join(f"{s.name} {s.before} → {s.after}" for s in settings[:_SHOWN]) + more

    others = [*found.configuration, *found.hosts]
    beside = f"\n  also different: {listed(others)}" if others else ""
    return ConfigurationError(
        f"{baseline.name} and {candidate.name} measured different work: "
        f"{listed(found.workload)}{beside}",
        why="a difference of their figures would say nothing about storage",
        fix="compare runs of the same workload, or compare them anyway with --force",
    )


def _side_row(label: str, side: Side) -> Row:
    data = side.metadata
    what = " ".join(part for part in (data.benchmark_type, data.model, data.accelerator) if part)
    runs = f"{len(side.runs)} runs" if len(side.runs) > 1 else "1 run"
    return Row(label, printable(side.name), printable(", ".join((what, runs, *side.remarks))))


def _differing_section(title: str, settings: Sequence[Setting]) -> Section | None:
    if not settings:
        return None
    body = tuple((one.name, one.before, one.after) for one in settings)
    return Section(title, table=Table(("", "baseline", "candidate"), body))
