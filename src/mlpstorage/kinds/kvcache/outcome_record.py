"""What a rank of a KV-cache run records, and sends to the launcher."""

from __future__ import annotations

import msgspec

from mlpstorage.engine.kv.raw import RawPoint  # noqa: TC001 (msgspec needs it)
from mlpstorage.engine.kv.record import RankRecord  # noqa: TC001 (msgspec needs it)
from mlpstorage.kinds.kvcache.plan_figures import PlanFigures  # noqa: TC001 (msgspec needs it)

POPULATE, PROBE, SCORE = "populate", "probe", "score"


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One execution of a plan by one rank.

    Args:
        name: populate, probe (of a search) or score (a trial that counts).
        users: Users at a time, or requests in flight; 0 where neither is meant.
        trial: The number of the trial, from 1; 0 for other phases.
        record: What was measured.
    """

    name: str
    users: int
    trial: int
    record: RankRecord


class RankOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """All that one rank did.

    `plan_hash` and `figures` are of the plan of the score, `skew_ns` how far the ranks' starts were
    apart at most (rank 0 knows), `foreign` the libraries that were preloaded, `returning` how many
    sessions go on that began before the run, `cpus` this rank's part of its host's CPUs; `raw` is
    the table of plain speeds (rank 0). `reached` is how far the run came if the user stopped it;
    then the plan is that of the last load point if there is no score.
    """

    phases: list[Phase]
    plan_hash: str
    figures: PlanFigures | None
    skew_ns: int
    skew_error_ns: int
    foreign: list[str]
    returning: int
    cpus: float
    raw: list[RawPoint] = []
    reached: str = ""
