"""What a rank of a vector run records, and what is kept beside a collection."""

from __future__ import annotations

from typing import Any

import msgspec


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Frozen records of names and values."""


class CollectionRecord(_Record, frozen=True, forbid_unknown_fields=True):
    """What a collection holds and how it was made; kept beside it by the backend.

    `status` is loading, loaded or built. `load_seconds` counts the calls that load, `bytes_written`
    what the kernel counted meanwhile for the loading process (None for a server).
    """

    status: str
    dataset_hash: str
    vectors: int
    dimension: int
    metric: str
    backend: str
    index: str
    version: dict[str, str]
    asked: dict[str, int]
    effective: dict[str, Any] = {}
    load_seconds: float = 0.0
    flush_seconds: float = 0.0
    build_seconds: float = 0.0
    resumed_from: int = 0
    bytes_written: int | None = None
    peak_memory_bytes: int = 0
    disk_bytes: int | None = None
    created: str = ""


class CalibrationStep(_Record, frozen=True):
    """One effort that was tried, and the mean recall it gave."""

    effort: int
    recall: float


class Verification(_Record, frozen=True):
    """One rank's share of all queries with known neighbours, at the chosen effort.

    These are the same queries in every run: what they read is too, where caches play no part.
    Reads and bytes are as in `PointRecord`.
    """

    recalls: list[float]
    queries: int = 0
    read_bytes: int = 0
    own_reads: int | None = None
    own_bytes: int | None = None
    group_reads: int | None = None
    group_bytes: int | None = None
    group_source: str = ""
    active: bool = True


class CacheProof(_Record, frozen=True):
    """How the caches of a host were brought into their state, and what was seen of it.

    `resident_share` is the share of the collection's files in the page cache before the point.
    """

    method: str
    resident_share: float | None = None
    warmup_rounds: int = 0
    settled: bool | None = None


class PointRecord(_Record, frozen=True):
    """One rank in one point of the sweep; bytes, reads and seconds are of the measured window.

    `ended_early` says that the user wanted to stop, and the window is shorter than was asked.
    `cut` counts requests that were begun within the window and ended after it: they are no part of
    the rate, but have read. The histogram counts requests by the bucket of their latency in
    microseconds. `group_*` are of the whole control group of the host and stand in the record of
    its first rank.
    """

    point: int
    active: bool
    cache: CacheProof
    ended_early: bool = False
    window_seconds: float = 0.0
    requests: int = 0
    queries: int = 0
    failed: int = 0
    cut: int = 0
    overdue: int = 0
    latency_us: dict[str, int] = {}
    latency_sum_us: float = 0.0
    latency_max_us: float = 0.0
    recalls: list[float] = []
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    read_bytes: int = 0
    own_reads: int | None = None
    own_bytes: int | None = None
    group_reads: int | None = None
    group_bytes: int | None = None
    group_source: str = ""
    group_memory_bytes: int | None = None
    host_busy_seconds: float = 0.0
    host_iowait_seconds: float = 0.0
    host_cpus: float = 0.0
    network_share: float | None = None
    resident_bytes: int = 0


class PointPlan(_Record, frozen=True):
    """One point of a run: closed loop of some clients, or open loop at a rate (requests/s)."""

    number: int
    clients: int
    rate: float | None = None
    share: float | None = None


class RankRecord(_Record, frozen=True):
    """All that one rank delivers; `collection`, `steps` and `plans` are rank 0's.

    Where the user wanted to stop, what was not reached is as it is here: no effort, no recalls,
    fewer points than plans. `rows` are the vectors that the collection holds.
    """

    effort: int = 0
    verification: Verification = Verification(recalls=[])
    points: list[PointRecord] = []
    rows: int = 0
    collection: CollectionRecord | None = None
    reused: bool = False
    version: dict[str, str] = {}
    steps: list[CalibrationStep] = []
    plans: list[PointPlan] = []
    calibrated: bool = True
    memory_cap_bytes: int | None = None
