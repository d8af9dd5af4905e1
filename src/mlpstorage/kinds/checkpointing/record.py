"""What a rank of a checkpointing run records, and sends to the launcher."""

from __future__ import annotations

import msgspec


class CheckpointRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One rank's part of one checkpoint, written (`save`) or read (`load`).

    `seconds` runs from the barrier before it until its files are durable under their names, or read
    and closed. `io_seconds` is what the threads spent in write or read calls, of which `depth` ran
    at a time. `own_seconds` is what stamping or verifying took beside that, in all threads.
    `wrote_on` is the host that wrote what was read, empty where this run itself did; counters are
    the kernel's of this process, `network_share` the busiest link's of its host.
    """

    phase: str
    number: int
    start: str
    end: str
    seconds: float
    span_seconds: float
    bytes: int
    files: int
    depth: int
    open_seconds: float
    io_seconds: float
    fsync_seconds: float
    close_seconds: float
    name_seconds: float
    own_seconds: float
    source_rank: int
    wrote_on: str
    char_bytes: int
    device_bytes: int
    user_seconds: float
    system_seconds: float
    host_busy_seconds: float
    host_iowait_seconds: float
    host_cpus: float
    peak_bytes: int
    drop_method: str
    sectors_verified: int
    payloads_verified: int
    mismatches: int
    first_file: str
    first_offset: int
    first_what: str
    network_share: float | None = None


class RankRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All of one rank's checkpoints, and where the clock of the whole began and ended."""

    checkpoints: list[CheckpointRecord]
    total_seconds: float
