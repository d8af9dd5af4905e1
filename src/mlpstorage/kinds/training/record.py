"""What a rank of a training run records, and sends to the launcher."""

from __future__ import annotations

import msgspec


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's epoch, as it travels to the launcher.

    `load_us` and `compute_us` are whole microseconds per step; the histogram counts file visits by
    the bucket of their duration in microseconds (see `engine.histogram`).
    """

    start: str
    end: str
    load_us: list[int]
    compute_us: list[int]
    block_seconds: float
    samples: int
    bytes_planned: int
    rchar: int
    read_bytes: int
    user_seconds: float
    system_seconds: float
    host_busy_seconds: float
    host_iowait_seconds: float
    host_cpus: float
    reader_busy_seconds: float
    readers: int
    visits: int
    visit_us: dict[str, int]
    drop_method: str
    drop_seconds: float
