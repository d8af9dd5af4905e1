"""The KV-cache options of MLPerf Storage v3.0: the published requests, accounted honestly.

What an entry is, what is read how often and what is evicted follow the published generator. What
differs, and is said in the report:

- Users are a closed loop: one request at a time, then a think time. The published one is an open
  loop whose queue grows without bound once storage is saturated, so that its latencies are ages in
  a queue and its number of users no concurrency.
- Draws are counter-based, so that the requests do not depend on the timing of threads.
- An entry is stored in blocks of 64 tokens, its last one padded, and read by several threads.
- Bytes count when they move: reads of prefixes that never were stored are not counted as hits.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from mlpstorage.config import convert, parse_yaml
from mlpstorage.engine.kv.plan import Op
from mlpstorage.kinds.kvcache.compiled import CompiledPlan
from mlpstorage.kinds.kvcache.mixing import below, mixed, random_words
from mlpstorage.kinds.kvcache.stream import RequestStream

if TYPE_CHECKING:
    import numpy.typing as npt

ENTRY_BLOCK_TOKENS = 64
_FILE = "mlperf_v3.yaml"
_ROW = 8
_USER = 1 << 50
_LANE_BITS = 24
_MS = 1_000_000
_READ, _WRITE, _DELETE = int(Op.READ), int(Op.WRITE), int(Op.DELETE)

Count = Annotated[int, Meta(ge=0, le=1 << 30)]
Share = Annotated[float, Meta(ge=0, le=1)]
Range = tuple[Count, Count]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the file: frozen, and strict about its names."""


class V3Option(_Section, frozen=True):
    """One published option; `cpu_gb` in GiB per client, `allocations` written at a time."""

    title: str
    model: str
    users: Count
    cpu_gb: Count
    allocations: Count


class V3User(_Section, frozen=True):
    """The figures of one sort of user: least and most."""

    context: Range
    generation: Range
    think: Range


class V3Profile(_Section, frozen=True):
    """All published figures."""

    edition: str
    duration: Count
    trials: Count
    seed: Count
    options: dict[str, V3Option]
    users: dict[str, V3User]
    least_share: Count
    prefill_only: Count
    reread_tokens: Count
    goes_on: Share
    most_turns: Count
    cpu_target: Share
    cpu_largest: Share


def v3_profile() -> V3Profile:
    """The published figures.

    >>> [option.users for option in v3_profile().options.values()]
    [200, 100, 70]
    """
    text = (resources.files(__package__) / _FILE).read_text("utf-8")
    return convert(parse_yaml(text, _FILE), V3Profile, _FILE)


@dataclass
class _Cache:
    """Entries in memory and on storage, least recently used first, sizes in blocks."""

    profile: V3Profile
    cpu_blocks: int
    storage_blocks: int
    op: bytearray = field(default_factory=bytearray)
    block: list[tuple[int, int]] = field(default_factory=list)
    cpu: OrderedDict[int, int] = field(default_factory=OrderedDict)
    storage: OrderedDict[int, int] = field(default_factory=OrderedDict)
    cpu_used: int = 0
    storage_used: int = 0

    def read(self, entry: int, times: int) -> tuple[int, int]:
        """Read an entry wherever it is; its blocks found in memory and on storage, each time."""
        if entry in self.cpu:
            self.cpu.move_to_end(entry)
            return self.cpu[entry] * times, 0
        blocks = self.storage.get(entry, 0)
        if blocks:
            self.storage.move_to_end(entry)
            for _ in range(times):
                self._emit(_READ, entry, blocks)
        return 0, blocks * times

    def add(self, entry: int, blocks: int) -> None:
        """Put a new entry into memory, or straight into storage where memory is too small."""
        if not self.cpu_blocks or blocks > self.profile.cpu_largest * self.cpu_blocks:
            self._store(entry, blocks)
            return
        target = int(self.profile.cpu_target * self.cpu_blocks)
        if self.cpu_used + blocks > self.cpu_blocks:
            while self.cpu and self.cpu_used + blocks > target:
                old, size = self.cpu.popitem(last=False)
                self.cpu_used -= size
                self._store(old, size)
        self.cpu[entry] = blocks
        self.cpu_used += blocks

    def _store(self, entry: int, blocks: int) -> None:
        while self.storage and self.storage_used + blocks > self.storage_blocks:
            old, size = self.storage.popitem(last=False)
            self.storage_used -= size
            self._emit(_DELETE, old, size)
        if blocks <= self.storage_blocks:
            self.storage[entry] = blocks
            self.storage_used += blocks
            self._emit(_WRITE, entry, blocks)

    def _emit(self, op: int, entry: int, blocks: int) -> None:
        self.op.extend(bytes((op,)) * blocks)
        self.block.extend((entry, place) for place in range(blocks))


@dataclass
class _User:
    """A user's own figures, and the conversation that is going on."""

    kind: int
    context: int
    generation: int
    think_ns: int
    words: npt.NDArray[np.uint64]
    due_ns: int = 0
    asked: int = 0
    turns: list[int] = field(default_factory=list)


@dataclass
class _Columns:
    """What is known of each request; one entry per request."""

    user: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    delay_ns: list[int] = field(default_factory=list)
    input_tokens: list[int] = field(default_factory=list)
    output_tokens: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    hits: list[tuple[int, int, int]] = field(default_factory=list)

    def add(
        self,
        kind: int,
        user: int,
        delay_ns: int,
        tokens: tuple[int, int],
        found: list[tuple[int, int]],
        end: int,
    ) -> None:
        """One request: its tokens in and out, what it found in memory and on storage."""
        self.user.append(user)
        self.kind.append(kind)
        self.delay_ns.append(delay_ns)
        self.input_tokens.append(tokens[0])
        self.output_tokens.append(tokens[1])
        self.ends.append(end)
        self.hits.append((0, sum(cpu for cpu, _ in found), sum(disk for _, disk in found)))


def v3_plan(
    profile: V3Profile,
    users: int,
    *,
    seed: int,
    seconds: float,
    block_bytes: int,
    cpu_blocks: int,
    storage_blocks: int,
    most_operations: int,
    first_user: int = 0,
) -> CompiledPlan:
    """The requests of `users` users within `seconds` on storage that takes no time, compiled.

    Args:
        profile: The published figures.
        users: How many users there are; all begin with an empty cache.
        seed: What everything follows from.
        seconds: When the last request is due at the latest.
        block_bytes: The size of a block of `ENTRY_BLOCK_TOKENS` tokens.
        cpu_blocks: Blocks that memory holds.
        storage_blocks: Blocks that storage holds.
        most_operations: Where the plan ends at the latest.
        first_user: The number of the first user, so that every rank has its own.
    """
    everybody = [_user(profile, seed, first_user + k, seconds) for k in range(users)]
    cache, columns = _Cache(profile, cpu_blocks, storage_blocks), _Columns()
    queue, end_ns = [(0, lane) for lane in range(users)], round(seconds * 1e9)
    while queue and len(cache.block) < most_operations:
        _, lane = heapq.heappop(queue)
        due_ns = _ask(profile, everybody[lane], lane, cache, columns)
        if due_ns < end_ns:
            heapq.heappush(queue, (due_ns, lane))
    left = [(entry, place) for entry, size in cache.storage.items() for place in range(size)]
    op = np.frombuffer(bytes(cache.op), np.uint8)
    order, first_op = _by_owner(op, cache.block, columns)
    return CompiledPlan(
        stream=_stream(profile, columns),
        op=op[order],
        block=_ids(cache.block, seed, first_user)[order],
        first_op=first_op,
        hit_blocks=np.array(columns.hits, np.int32).reshape(-1, 3),
        populate=np.zeros(0, np.uint64),
        resident=_ids(left, seed, first_user),
        block_bytes=block_bytes,
    )


def _by_owner(
    op: npt.NDArray[np.uint8], blocks: list[tuple[int, int]], columns: _Columns
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The operations' order, and where each request's begin, with every entry in its user's hands.

    Writes and deletions that another user's request brought about come with the last request that
    the entry's own user made by then. So no user ever waits for what another has not asked yet.
    """
    ends = np.array(columns.ends, np.int64)
    request = np.searchsorted(ends, np.arange(len(op)), side="right")
    owner = np.array(blocks, np.int64).reshape(-1, 2)[:, 0] >> _LANE_BITS
    user = np.array(columns.user, np.int64)
    for lane in np.unique(user):
        own, mine = np.flatnonzero(user == lane), (owner == lane) & (op != Op.READ)
        request[mine] = own[np.searchsorted(own, request[mine], side="right") - 1]
    order = np.lexsort((np.arange(len(op)), op != Op.READ, request))
    return order, np.searchsorted(request[order], np.arange(len(ends) + 1))


def _ids(blocks: list[tuple[int, int]], seed: int, first_user: int) -> npt.NDArray[np.uint64]:
    """Block ids of (entry, place) pairs; entries are numbered anew in every rank."""
    salt = mixed(np.array([seed], np.uint64), np.array([first_user], np.uint64))
    pairs = np.array(blocks, np.uint64).reshape(-1, 2)
    return mixed(mixed(pairs[:, 0], salt), pairs[:, 1])


def _user(profile: V3Profile, seed: int, number: int, seconds: float) -> _User:
    kinds = list(profile.users.values())
    # The shortest think time, and its shortest variation, bound the number of requests.
    shortest = 0.8 * min(kind.think[0] for kind in kinds) / 1000
    rows = int(seconds / shortest) + 2
    words = random_words(seed, _USER + number, (rows + 1) * _ROW).reshape(-1, _ROW)
    kind = int(_uniform(words[0, 0], (0, len(kinds) - 1)))
    figures = kinds[kind]
    return _User(
        kind=kind,
        context=_uniform(words[0, 1], figures.context),
        generation=_uniform(words[0, 2], figures.generation),
        think_ns=_uniform(words[0, 3], (figures.think[0] * _MS, figures.think[1] * _MS)),
        words=words[1:],
    )


def _ask(profile: V3Profile, user: _User, lane: int, cache: _Cache, columns: _Columns) -> int:
    """One request of a user; when the next one is due on storage that takes no time.

    It reads the earlier turns of the conversation and adds its own entry. Decoding reads that
    entry again and again: a request of its own in the plan, due at once, since it follows a write.
    """
    words = user.words[user.asked]
    context = _uniform(words[0], (max(1, user.context // profile.least_share), user.context))
    output = _uniform(words[1], (max(1, user.generation // profile.least_share), user.generation))
    delay = user.think_ns * _uniform(words[2], (800, 1200)) // 1000
    goes_on = int(words[3]) < profile.goes_on * 2**64 and len(user.turns) < profile.most_turns
    if not goes_on:
        user.turns.clear()
    entry = lane << _LANE_BITS | user.asked
    found = [cache.read(turn, 1) for turn in user.turns]
    cache.add(entry, -(-context // ENTRY_BLOCK_TOKENS))
    columns.add(user.kind, lane, delay, (context, output), found, len(cache.block))
    if context < profile.prefill_only:
        again = max(1, -(-output // profile.reread_tokens))
        found = [cache.read(entry, 1 + again)]
        columns.add(user.kind, lane, 0, (context, 0), found, len(cache.block))
    user.turns.append(entry)
    user.asked += 1
    user.due_ns += delay
    return user.due_ns


def _uniform(word: np.uint64, span: tuple[int, int]) -> int:
    """A whole number from the first to the last of a span."""
    most = np.array([span[1] - span[0] + 1], np.uint64)
    return span[0] + int(below(np.array([word], np.uint64), most)[0])


def _stream(profile: V3Profile, columns: _Columns) -> RequestStream:
    count = len(columns.user)
    return RequestStream(
        session=np.array(columns.user, np.int32),
        kind=np.array(columns.kind, np.int8),
        arrival_ns=np.array(columns.delay_ns, np.int64),
        input_tokens=np.array(columns.input_tokens, np.int32),
        output_tokens=np.array(columns.output_tokens, np.int32),
        prompt_blocks=np.zeros(count, np.int32),
        first_block=np.zeros(count + 1, np.int64),
        block=np.zeros(0, np.uint64),
        block_tokens=ENTRY_BLOCK_TOKENS,
        open_loop=False,
        kinds=tuple(profile.users),
    )
