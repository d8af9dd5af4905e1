"""How a plan is executed: threads, sizes of I/O, the window, and what is verified."""

from __future__ import annotations

from dataclasses import dataclass

STAMPS, FULL, OFF = "stamps", "full", "off"


@dataclass(frozen=True)
class Settings:
    """How a rank executes its plan.

    Args:
        readers: Reader threads: the most reads in flight.
        writers: Writer threads: the most writes and deletes in flight.
        writers_beside_reads: How many of them may go on while reads wait for a reader thread, so
            that background writes never starve reads.
        piece_bytes: Blocks above 4 MiB are read and written in pieces of this size (1 to 4 MiB);
            the pieces of a block are read by several threads, and written by one.
        warmup_seconds: How long after the start the window opens.
        duration_seconds: How long it is; None for all of the plan, which may end earlier as well.
        verify: `stamps`: every sector's stamp of every read, and all bytes of one block in a
            hundred; `full`: all bytes of every block; `off`: nothing, for measuring what it costs.
        write_budget_seconds: A WRITE that waits for longer is dropped, as inference servers do.
        ends_with_writes: A request of a closed loop ends with its last write or delete, not when
            it is restored.
        shared: Ranks share the directory: a block that is not there is another rank's matter, and
            counted; otherwise it is a finding.
        slo_base_ns: By class: the restore latency allowed for a request of no tokens; 0 for no
            limit. Empty: no limits at all.
        slo_per_token_ns: What is allowed beyond that for each token restored.
        seed: Of the choice of blocks that are compared as a whole.
    """

    readers: int = 16
    writers: int = 8
    writers_beside_reads: int = 2
    piece_bytes: int = 4 << 20
    warmup_seconds: float = 0.0
    duration_seconds: float | None = None
    verify: str = STAMPS
    write_budget_seconds: float = 30.0
    ends_with_writes: bool = False
    shared: bool = False
    slo_base_ns: tuple[int, ...] = ()
    slo_per_token_ns: int = 10_000
    seed: int = 0

    def pieces(self, block_bytes: int) -> tuple[int, int]:
        """How many pieces a block has, and the bytes of all but the last.

        >>> Settings(piece_bytes=1 << 20).pieces(4 << 20), Settings().pieces(10 << 20)
        ((1, 4194304), (3, 4194304))
        """
        if block_bytes <= _WHOLE_BYTES:
            return 1, block_bytes
        return -(-block_bytes // self.piece_bytes), self.piece_bytes


_WHOLE_BYTES = 4 << 20
