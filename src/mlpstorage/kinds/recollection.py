"""A run as its record tells of it, long after its end: what came of it, why, and how to go on."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.run import Status
from mlpstorage.core.section import Row, Section
from mlpstorage.kinds.comparing import comparer_of
from mlpstorage.kinds.conclusion import (
    TITLE,
    advice,
    headline_rows,
    limit_rows,
    next_rows,
    previous,
    verdict_rows,
    warning_rows,
)
from mlpstorage.kinds.recorded_verdict import recorded_verdict
from mlpstorage.report.limits import limits_of, together, words
from mlpstorage.report.sets import finding_text
from mlpstorage.store.codec import read_json
from mlpstorage.store.history import BROKEN, KILLED, LEFT
from mlpstorage.store.runs import SUMMARY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlpstorage.core.measures import Measure
    from mlpstorage.core.rules import Verdict
    from mlpstorage.store.codec import Metadata

_WHOLE = frozenset({Status.COMPLETE.value, "unknown"})


@dataclass(frozen=True)
class Recollection:
    """What is known of a run; `status` is as in the history."""

    metadata: Metadata
    directory: Path
    results_dir: Path
    status: str
    summary: Mapping[str, Any]
    verdict: Verdict | None
    problem: str = ""

    @property
    def figures(self) -> tuple[Measure, ...]:
        """Its figures, the headline first."""
        comparer = comparer_of(self.metadata.benchmark_type)
        return comparer.measures_of(self.summary) if comparer else ()

    def sections(self) -> tuple[Section, ...]:
        """Every reason of the verdict, then the last block as it stood at the run's end."""
        reasons = () if self.verdict is None else self.verdict.issues
        return (
            *(
                (Section("reasons", lines=tuple(finding_text(one) for one in reasons)),)
                if reasons
                else ()
            ),
            Section(TITLE, rows=tuple(self._rows())),
        )

    def _rows(self) -> Iterator[Row]:
        if self.verdict is not None or self.status == Status.COMPLETE.value:
            stopped = self.status == Status.INTERRUPTED.value
            yield from verdict_rows(self.verdict, stopped=stopped)
        else:
            yield Row("status", self.status, self._why())
        before = previous(self.directory, self.metadata)
        comparer = comparer_of(self.metadata.benchmark_type)
        earlier = comparer.measures_of(before) if comparer and before else ()
        yield from headline_rows(self.figures, earlier, "previous run")
        yield from limit_rows(together([limits_of(self.summary.get("bottleneck"))]))
        yield from warning_rows(self.metadata.warnings)
        if self.problem:
            yield Row("not read", self.problem)
        yield Row("files", str(self.directory))
        yield from next_rows(self.next())

    def _why(self) -> str:
        error = self.metadata.error
        if error is not None:
            return f"{error.what} ({error.why})" if error.why else error.what
        return "the program was gone before it could say why" if self.status == KILLED else ""

    def next(self) -> list[str]:
        """What a user can do now."""
        again = self._again()
        if self.status in LEFT:
            return [f"go on: {again}"]
        if self.status == Status.FAILED.value:
            fix = self.metadata.error.fix if self.metadata.error else ""
            return [*([fix] if fix else []), f"then try again: {again}"]
        if self.status == Status.STARTED.value:
            return ["it is still running, or began on a host that cannot be asked from here"]
        if self.status == BROKEN:
            return ["start it by hand: its record cannot be read"]
        if self.verdict is None:
            return []
        return advice(self.verdict, self.results_dir)

    def _again(self) -> str:
        """The command that goes on: with its set, where it is of one."""
        name = self.metadata.set_id or self.metadata.run_id
        return f"mlpstorage resume {name} --results-dir {shlex.quote(str(self.results_dir))}"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON-ready values."""
        error, limits = self.metadata.error, together([limits_of(self.summary.get("bottleneck"))])
        return {
            "start": self.metadata.start_time or None,
            "reasons": self.verdict.as_dict()["issues"] if self.verdict else [],
            "figures": [figure_document(one) for one in self.figures],
            "limited_by": words(limits) or None,
            "bottleneck": [limit.as_dict() for limit in limits],
            "error": {"what": error.what, "why": error.why, "fix": error.fix} if error else None,
            "warnings": list(self.metadata.warnings),
            "next": self.next(),
        }


def figure_document(one: Measure) -> dict[str, Any]:
    """A figure as JSON-ready values."""
    return {
        "name": one.name,
        "label": one.label,
        "unit": one.unit,
        "better": one.better.value,
        "value": one.value,
        "samples": list(one.samples),
        "sampled": one.sampled or None,
    }


def recall(metadata: Metadata, directory: Path, results_dir: Path, status: str) -> Recollection:
    """What the files of a run tell; a summary that cannot be read is told as a problem."""
    summary, problem = {}, ""
    if status in _WHOLE or status == Status.INTERRUPTED.value:
        try:
            found = read_json(directory / SUMMARY) if (directory / SUMMARY).is_file() else {}
            summary = found if isinstance(found, dict) else {}
        except (OSError, MlpstorageError) as error:
            problem = error.what if isinstance(error, MlpstorageError) else str(error)
    verdict = recorded_verdict(metadata.verification)
    return Recollection(metadata, directory, results_dir, status, summary, verdict, problem)
