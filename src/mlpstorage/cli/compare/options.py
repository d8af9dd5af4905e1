"""The options of `mlpstorage compare`."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Options of `compare`."""

    baseline: str = opt(
        MISSING, "Run or set to compare with: its id, or its directory.", group=POSITIONAL
    )
    candidate: str = opt(
        MISSING, "Run or set that is better or worse: its id, or its directory.", group=POSITIONAL
    )
    results_dir: str = opt("results", "Root of all results.", short="-rd")
    fail_if: tuple[str, ...] = opt(
        (),
        "Exit with 1 if a figure changed so much, such as 'throughput<-5%' or 'read_p99>10%'.",
        many=True,
    )
    force: bool = opt(False, "Compare different workloads too.")
    confidence: str = opt("95%", "How sure the intervals are.")
    least: str = opt("1%", "Smaller differences count as none, however sure they are.")
    json: bool = opt(False, "Print as JSON.")
    debug: bool = opt(False, "Show tracebacks of errors.")
