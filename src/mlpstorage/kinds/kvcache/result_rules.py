"""The rules that judge a KV-cache run after it: each a pure function, named by its number.

`K.…` are our own, about evidence; those that judge the plan are in `rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.rules import CLOSED_ONLY, SINCE_THIRD, Category, Issue, Phase, Rule
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.kinds.evidence import from_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlpstorage.engine.kv.raw import RawPoint
    from mlpstorage.engine.kv.record import Merged
    from mlpstorage.kinds.kvcache.setup import Setup

# The rule that is broken by bytes that are not those written.
WRONG_BYTES = "K.20"
MOST_DEVIATION = 0.02
MOST_CACHED = 0.02
MOST_SPREAD = 0.10
MOST_CPU_SHARE = 0.85
MOST_LAG_SECONDS = 0.01
LEAST_LAGS = 100
LEAST_WINDOWS = 3
LEAST_EFFICIENCY = 0.90
WINDOW_SECONDS = 10
# What a process reads and writes besides blocks: libraries, counters, events.
OWN_BYTES = 16 << 20


@dataclass(frozen=True)
class ResultSubject:
    """What can be judged after a run.

    `scores` are the windows that count, of all ranks together, `checked` all that was executed;
    `cpu_share` is the busiest rank's
    CPU time over its part of its host's CPUs; `cached_share` the part of the bytes read that came
    from memory, None where the kernel does not count; `hashes` the ranks' plan hashes where they
    must be equal.
    """

    setup: Setup
    scores: Sequence[Merged]
    cpu_share: float
    cached_share: float | None
    foreign: Sequence[str] = ()
    hashes: Sequence[str] = ()
    filesystem: str = ""
    checked: Sequence[Merged] = ()
    raw: Sequence[RawPoint] = ()


def right_bytes(result: ResultSubject) -> Iterator[Issue]:
    """K.20: what is read is what was written.

    Every block that is read, for raw speeds, while searching and in the trials, is compared with
    what was written there: the stamp of each 4 KiB sector, and one block in a hundred byte by byte
    (--verify full: all). One wrong block is INVALID, whatever else is allowed. The rule is ours.
    """
    checks = [phase.all.verification for phase in result.checked or result.scores]
    bad = next((check for check in checks if check.bad), None)
    points = [point for point in result.raw if point.bad]
    if bad is not None:
        first = bad.findings[0]
        what = f"{first.file} at byte {first.offset}: {first.detail}"
        actual = f"{bad.bad} wrong blocks of {bad.blocks}"
    elif points:
        size = format_bytes(points[0].block_bytes)
        what = f"raw {points[0].direction} of {size} blocks: other bytes came back"
        actual = f"{sum(point.bad for point in points)} wrong blocks"
    else:
        return
    yield Issue(
        WRONG_BYTES,
        Category.INVALID,
        what,
        parameter="verification",
        expected="every sector as it was written",
        actual=actual,
        fix="find out why this storage returned other bytes",
    )


def no_preload(result: ResultSubject) -> Iterator[Issue]:
    """K.21: nothing stands between the program and the kernel.

    LD_PRELOAD of each rank and /etc/ld.so.preload of its host name no library; otherwise the run is
    INVALID. A library in between could answer from memory, and change what the kernel counts. The
    rule is ours.
    """
    if result.foreign:
        yield Issue(
            "K.21",
            Category.INVALID,
            "libraries were preloaded into the ranks",
            parameter="LD_PRELOAD",
            expected="none",
            actual=", ".join(result.foreign),
            fix="unset LD_PRELOAD, and empty /etc/ld.so.preload",
        )


def bytes_accounted(result: ResultSubject) -> Iterator[Issue]:
    """K.22: the kernel saw the ranks read and write what the executor counted.

    Of each trial, from its start to its end, the bytes that read calls returned and write calls
    took are compared with rchar and wchar of /proc/self/io, summed over the ranks. A difference of
    more than 2 %, and more than 16 MiB per rank (libraries, events), is INVALID. The rule is ours.
    """
    for score in result.scores:
        record = score.all
        pairs = {
            "read": (record.moved_read_bytes, record.kernel_rchar),
            "written": (record.moved_written_bytes, record.kernel_wchar),
        }
        for name, (moved, counted) in pairs.items():
            if abs(moved - counted) > max(MOST_DEVIATION * moved, OWN_BYTES * score.ranks):
                yield Issue(
                    "K.22",
                    Category.INVALID,
                    f"the kernel counted other bytes {name} than the executor",
                    parameter="/proc/self/io of the ranks",
                    expected=f"{moved} ± 2 %",
                    actual=str(counted),
                    fix="report this: the engine moved something else than it says",
                )


def from_storage(result: ResultSubject) -> Iterator[Issue]:
    """K.23: the bytes came from storage, not from the clients' memory.

    The cached share is 1 less read_bytes of /proc/self/io ÷ the bytes of blocks read, over all
    ranks and trials. More than 2 % is INVALID. It is not judged where the kernel does not count the
    reads of a filesystem by process. The rule is ours.
    """
    return from_memory(
        "K.23",
        "blocks",
        result.cached_share,
        result.filesystem,
        most=MOST_CACHED,
        fix="leave --buffered out, or use a larger --capacity",
    )


def not_client_bound(result: ResultSubject) -> Iterator[Issue]:
    """K.24: the client was fast enough to measure storage.

    In no trial does a rank use more than 85 % of its part of the CPUs of its host (usable CPUs ÷
    ranks there), and 99 % of the requests with a due time are dispatched at most 10 ms late, where
    a trial has 100 of them. Otherwise the run is INVALID: faster storage would not show. The rule
    is ours.
    """
    lags = [score.all.lag for score in result.scores if score.all.lag.count >= LEAST_LAGS]
    lag = max((lag.quantile(0.99) for lag in lags), default=0) / 1e9
    if result.cpu_share > MOST_CPU_SHARE:
        name, expected = "CPU of a rank", f"<= {100 * MOST_CPU_SHARE:.0f} % of its part of the host"
        actual = f"{100 * result.cpu_share:.0f} %"
    elif lag > MOST_LAG_SECONDS:
        name, expected = "lag of the executor, p99", f"<= {format_seconds(MOST_LAG_SECONDS)}"
        actual = format_seconds(lag)
    else:
        return
    yield Issue(
        "K.24",
        Category.INVALID,
        "the client set the score",
        parameter=name,
        expected=expected,
        actual=actual,
        fix="use more client hosts or cores, or fewer users",
    )


def steady(result: ResultSubject) -> Iterator[Issue]:
    """K.25: ten-second parts of a window differ little.

    Of each trial, bytes read and written are summed in parts of 10 s; their standard deviation is
    10 % of their mean at most. More is INVALID: the mean would depend on when one looked. A trial
    needs three whole parts to be judged, and a replayed trace is not. The rule is ours.
    """
    if result.setup.mode == "replay":
        return
    for score in result.scores:
        spread = coefficient_of_variation(score.all.read_series, score.all.write_series)
        if spread is not None and spread > MOST_SPREAD:
            yield Issue(
                "K.25",
                Category.INVALID,
                "throughput was not steady",
                parameter="variation of 10 s windows",
                expected=f"<= {100 * MOST_SPREAD:.0f} %",
                actual=f"{100 * spread:.1f} %",
                fix="measure for longer, on storage that does nothing else",
            )
            return


def coefficient_of_variation(reads: Sequence[int], writes: Sequence[int]) -> float | None:
    """Standard deviation over mean of ten-second sums; None for fewer than three whole ones.

    >>> coefficient_of_variation([1] * 30, [0] * 30)
    0.0
    """
    each = [read + write for read, write in zip(reads, writes, strict=True)]
    whole = len(each) // WINDOW_SECONDS
    sums = [sum(each[k * WINDOW_SECONDS : (k + 1) * WINDOW_SECONDS]) for k in range(whole)]
    if whole < LEAST_WINDOWS or not sum(sums):
        return None
    middle = sum(sums) / whole
    return float((sum((part - middle) ** 2 for part in sums) / whole) ** 0.5 / middle)


def hits_as_planned(result: ResultSubject) -> Iterator[Issue]:
    """K.26: what the plan says is in the cache was there.

    Of each trial, reads of blocks that the plan has in the cache and that were not there (not yet
    written, dropped or deleted) are 2 % of the reads of the plan at most. More is INVALID: work
    that was planned was not done. The rule is ours.
    """
    for score in result.scores:
        record = score.all
        missed = record.reads_early + record.reads_lost + record.reads_absent
        share = missed / max(1, record.reads + missed)
        if share > MOST_DEVIATION:
            yield Issue(
                "K.26",
                Category.INVALID,
                "blocks that the plan has in the cache were not there",
                parameter="hit rate",
                expected="the plan's, less 2 % at most",
                actual=f"{missed} of {record.reads + missed} reads missed",
                fix="use fewer users, or more --write-threads, so that stores keep up",
            )
            return


def trials_agree(result: ResultSubject) -> Iterator[Issue]:
    """K.27: trials differ by a tenth at most.

    Compared is the throughput of the trials, bytes read and written per second over all ranks: the
    fastest is at most 1.10 × the slowest. More is INVALID: their median would be no figure to
    repeat. The rule is ours.
    """
    rates = [s.all.read_bytes_per_second + s.all.written_bytes_per_second for s in result.scores]
    if len(rates) > 1 and max(rates) > (1 + MOST_SPREAD) * min(rates):
        yield Issue(
            "K.27",
            Category.INVALID,
            "the trials differ too much",
            parameter="throughput of the trials",
            expected=f"within {100 * MOST_SPREAD:.0f} %",
            actual=f"{format_bytes(min(rates))}/s to {format_bytes(max(rates))}/s",
            fix="run it again, on storage that does nothing else",
        )


def same_plan(result: ResultSubject) -> Iterator[Issue]:
    """K.28: every rank compiled the same plan.

    Each rank hashes the plan that it has compiled, and the hashes are equal; otherwise the run is
    INVALID: the ranks would share a cache by different plans. With --key-space private each rank
    has its own plan, and it is not judged. The rule is ours.
    """
    if len(set(result.hashes)) > 1:
        yield Issue(
            "K.28",
            Category.INVALID,
            "the ranks compiled different plans",
            parameter="plan hash",
            expected=result.hashes[0],
            actual=", ".join(sorted(set(result.hashes[1:]))),
            fix="install the same version of mlpstorage and numpy on every host",
        )


def stores_kept_up(result: ResultSubject) -> Iterator[Issue]:
    """K.29: CLOSED drops no stores.

    A store that has waited 30 s for a writer is given up, as inference servers do. One such store
    in a trial is at best OPEN: what is not written spares storage its work. The rule is ours.
    """
    dropped = sum(score.all.writes_dropped for score in result.scores)
    if dropped:
        yield Issue(
            "K.29",
            Category.OPEN,
            "stores were dropped after 30 s in the queue",
            parameter="dropped writes",
            expected="0",
            actual=str(dropped),
            fix="use fewer users, or more --write-threads",
        )


def plan_lasted(result: ResultSubject) -> Iterator[Issue]:
    """K.30: there was work until the end of the window.

    In no trial has a rank done its whole plan before the time was up; otherwise the run is INVALID:
    the rest of the window would count as idle storage. A replayed trace ends when it ends, and is
    not judged. The rule is ours.
    """
    if result.setup.mode != "replay" and any(s.all.exhausted for s in result.scores):
        yield Issue(
            "K.30",
            Category.INVALID,
            "the plan ended before the window did",
            parameter="--duration",
            expected="work until the end",
            actual="nothing left to do",
            fix="give a shorter --duration",
        )


def as_fast_as_fio(result: ResultSubject) -> Iterator[Issue]:
    """K.31: at the profile's block size, the engine moves what fio moves, less a tenth at most.

    In the table of raw speeds (--raw), our rate ÷ the rate of fio on the same files, the median of
    the pairs, is 0.90 or more for reads and for writes at each depth. Less is INVALID: this program
    would be the limit. It is not judged without the table or without fio. The rule is ours.
    """
    for point in result.raw:
        slow = point.efficiency is not None and point.efficiency < LEAST_EFFICIENCY
        if slow and point.block_bytes == result.setup.shape.block_bytes:
            yield Issue(
                "K.31",
                Category.INVALID,
                f"fio is faster than this program ({point.direction}, depth {point.queue_depth})",
                parameter="ours / fio",
                expected=f">= {LEAST_EFFICIENCY:.2f}",
                actual=f"{point.efficiency:.2f}",
                fix="measure on storage and hosts that do nothing else",
            )


RESULT_RULES: tuple[Rule[ResultSubject], ...] = (
    Rule(WRONG_BYTES, "Verified bytes", Phase.RESULT, right_bytes, editions=SINCE_THIRD),
    Rule("K.21", "No preloaded libraries", Phase.RESULT, no_preload, editions=SINCE_THIRD),
    Rule("K.22", "Bytes accounted for", Phase.RESULT, bytes_accounted, editions=SINCE_THIRD),
    Rule("K.23", "Bytes from storage", Phase.RESULT, from_storage, editions=SINCE_THIRD),
    Rule("K.24", "Client not the bottleneck", Phase.RESULT, not_client_bound, editions=SINCE_THIRD),
    Rule("K.25", "Steady throughput", Phase.RESULT, steady, editions=SINCE_THIRD),
    Rule("K.26", "Hits as planned", Phase.RESULT, hits_as_planned, editions=SINCE_THIRD),
    Rule("K.27", "Trials agree", Phase.RESULT, trials_agree, editions=SINCE_THIRD),
    Rule("K.28", "Same plan", Phase.RESULT, same_plan, editions=SINCE_THIRD),
    Rule(
        "K.29",
        "Stores kept up",
        Phase.RESULT,
        stores_kept_up,
        divisions=CLOSED_ONLY,
        editions=SINCE_THIRD,
    ),
    Rule("K.30", "Work until the end", Phase.RESULT, plan_lasted, editions=SINCE_THIRD),
    Rule("K.31", "As fast as fio", Phase.RESULT, as_fast_as_fio, editions=SINCE_THIRD),
)
