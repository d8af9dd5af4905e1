"""Reading traces of real requests: JSON lines in the format of the Mooncake traces.

    {"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1, 2, …]}

`timestamp` is in milliseconds from the start of the trace, `hash_ids` name the prompt's blocks of
512 tokens; equal ids mean an equal prompt up to there. The last block holds what is left of the
prompt. It is stored like any other (as one block, padded), and it is hit only by a request whose
prompt names the same id: the trace says that nothing else is equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError, UsageError
from mlpstorage.kinds.kvcache.mixing import mixed
from mlpstorage.kinds.kvcache.stream import RequestStream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRACE_BLOCK_TOKENS = 512
_MOST_TOKENS = 1 << 24
_SHOWN = 80
_FIX = "give a trace in Mooncake's format: one JSON object per line, documented in docs/kvcache.md"

Tokens = Annotated[int, Meta(ge=0, le=_MOST_TOKENS)]


class TraceRequest(msgspec.Struct, frozen=True):
    """One line of a trace; fields that other tools add are left alone."""

    timestamp: Annotated[float, Meta(ge=0, le=1e15)]
    input_length: Annotated[int, Meta(ge=1, le=_MOST_TOKENS)]
    output_length: Tokens
    hash_ids: list[Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]]


def read_trace(path: Path, *, limit: int | None = None) -> Iterator[TraceRequest]:
    """The requests of a trace, one line at a time.

    Raises:
        NotFoundError, AccessError: the file cannot be opened.
        ConfigurationError: a line is not a request, names another number of blocks than its prompt
            has, or is earlier than the line before; says which line.
    """
    decoder = msgspec.json.Decoder(TraceRequest)
    before, count = 0.0, 0
    for number, line in _lines(path):
        if limit is not None and count >= limit:
            return
        if not line.strip():
            continue
        request = _request(decoder, line, f"{path}:{number}")
        if request.timestamp < before:
            raise ConfigurationError(
                f"{path}:{number}: timestamp {request.timestamp:g} is before the line above it "
                f"({before:g})",
                why="requests are replayed in the order in which they arrived",
                fix="sort the trace by timestamp",
            )
        before, count = request.timestamp, count + 1
        yield request
    if not count:
        raise ConfigurationError(f"{path} holds no request", fix=_FIX)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file, 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no trace {path}", fix="check --trace") from error
    except PermissionError as error:
        raise AccessError(
            f"cannot read the trace {path}: {error.strerror}", fix="make it readable for this user"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the trace {path}: {error.strerror}", fix=_FIX
        ) from error


def _request(decoder: msgspec.json.Decoder[TraceRequest], line: bytes, where: str) -> TraceRequest:
    try:
        request = decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        shown = line[:_SHOWN].decode("utf-8", "replace").strip()
        raise ConfigurationError(
            f"{where}: {error}", why=f"the line is {shown}", fix=_FIX
        ) from error
    blocks = -(-request.input_length // TRACE_BLOCK_TOKENS)
    if len(request.hash_ids) != blocks:
        raise ConfigurationError(
            f"{where}: {len(request.hash_ids)} hash_ids for {request.input_length} tokens",
            why=f"a prompt of that length has {blocks} blocks of {TRACE_BLOCK_TOKENS} tokens",
            fix="correct the line, or leave it out",
        )
    return request


def trace_stream(
    path: Path, *, block_tokens: int, speed: float = 1.0, limit: int | None = None
) -> RequestStream:
    """The requests of a trace in blocks of `block_tokens` tokens, due `speed` times as fast.

    A block of 512 tokens is split into equal parts; blocks cannot be joined, since a trace does
    not say what a part of one holds. Requests whose first two blocks are equal form a session: a
    conversation that goes on, or that begins alike.

    Raises:
        UsageError: 512 is not a multiple of `block_tokens`, or the speed is not positive.
        NotFoundError, AccessError, ConfigurationError: as `read_trace`.
    """
    if block_tokens < 1 or TRACE_BLOCK_TOKENS % block_tokens:
        raise UsageError(
            f"--block-tokens {block_tokens} does not divide {TRACE_BLOCK_TOKENS}",
            why=f"the trace names blocks of {TRACE_BLOCK_TOKENS} tokens, which can only be split",
            fix="choose 512, 256, 128, 64, 32 or 16",
        )
    if not speed > 0:
        raise UsageError(f"--speed is {speed}", fix="give a number above 0, such as 1 or 0.5")
    requests = list(read_trace(path, limit=limit))
    counts = np.array([-(-r.input_length // block_tokens) for r in requests], np.int64)
    first = np.zeros(len(requests) + 1, np.int64)
    np.cumsum(counts, out=first[1:])
    begins = np.array([r.timestamp for r in requests])
    return RequestStream(
        session=_sessions(requests),
        kind=np.zeros(len(requests), np.int8),
        arrival_ns=np.rint((begins - begins[0]) * (1e6 / speed)).astype(np.int64),
        input_tokens=np.array([r.input_length for r in requests], np.int32),
        output_tokens=np.array([r.output_length for r in requests], np.int32),
        prompt_blocks=counts.astype(np.int32),
        first_block=first,
        block=_split(requests, first, TRACE_BLOCK_TOKENS // block_tokens),
        block_tokens=block_tokens,
        open_loop=True,
        kinds=("trace",),
    )


def _sessions(requests: list[TraceRequest]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """A number per request, equal where the first two blocks are."""
    numbers: dict[tuple[int, ...], int] = {}
    found = [numbers.setdefault(tuple(r.hash_ids[:2]), len(numbers)) for r in requests]
    return np.array(found, np.int32)


def _split(
    requests: list[TraceRequest], first: np.ndarray[tuple[int], np.dtype[np.int64]], parts: int
) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """The ids of all blocks: of the trace's block and of the part within it."""
    ids = np.zeros(int(first[-1]), np.uint64)
    for number, request in enumerate(requests):
        own = np.array(request.hash_ids, np.uint64)
        here = slice(first[number], first[number + 1])
        ids[here] = np.repeat(own, parts)[: first[number + 1] - first[number]]
    within = np.arange(len(ids)) - np.repeat(first[:-1], np.diff(first))
    return mixed(ids, (within % parts).astype(np.uint64))
