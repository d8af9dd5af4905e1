"""The rules of vector search after a run; see `rules` for those before it, and for the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.rules import CLOSED_ONLY, SINCE_THIRD, Category, Issue, Phase, Rule
from mlpstorage.core.units import format_bytes
from mlpstorage.kinds.vectordb.rules import CLOSED_RECALL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.vectordb.workload import Workload

OPEN_RECALL = 0.90
CLOSED_P5_RECALL = 0.5
# Queries with exact neighbours that CLOSED asks for; fewer where the data are very many.
CLOSED_TRUTH, CLOSED_TRUTH_OF_MANY, MANY_VECTORS = 10_000, 1000, 50_000_000
CLOSED_QUERIES = 10_000
# The engine's memory with its page cache, as a share of the index.
CLOSED_CAP_SHARE = 0.25
LEAST_BYTES_PER_QUERY = 4096
MOST_ERRORS = 0.001
# Fewer answers with exact neighbours tell nothing of a window.
LEAST_SAMPLE = 30
MOST_CPU_SHARE = 0.8
MOST_DISAGREEMENT = 0.02


@dataclass(frozen=True)
class PointSubject:
    """What is judged of one point; None where it could not be counted.

    `agreement` is the largest relative difference between two counters of the same bytes.
    """

    clients: int
    queries: int
    failed: int
    overdue: int
    seconds: float
    least_seconds: float
    bytes_per_query: float | None
    cpu_share: float
    p99_ms: float
    agreement: float | None = None
    recall: float | None = None
    recall_queries: int = 0


@dataclass(frozen=True)
class ResultSubject:
    """What can be judged after a run; recalls are 0 to 1, over `recall_queries` queries.

    `recall_deviation` is the standard deviation of the recall of single queries; `timed` says that
    windows were to be of equal length, and not of equal numbers of queries.

    `scored` is the index of the point that gives the score, None if no point keeps the latency.
    """

    workload: Workload
    recall: float
    recall_p5: float
    recall_queries: int
    points: tuple[PointSubject, ...]
    scored: int | None
    query_reuse: float
    index_bytes: int | None
    cap_bytes: int | None
    exceeds_memory: bool
    source: str
    counted: bool = True
    recall_deviation: float = 0.0
    timed: bool = True


def recall_reached(result: ResultSubject) -> Iterator[Issue]:
    """5.3.2: the recall over all queries with exact neighbours reaches the gate.

    It is the mean recall@k of a pass of its own, before the points, over all queries with exact
    neighbours. Below 0.90 it is INVALID, and below search.target_recall too, unless that target is
    above 0.95: then the run is OPEN. CLOSED asks for a mean of 0.95, and for 0.5 or more of 95 % of
    the queries. The published text asks only that recall is above zero: the bounds are our choice.
    """
    target = result.workload.search.target_recall
    gate = max(OPEN_RECALL, target) if target else OPEN_RECALL
    # A comparison that is false for nan: a run without answers is INVALID.
    if not result.recall >= gate:
        open_enough = result.recall >= OPEN_RECALL and target > CLOSED_RECALL
        yield Issue(
            "5.3.2",
            Category.OPEN if open_enough else Category.INVALID,
            "the recall is below what was to be reached",
            parameter=f"recall@{result.workload.search.k}",
            expected=f">= {gate:g}",
            actual=f"{result.recall:.4f}",
            fix="raise the effort (leave query.… out to calibrate), or build a better index",
        )
    elif result.recall < CLOSED_RECALL or result.recall_p5 < CLOSED_P5_RECALL:
        yield Issue(
            "5.3.2",
            Category.OPEN,
            "the recall is not enough for CLOSED",
            parameter=f"recall@{result.workload.search.k}",
            expected=f">= {CLOSED_RECALL}, and 95 % of queries at >= {CLOSED_P5_RECALL}",
            actual=f"{result.recall:.4f}, and {result.recall_p5:.2f}",
            fix="calibrate for a higher --target-recall",
        )


def truth_large_enough(result: ResultSubject) -> Iterator[Issue]:
    """5.3.5: recall is measured on enough queries.

    Recall is measured over at least 10,000 queries whose neighbours are known exactly, 1,000 where
    there are 50,000,000 vectors or more; fewer are at best OPEN. With fewer, the mean is more a
    matter of chance. The published text gives no number: these are our choice.
    """
    many = result.workload.dataset.num_vectors >= MANY_VECTORS
    wanted = CLOSED_TRUTH_OF_MANY if many else CLOSED_TRUTH
    if result.recall_queries < wanted:
        yield Issue(
            "5.3.5",
            Category.OPEN,
            "few queries have exact neighbours",
            parameter="dataset.gt_queries",
            expected=f">= {wanted}",
            actual=str(result.recall_queries),
            fix="generate the data with more --gt-queries",
        )


def queries_counted(result: ResultSubject) -> Iterator[Issue]:
    """5.3.3: every point had queries, and none was asked twice in CLOSED.

    A point without an answered query is INVALID. CLOSED also asks for 10,000 answered queries in
    the scored point, and that in no point there were more answers than different queries (query
    reuse above 1): a query asked again may find its blocks in memory. The published text gives no
    number: these are our choice.
    """
    for point in result.points:
        if point.queries == 0:
            yield Issue(
                "5.3.3",
                Category.INVALID,
                "a point answered no query within its window",
                parameter=f"{point.clients} clients",
                expected="queries",
                actual="0",
                fix="give a longer --runtime",
            )
    scored = None if result.scored is None else result.points[result.scored]
    if scored is not None and 0 < scored.queries < CLOSED_QUERIES:
        yield Issue(
            "5.3.3",
            Category.OPEN,
            "the scored point answered few queries",
            parameter=f"{scored.clients} clients",
            expected=f">= {CLOSED_QUERIES}",
            actual=str(scored.queries),
            fix="give a longer --runtime",
        )
    if result.query_reuse > 1:
        yield Issue(
            "5.3.3",
            Category.OPEN,
            "queries were asked more than once within a point",
            parameter="query reuse",
            expected="<= 1",
            actual=f"{result.query_reuse:.2f}",
            fix="generate the data with a larger --query-pool",
        )


def few_errors(result: ResultSubject) -> Iterator[Issue]:
    """V.3: requests do not fail.

    Of each point, failed requests ÷ (answered queries + failed requests) is compared. Any failure
    is at best OPEN, more than 0.1 % is INVALID: an engine that drops the hard queries would look
    fast. The rule is ours.
    """
    for point in result.points:
        share = point.failed / max(1, point.queries + point.failed)
        if point.failed:
            yield Issue(
                "V.3",
                Category.INVALID if share > MOST_ERRORS else Category.OPEN,
                "requests failed",
                parameter=f"{point.clients} clients",
                expected=f"none in CLOSED, <= {100 * MOST_ERRORS:g} % in OPEN",
                actual=f"{point.failed} ({100 * share:.2f} %)",
                fix="see the ranks' logs and the server's",
            )


def windows_whole(result: ResultSubject) -> Iterator[Issue]:
    """V.4: all clients of a point had the same window.

    Of each point, the longest and the shortest window of a client differ by 1 % of the longest at
    most: queries are divided by the longest. More is INVALID; where windows end by a number of
    queries (--queries) it is OPEN. The rule is ours.
    """
    for point in result.points:
        if point.seconds - point.least_seconds > 0.01 * point.seconds:
            yield Issue(
                "V.4",
                Category.INVALID if result.timed else Category.OPEN,
                "the clients' windows differ by more than 1 %",
                parameter=f"{point.clients} clients",
                expected=f"{point.seconds:.2f} s",
                actual=f"{point.least_seconds:.2f} s",
                fix="use --runtime instead of --queries",
            )


def recall_under_load(result: ResultSubject) -> Iterator[Issue]:
    """V.9: answers within the measured windows are as good as those of the recall's own pass.

    Those of a window are a sample: four standard errors below are no accident.
    """
    for point in result.points:
        if point.recall is None or point.recall_queries < LEAST_SAMPLE:
            continue
        error = result.recall_deviation / math.sqrt(point.recall_queries)
        if point.recall < result.recall - 4 * error - 1e-9:
            yield Issue(
                "V.9",
                Category.INVALID,
                "the answers under load are worse than the recall says",
                parameter=f"{point.clients} clients",
                expected=f">= {result.recall - 4 * error:.4f}",
                actual=f"{point.recall:.4f} over {point.recall_queries} queries",
                fix="see whether the engine cuts searches short under load",
            )


def storage_bound(result: ResultSubject) -> Iterator[Issue]:
    """V.5: queries read from storage; a run from memory says nothing about it.

    Bytes read within the window ÷ queries is 4096 or more in every point that answered queries;
    less is called memory_resident and is at best OPEN, and so is a run whose reads nobody counted.
    Counted by the engine's own counters, else its control group, else read_bytes of /proc/self/io.
    The rule is ours.
    """
    if not result.counted:
        yield Issue(
            "V.5",
            Category.OPEN,
            "what storage delivered could not be counted",
            parameter="counters",
            expected="a counter of the engine, its control group or its processes",
            actual=result.source,
            fix="run the clients where the storage is, or an engine with counters of its own",
        )
        return
    for point in result.points:
        if point.queries and (point.bytes_per_query or 0) < LEAST_BYTES_PER_QUERY:
            yield Issue(
                "V.5",
                Category.OPEN,
                "memory_resident: the queries hardly read from storage",
                parameter=f"{point.clients} clients, by {result.source}",
                expected=f">= {LEAST_BYTES_PER_QUERY} bytes per query",
                actual=f"{point.bytes_per_query:.0f}",
                fix="give --memory-cap, or use more vectors than memory holds",
            )


def memory_bounded(result: ResultSubject) -> Iterator[Issue]:
    """V.2: the memory cap is small against the index, where the data are not large themselves.

    --memory-cap, in bytes per host, is 25 % of the index on storage at most; more is at best OPEN.
    It is not judged where the vectors are 5 × the memory of the hosts anyway, or where there is no
    cap (see this rule before a run). The rule is ours.
    """
    if result.exceeds_memory or result.cap_bytes is None or result.index_bytes is None:
        return
    if result.cap_bytes > CLOSED_CAP_SHARE * result.index_bytes:
        yield Issue(
            "V.2",
            Category.OPEN,
            "the memory cap holds much of the index",
            parameter="--memory-cap",
            expected=f"<= {format_bytes(CLOSED_CAP_SHARE * result.index_bytes)}",
            actual=format_bytes(result.cap_bytes),
            fix="lower the cap to a quarter of the index",
        )


def counters_agree(result: ResultSubject) -> Iterator[Issue]:
    """V.6: the engine's own counters and the kernel's tell the same bytes, within two percent.

    Of each point, the bytes of the engine's own counters and read_bytes of /proc/self/io of the
    clients differ by 2 % of the larger at most; more is INVALID. It is not judged where one of the
    two does not count. The rule is ours.
    """
    for point in result.points:
        if point.agreement is not None and point.agreement > MOST_DISAGREEMENT:
            yield Issue(
                "V.6",
                Category.INVALID,
                "two counters of the same bytes disagree",
                parameter=f"{point.clients} clients",
                expected=f"<= {100 * MOST_DISAGREEMENT:.0f} %",
                actual=f"{100 * point.agreement:.1f} %",
                fix="report this: the engine reads something else than it counts",
            )


def client_has_room(result: ResultSubject) -> Iterator[Issue]:
    """V.7: the scored point is not bound by the processors of the clients.

    The processors of the busiest client host are less than 80 % busy within the window of the
    scored point, by /proc/stat, whoever uses them; from there on the run is at best OPEN: faster
    storage would not show. The rule is ours.
    """
    if result.scored is None:
        return
    point = result.points[result.scored]
    if point.cpu_share >= MOST_CPU_SHARE:
        yield Issue(
            "V.7",
            Category.OPEN,
            "client_bound: the processors of the client hosts are the limit",
            parameter=f"{point.clients} clients",
            expected=f"< {100 * MOST_CPU_SHARE:.0f} % busy",
            actual=f"{100 * point.cpu_share:.0f} %",
            fix="use more client hosts, or more cores",
        )


def latency_kept(result: ResultSubject) -> Iterator[Issue]:
    """V.8: at least one point keeps the latency that the score is bound to.

    The score is the most queries/s of a point whose p99 latency is search.slo_ms at most (20 ms in
    every scale of CLOSED), and where no request of an open loop was left waiting. Where no point
    keeps it there is no score, and the run is at best OPEN. The rule is ours.
    """
    if result.scored is None:
        yield Issue(
            "V.8",
            Category.OPEN,
            "no point keeps the latency of the score",
            parameter="p99",
            expected=f"<= {result.workload.search.slo_ms:g} ms",
            actual=f"{min((p.p99_ms for p in result.points), default=0):.1f} ms at best",
            fix="use fewer clients, or faster storage",
        )


RESULT_RULES: tuple[Rule[ResultSubject], ...] = (
    Rule("5.3.2", "Recall", Phase.RESULT, recall_reached, editions=SINCE_THIRD),
    Rule(
        "5.3.5",
        "Queries with exact neighbours",
        Phase.RESULT,
        truth_large_enough,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("5.3.3", "Number of queries", Phase.RESULT, queries_counted, editions=SINCE_THIRD),
    Rule(
        "V.2",
        "Bounded memory",
        Phase.RESULT,
        memory_bounded,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("V.3", "Few errors", Phase.RESULT, few_errors, editions=SINCE_THIRD),
    Rule("V.4", "Equal windows", Phase.RESULT, windows_whole, editions=SINCE_THIRD),
    Rule(
        "V.5",
        "Reads from storage",
        Phase.RESULT,
        storage_bound,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("V.6", "Counters agree", Phase.RESULT, counters_agree, editions=SINCE_THIRD),
    Rule(
        "V.7",
        "Clients with room",
        Phase.RESULT,
        client_has_room,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("V.9", "Recall under load", Phase.RESULT, recall_under_load, editions=SINCE_THIRD),
    Rule(
        "V.8",
        "Latency of the score",
        Phase.RESULT,
        latency_kept,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
)
