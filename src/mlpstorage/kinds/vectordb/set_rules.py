"""The rules of a set of vector-search runs: each a pure function, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.rules import SINCE_THIRD, Category, Issue, Phase, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.reporting import SetSubject

RUNS = 5
_NEEDED = ("queries_per_second", "recall", "query_p99_ms")


def five_runs(subject: SetSubject) -> Iterator[Issue]:
    """5.3.1: a set has exactly five runs.

    Runs whose figures count are those that ended. Another number than 5 makes the set INVALID, in
    both divisions. --loops 5 makes such a set.
    """
    if len(subject.measured) != RUNS:
        yield Issue(
            "5.3.1",
            Category.INVALID,
            "not the number of runs of a set",
            parameter="runs",
            expected=f"{RUNS} that ended",
            actual=str(len(subject.measured)),
            fix=f"run it with --loops {RUNS}",
        )


def same_collection(subject: SetSubject) -> Iterator[Issue]:
    """5.1.2: what is searched has the dimension and index that were declared, in every run.

    Dimension, index and all recorded parameters are the same in every measured run, and the
    dimension of the collection is dataset.dimension, which was asked for. A difference is INVALID:
    the mean would be of different searches.
    """
    seen = {(m.facts.figures.get("dimension"), m.facts.figures.get("index"), m.facts.setup)
            for m in subject.measured}  # fmt: skip
    declared = [
        (m.facts.figures.get("asked_dimension"), m.facts.figures.get("dimension"))
        for m in subject.measured
    ]
    other = [pair for pair in declared if None not in pair and pair[0] != pair[1]]
    if len(seen) > 1 or other:
        yield Issue(
            "5.1.2",
            Category.INVALID,
            "the collection is not the same in load and search, or in all runs",
            parameter="dimension, index",
            expected=f"{other[0][0]} dimensions" if other else "the same in every run",
            actual=f"{other[0][1]} dimensions" if other else f"{len(seen)} different ones",
            fix="keep runs on other collections in sets of their own",
        )


def populated(subject: SetSubject) -> Iterator[Issue]:
    """5.2.1: as many vectors were loaded as were declared.

    inserted_vectors of each summary.json, the rows that the engine itself counted, equals
    dataset.num_vectors, which was asked for. A difference is INVALID: a smaller collection is
    easier to search. It is not judged where the number loaded was not recorded.
    """
    for member in subject.measured:
        figures = member.facts.figures
        declared = figures.get("asked_vectors") or figures.get("vectors")
        inserted = figures.get("inserted")
        if declared is not None and inserted is not None and declared != inserted:
            yield Issue(
                "5.2.1",
                Category.INVALID,
                "not all vectors are in the collection",
                parameter="vectors",
                expected=str(declared),
                actual=str(inserted),
                fix="load the collection again",
            )


def _no_inserted(subject: SetSubject) -> str:
    known = all(m.facts.figures.get("inserted") is not None for m in subject.measured)
    return "" if known else "how many vectors were loaded"


def index_built(subject: SetSubject) -> Iterator[Issue]:
    """5.2.2: the index was built before the search.

    Each measured run has the seconds that building took (load.index_seconds of summary.json), also
    where it searched a collection that was there already. Otherwise the set is INVALID. Runs of
    other tools are not judged.
    """
    for member in subject.measured:
        if not member.facts.figures.get("built"):
            yield Issue(
                "5.2.2",
                Category.INVALID,
                "nothing says that an index was built",
                parameter="index",
                expected="built",
                actual="not recorded",
                fix="load and index the collection with this program",
            )
            return


def _foreign(subject: SetSubject) -> str:
    return "when the index was built" if subject.foreign else ""


def metrics_present(subject: SetSubject) -> Iterator[Issue]:
    """5.3.4: every run has its rate, its recall and its latency, and the recall is not zero.

    These are throughput_qps, recall and p99_latency_ms of each summary.json. One that is absent or
    zero makes the set INVALID, in both divisions.
    """
    for member in subject.measured:
        missing = [name for name in _NEEDED if not member.facts.value(name)]
        if missing:
            yield Issue(
                "5.3.4",
                Category.INVALID,
                "a run lacks figures",
                parameter=member.run.run_id,
                expected=", ".join(_NEEDED),
                actual=f"no {', '.join(missing)}",
                fix="run it again",
            )


SET_RULES: tuple[Rule[SetSubject], ...] = (
    Rule("5.1.2", "One collection", Phase.SET, same_collection, editions=SINCE_THIRD),
    Rule("5.2.1", "Vectors loaded", Phase.SET, populated, editions=SINCE_THIRD, lacks=_no_inserted),
    Rule("5.2.2", "Index built", Phase.SET, index_built, editions=SINCE_THIRD, lacks=_foreign),
    Rule("5.3.1", "Five runs", Phase.SET, five_runs, editions=SINCE_THIRD),
    Rule("5.3.4", "Metrics present", Phase.SET, metrics_present, editions=SINCE_THIRD),
)
