"""Users as a closed loop: who is in the cache at the start, and what a number of users then ask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.kinds.kvcache.stream import RequestStream
from mlpstorage.kinds.kvcache.synthetic import ENDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from mlpstorage.kinds.kvcache.synthetic import Pace, Population, Session

# The part of a full cache that belongs to users who never come back.
ENDED_SHARE = 0.25
_MOST_SESSIONS = 1 << 20


@dataclass(frozen=True)
class Residents:
    """What the cache holds before the clock starts.

    Args:
        returning: How many sessions go on where they stopped; they have the numbers 0, 1, ….
        block: All blocks, the least recently used first: of ended sessions, of returning ones from
            the last to the first, and what they share.
        runs: The prefix that each returning session finds, as blocks in order.
    """

    returning: int
    block: npt.NDArray[np.uint64]
    runs: tuple[npt.NDArray[np.uint64], ...]


def residents(
    population: Population, capacity_blocks: int, *, multi_turn: bool = True
) -> Residents:
    """Fill a cache: ended sessions to a quarter, returning sessions with what is left.

    Without a second turn nobody returns: everything is of ended sessions, and shared prefixes.
    """
    shared: dict[int, None] = {}
    returning: list[npt.NDArray[np.uint64]] = []
    runs: list[npt.NDArray[np.uint64]] = []
    room = capacity_blocks - int(capacity_blocks * ENDED_SHARE)
    used = 0
    for number in range(_MOST_SESSIONS if multi_turn else 0):
        session = population.session(number, least_turns=2)
        run = _stored(session, population.resumed_turn(number, session), population.block_tokens)
        split = min(session.shared_blocks, len(run))
        fresh = [block for block in run[:split].tolist() if block not in shared]
        if used + len(fresh) + len(run) - split > room:
            break
        shared.update(dict.fromkeys(fresh))
        used += len(fresh) + len(run) - split
        returning.append(run[split:])
        runs.append(run)
    ended = _ended(population, capacity_blocks - used)
    common = np.array(list(shared), np.uint64)
    parts = [ended, *reversed(returning), common]
    return Residents(len(runs), np.concatenate(parts), tuple(runs))


def _ended(population: Population, room: int) -> npt.NDArray[np.uint64]:
    """Blocks of sessions that have ended, exactly as many as there is room for."""
    found: list[npt.NDArray[np.uint64]] = []
    for number in range(ENDED, ENDED + _MOST_SESSIONS):
        if room <= 0:
            break
        session = population.session(number)
        own = session.block[session.shared_blocks :][:room]
        found.append(own)
        room -= len(own)
    return np.concatenate(found) if found else np.zeros(0, np.uint64)


def _stored(session: Session, turns: int, block_tokens: int) -> npt.NDArray[np.uint64]:
    """The blocks that the first turns of a session leave in the cache."""
    tokens = int(session.input_tokens[turns - 1] + session.output_tokens[turns - 1])
    return session.block[: tokens // block_tokens]


@dataclass
class _Growing:
    """Columns of a stream while requests are still found; one entry per request."""

    due_ns: list[int] = field(default_factory=list)
    lane: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    delay_ns: list[int] = field(default_factory=list)
    input_tokens: list[int] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    prompt_blocks: list[int] = field(default_factory=list)
    blocks: list[npt.NDArray[np.uint64]] = field(default_factory=list)


def closed_loop(
    population: Population, users: int, seconds: float, pace: Pace, *, returning: int
) -> RequestStream:
    """What `users` users ask within `seconds` on storage that takes no time at all.

    User u brings the sessions u, u + users, u + 2·users, …, one after the other; those below
    `returning` go on where they stopped. On real storage, a prefix of this is what they ask.
    The logical order is that of the due times on storage that takes no time.
    """
    growing = _Growing()
    for lane in range(users):
        _lane(growing, population, lane, users, round(seconds * 1e9), pace, returning)
    order = np.lexsort((np.array(growing.lane), np.array(growing.due_ns)))
    blocks = [growing.blocks[k] for k in order]
    first = np.zeros(len(order) + 1, np.int64)
    np.cumsum([len(part) for part in blocks], out=first[1:])
    return RequestStream(
        session=np.array(growing.lane, np.int32)[order],
        kind=np.array(growing.kind, np.int8)[order],
        arrival_ns=np.array(growing.delay_ns, np.int64)[order],
        input_tokens=np.array(growing.input_tokens, np.int32)[order],
        output_tokens=np.array(growing.output_tokens, np.int32)[order],
        prompt_blocks=np.array(growing.prompt_blocks, np.int32)[order],
        first_block=first,
        block=np.concatenate(blocks) if blocks else np.zeros(0, np.uint64),
        block_tokens=population.block_tokens,
        open_loop=False,
        kinds=population.kinds,
    )


def _lane(
    growing: _Growing,
    population: Population,
    lane: int,
    users: int,
    end_ns: int,
    pace: Pace,
    returning: int,
) -> None:
    """Add the requests of one user."""
    due, busy, size = 0, 0, population.block_tokens
    for session, turn in _turns(population, lane, users, returning):
        think = int(session.think_ns[turn])
        # Users do not begin all at once: the first waits a part of a think time.
        delay = busy + think if due or busy else think * (lane % 16) // 16
        due += delay
        if due >= end_ns:
            return
        prompt, output = int(session.input_tokens[turn]), int(session.output_tokens[turn])
        growing.due_ns.append(due)
        growing.lane.append(lane)
        growing.kind.append(session.kind)
        growing.delay_ns.append(delay)
        growing.input_tokens.append(prompt)
        growing.output_tokens.append(output)
        growing.prompt_blocks.append(prompt // size)
        growing.blocks.append(session.block[: (prompt + output) // size])
        prefill = int(session.new_tokens[turn]) / pace.prefill_tokens_per_second
        busy = round(prefill * 1e9) + output * pace.decode_ns_per_token


def _turns(
    population: Population, lane: int, users: int, returning: int
) -> Iterator[tuple[Session, int]]:
    """All turns of a user, session after session, without end."""
    number = lane
    while True:
        goes_on = number < returning
        session = population.session(number, least_turns=2 if goes_on else 1)
        first = population.resumed_turn(number, session) if goes_on else 0
        for turn in range(first, session.turns):
            yield session, turn
        number += users
