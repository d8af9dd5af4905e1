"""What the launcher asks of every rank of a KV-cache run."""

from __future__ import annotations

import msgspec

from mlpstorage.kinds.kvcache.setup import Setup  # noqa: TC001 (msgspec needs it)


class Argument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it; times in seconds, sizes in bytes.

    `run_number` is in every stamp: blocks of another run are told apart. `slo_base_ns` is by class.
    """

    setup: Setup
    cache_dir: str
    layout: str
    threads: int
    write_threads: int
    direct: bool
    durable: bool
    verify: str
    keep_cache: bool
    raw: bool
    trials: int
    slo_base_ns: tuple[int, ...]
    slo_per_token_ns: int
    run_number: int
