"""Requests before any cache decision: who asks, when, and which blocks the prompt is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class RequestStream:
    """Requests in their logical order, the order in which the cache sees them; arrays.

    Args:
        session: Whose request it is, int32; requests of a session follow each other.
        kind: The request's class, int8, an index into `kinds`.
        arrival_ns: As in `KvPlan`: due time (open loop) or delay after the last (closed loop).
        input_tokens: Tokens of the prompt, int32.
        output_tokens: Tokens that are generated, int32.
        prompt_blocks: How many of the request's blocks are looked up, int32; the others, of
            generated tokens, are stored only.
        first_block: Where each request's blocks begin in `block`, int64; one more than requests.
        block: Ids of blocks, uint64: equal ids, equal content.
        block_tokens: Tokens of a block.
        open_loop: What `arrival_ns` means.
        kinds: The names of the classes.
    """

    session: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int8]
    arrival_ns: npt.NDArray[np.int64]
    input_tokens: npt.NDArray[np.int32]
    output_tokens: npt.NDArray[np.int32]
    prompt_blocks: npt.NDArray[np.int32]
    first_block: npt.NDArray[np.int64]
    block: npt.NDArray[np.uint64]
    block_tokens: int
    open_loop: bool
    kinds: tuple[str, ...]

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.session)
