"""What a rank of a training run records, and sends to the launcher."""

from __future__ import annotations

import msgspec


class EpochRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's epoch, as it travels to the launcher.

    `load_us` and `compute_us` are whole microseconds per step; the histogram counts visits (of a
    file, or of a table's row group) by the bucket of their duration in microseconds (see
    `engine.histogram`). `decode_seconds` sums over the readers, and is no part of their busy time.

    DLIO's readers are processes of their own, of which nobody knows when they were busy, and whose
    visits are not counted: `processes` is how many a rank has, itself included. `network_share` is
    the busiest link's of the rank's host (see `engine.links`).
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
    reader_busy_seconds: float | None
    readers: int
    decode_seconds: float = 0.0
    visits: int
    visit_us: dict[str, int]
    drop_method: str
    drop_seconds: float
    processes: int = 1
    network_share: float | None = None
