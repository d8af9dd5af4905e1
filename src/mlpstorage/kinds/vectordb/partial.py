"""What a vector run has measured that the user ended before its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.rules import incomplete
from mlpstorage.core.section import Row, Section
from mlpstorage.kinds.vectordb import result
from mlpstorage.kinds.vectordb.record import RankRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome
    from mlpstorage.kinds.vectordb.result import RunFacts

# A window that was ended before that says nothing.
_LEAST_SECONDS = 1.0


def stopped_outcome(results: Sequence[RankResult], facts: RunFacts, planned: int) -> Outcome:
    """The outcome of what is complete: points, or a collection with its rows, or nothing yet.

    A long point that was ended early is among the points, with the window that it had.

    Raises:
        BenchmarkError: the ranks' records do not fit together.
    """
    ranks = [msgspec.convert(one.data, RankRecord) for one in results]
    points = len(ranks[0].points)
    early = bool(points) and any(record.points[-1].ended_early for record in ranks)
    active = [record.points[-1].window_seconds for record in ranks if points and
              record.points[-1].active]  # fmt: skip
    shortest = min(active, default=0.0)
    if early and shortest < _LEAST_SECONDS:
        early, points = False, points - 1
    whole = points - early
    outcome = result.outcome_of(results, facts, points)
    reached = _reached(ranks, facts)
    told = f"{whole} of them"
    if early:
        told += f", and {shortest:.0f} s of the next"
    elif not whole:
        told += f"; {reached}"
    return replace(
        outcome,
        issues=(incomplete(_points(planned), told), *outcome.issues),
        summary={**outcome.summary, "points_planned": planned, "points_complete": whole},
        sections=(_section(ranks, facts, told, planned), *outcome.sections),
    )


def _points(count: int) -> str:
    return f"{count} point{'s' * (count != 1)} of the sweep"


def _reached(ranks: Sequence[RankRecord], facts: RunFacts) -> str:
    """The last step before the points that is complete."""
    first, total = ranks[0], facts.manifest.spec.vectors
    status = first.collection.status if first.collection else "loading"
    if first.verification.recalls:
        return "the recall is measured"
    if first.steps:
        return f"calibrating, efforts tried: {len(first.steps)}"
    if status == "built":
        return "the index is there"
    return f"{first.rows} of {total} vectors are loaded"


def _section(ranks: Sequence[RankRecord], facts: RunFacts, told: str, planned: int) -> Section:
    first, total = ranks[0], facts.manifest.spec.vectors
    status = first.collection.status if first.collection else "loading"
    index = {
        "built": "built, and stays for the next run",
        "loaded": "not built yet: the next run builds it over the vectors that are in",
    }
    more = "" if first.rows == total else "the next run goes on after them, if not by --rebuild"
    return Section(
        "interrupted",
        rows=(
            Row("vectors", f"{first.rows} of {total} are loaded", more),
            Row("index", index.get(status, "not built yet")),
            Row("points", f"{_points(planned)}", told),
        ),
    )
