"""What a compiled KV-cache plan is: every read, write and delete of every request, in arrays.

Cache decisions depend only on the logical order of requests, so they are made before the clock
starts. The executor issues what stands here and times it; it never looks anything up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Op(IntEnum):
    """What is done with a block of the storage tier."""

    READ = 0
    WRITE = 1
    DELETE = 2


@dataclass(frozen=True)
class KvPlan:
    """The I/O of one rank; arrays of two lengths, operations and requests.

    Operations of a request stand together and in the order of issue: `first_op[r]` to
    `first_op[r + 1]` (`first_op` has one entry more than there are requests). A request's READs
    are issued together and it is restored when the last is in; its WRITEs and DELETEs follow in
    the background, in the plan's order for each block.

    Args:
        op: `Op` of each operation, uint8.
        block: The block's id, uint64: equal ids are equal contents, in every rank.
        first_op: Where each request's operations begin, int64, one entry more than requests.
        session: The session of each request, int32: requests of a session never overlap.
        kind: The request's class, int8, an index into `kinds`.
        hit_tokens: Prompt tokens that the storage tier restores, int32.
        input_tokens: All prompt tokens, int32.
        arrival_ns: Open loop: when the request is due, from the start of the window; int64.
            Closed loop: how long after the end of the session's last request (think time and
            emulated compute). Which of both, `open_loop` says.
        open_loop: See `arrival_ns`.
        kinds: The names of the classes.
        block_bytes: The size of a block, a multiple of 4096.
    """

    op: npt.NDArray[np.uint8]
    block: npt.NDArray[np.uint64]
    first_op: npt.NDArray[np.int64]
    session: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int8]
    hit_tokens: npt.NDArray[np.int32]
    input_tokens: npt.NDArray[np.int32]
    arrival_ns: npt.NDArray[np.int64]
    open_loop: bool
    kinds: tuple[str, ...]
    block_bytes: int
