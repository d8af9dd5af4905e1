"""The rules of vector search before a run: each a pure function, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering) where they have one. What those leave
undefined (the scales, the least recall, the least number of queries) is defined here; `V.…` are our
own, about evidence. Those that need a result are in `result_rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.rules import CLOSED_ONLY, SINCE_THIRD, Category, Issue, Phase, Rule
from mlpstorage.core.units import format_bytes
from mlpstorage.kinds.evidence import same_place
from mlpstorage.kinds.vectordb.sizing import MEMORY_FACTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.vectordb.backends.interface import Description
    from mlpstorage.kinds.vectordb.workload import Workload

CLOSED_RECALL = 0.95
CLOSED_SECONDS = 60.0
CLOSED_K = 10


@dataclass(frozen=True)
class PlanSubject:
    """What can be judged before a run; sizes in bytes, None where they are not known."""

    workload: Workload
    backend: Description
    index: str
    overridden: tuple[str, ...]
    steady_seconds: float
    most_requests: int = 0
    own_workload: bool = False
    real_data: bool = False
    raw_bytes: int = 0
    memory_bytes: int = 0
    capped: bool = False
    cache_state: str = "cold"
    batch: int = 1
    same_filesystem: bool | None = None


def scale_of_closed(plan: PlanSubject) -> Iterator[Issue]:
    """5.1.1: CLOSED is run at one of its scales, with the data of its generator.

    The scales are closed-1m (1,000,000 vectors of 1536 numbers, 6 GB), closed-10m (10,000,000 of
    1536, 61 GB) and closed-100m (100,000,000 of 768, 307 GB), float32. A change of dataset.…, a
    --workload-file or real vectors (--dataset) are at best OPEN. The published text asks for a
    scale and has no table: these are our choice.
    """
    changed = [name for name in plan.overridden if name.startswith("dataset.")]
    if not plan.workload.closed or plan.own_workload or plan.real_data or changed:
        actual = ", ".join(changed) + " changed" if changed else plan.workload.model
        yield Issue(
            "5.1.1",
            Category.OPEN,
            "the data are not those of a scale of CLOSED",
            parameter="--scale",
            expected="closed-1m, closed-10m or closed-100m, unchanged",
            actual="vectors of a file" if plan.real_data else actual,
            fix="choose a scale of CLOSED",
        )


def backend_of_closed(plan: PlanSubject) -> Iterator[Issue]:
    """5.6.2: CLOSED allows some engines with an index that lies on storage.

    They are zvec with DISKANN, milvus with DISKANN or AISAQ, and diskannpy-rust with DISKANN; any
    other pair is at best OPEN. Parameters of the index are free. The published list is Milvus
    alone, with DISKANN, HNSW or AISAQ; ours leaves HNSW out, which is searched in memory.
    """
    if plan.index not in plan.backend.closed:
        probe = "" if plan.backend.database else " (a probe, not a database)"
        yield Issue(
            "5.6.2",
            Category.OPEN,
            f"{plan.backend.name}{probe} with {plan.index} is not of CLOSED",
            parameter="--vdb-engine",
            expected="an engine and index of CLOSED, such as zvec DISKANN",
            actual=f"{plan.backend.name} {plan.index}",
            fix="use --vdb-engine zvec",
        )


def metric_known(plan: PlanSubject) -> Iterator[Issue]:
    """5.6.3: the engine has the metric of the data.

    search asks for the nearest vectors by dataset.metric (--metric-type), so the engine's index
    must know it; otherwise the run is INVALID, in both divisions.
    """
    metric = plan.workload.dataset.metric
    if metric not in plan.backend.metrics:
        yield Issue(
            "5.6.3",
            Category.INVALID,
            f"{plan.backend.name} has no index for this metric",
            parameter="--metric-type",
            expected=", ".join(plan.backend.metrics),
            actual=metric,
            fix="choose another --vdb-engine",
        )


def length_of_windows(plan: PlanSubject) -> Iterator[Issue]:
    """5.3.3: a window is long enough to mean something.

    The measured window of each point (--runtime, search.steady_seconds) is 60 s or more, without
    its ramp; a shorter one is at best OPEN. Windows that end by a number of queries (--queries) are
    not judged here. The published text asks for a least number of queries and does not give it:
    60 s is our choice.
    """
    if plan.most_requests:
        return
    if plan.steady_seconds < CLOSED_SECONDS:
        yield Issue(
            "5.3.3",
            Category.OPEN,
            "the measured window is short",
            parameter="--runtime",
            expected=f">= {CLOSED_SECONDS:.0f} s",
            actual=f"{plan.steady_seconds:g} s",
            fix=f"give --runtime {CLOSED_SECONDS:.0f}",
        )


def search_of_closed(plan: PlanSubject) -> Iterator[Issue]:
    """5.6.4: CLOSED asks for ten neighbours of one query per request, at the fixed recall.

    search.k is 10, --batch-size is 1, and search.target_recall is 0.95 or more; anything else is at
    best OPEN. Fewer neighbours, larger requests or a lower recall make a query cheaper, so rates
    would not compare. The published text does not give these numbers: the choice is ours.
    """
    search = plan.workload.search
    for parameter, expected, actual, kept in (
        ("search.k", CLOSED_K, search.k, search.k == CLOSED_K),
        ("--batch-size", 1, plan.batch, plan.batch == 1),
        (
            "search.target_recall",
            f">= {CLOSED_RECALL}",
            search.target_recall,
            search.target_recall >= CLOSED_RECALL,
        ),
    ):
        if not kept:
            yield Issue(
                "5.6.4",
                Category.OPEN,
                "CLOSED fixes what is asked",
                parameter=parameter,
                expected=str(expected),
                actual=str(actual),
                fix=f"leave {parameter} at its default",
            )


def cache_of_closed(plan: PlanSubject) -> Iterator[Issue]:
    """V.1: CLOSED starts every point with cold caches.

    Before each point the engine closes its files, every host drops them from its page cache, and
    the engine opens them again. --cache-state warm is at best OPEN: what earlier points left in
    memory would count for storage. The rule is ours.
    """
    if plan.cache_state != "cold":
        yield Issue(
            "V.1",
            Category.OPEN,
            "the points do not begin with cold caches",
            parameter="--cache-state",
            expected="cold",
            actual=plan.cache_state,
            fix="leave --cache-state out",
        )


def bounded_memory(plan: PlanSubject) -> Iterator[Issue]:
    """V.2: memory is capped, or the vectors are five times what the hosts have.

    Either --memory-cap is given, or the vectors (vectors × dimension × 4 bytes) are at least 5 ×
    the memory of all client hosts together, declared or measured, whichever is more. Otherwise the
    run is at best OPEN: a page cache could hold the index. The rule is ours.
    """
    if not plan.capped and plan.raw_bytes < MEMORY_FACTOR * plan.memory_bytes:
        yield Issue(
            "V.2",
            Category.OPEN,
            "nothing keeps the vectors from lying in memory",
            parameter="--memory-cap",
            expected=f"a cap, or vectors of {format_bytes(MEMORY_FACTOR * plan.memory_bytes)}",
            actual=f"no cap, vectors of {format_bytes(plan.raw_bytes)}",
            fix="give --memory-cap, at most a quarter of the index",
        )


def different_filesystems(plan: PlanSubject) -> Iterator[Issue]:
    """5.4.2: results are not written to the filesystem that is measured.

    The directory of the collection and --results-dir are compared by the device of their
    filesystems. On the same one the run is at best OPEN; for a server, whose files are not seen, it
    is not judged. The published text does not say what OPEN allows.
    """
    return same_place(
        "5.4.2", "the index and the results are", "the index's", same=plan.same_filesystem
    )


PLAN_RULES: tuple[Rule[PlanSubject], ...] = (
    Rule(
        "5.1.1",
        "Scale of CLOSED",
        Phase.PLAN,
        scale_of_closed,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "5.6.2",
        "Engine and index of CLOSED",
        Phase.PLAN,
        backend_of_closed,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("5.6.3", "Metric of the engine", Phase.PLAN, metric_known, editions=SINCE_THIRD),
    Rule(
        "5.3.3",
        "Length of the window",
        Phase.PLAN,
        length_of_windows,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "5.6.4",
        "What CLOSED asks",
        Phase.PLAN,
        search_of_closed,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "5.4.2",
        "Results on another filesystem",
        Phase.PLAN,
        different_filesystems,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "V.1",
        "Cold caches",
        Phase.PLAN,
        cache_of_closed,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule(
        "V.2",
        "Bounded memory",
        Phase.PLAN,
        bounded_memory,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
)
