"""Sessions of synthetic users: a tree of shared prefixes, and turns that grow at its leaves.

Each session is drawn from its own stream of random words (Philox, keyed by seed and session), one
row per turn: whoever knows the seed knows the session, in any order, on any machine.

A session's prompt is a system prompt, then a document if its class shares one, then its own turns;
what is generated becomes part of the next turn's prompt. A block is named by the node of that tree
that its last token belongs to, and by its place from the start: equal names, equal prefixes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.kinds.kvcache.mixing import Choice, Lognormal, below, mixed, random_words, zipf

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlpstorage.kinds.kvcache.workload import Shared, Spread, UserClass, Workload

# Sessions that ended before the run; their blocks are what a full cache evicts first.
ENDED = 1 << 40
_SYSTEM, _DOCUMENT, _SESSION = 1 << 61, 1 << 62, 0
_MOST_TURNS = 256
# Numbers of sessions, ended ones included, are below 2 to this.
_NAMESPACE_BITS = 42
_ROW = 8
_MS = 1_000_000


@dataclass(frozen=True)
class Pace:
    """How fast the emulated accelerators are: they take time, not CPU.

    Args:
        prefill_tokens_per_second: How fast a prompt's new tokens are computed.
        decode_ns_per_token: How long each generated token takes.
    """

    prefill_tokens_per_second: float
    decode_ns_per_token: int


@dataclass(frozen=True)
class Session:
    """The turns of one session; arrays with one entry per turn.

    `input_tokens` is the whole prompt of a turn, `new_tokens` what was not there before;
    `think_ns` passes before the turn. `block` names all blocks that the session will ever have.
    """

    kind: int
    shared_blocks: int
    input_tokens: npt.NDArray[np.int64]
    new_tokens: npt.NDArray[np.int64]
    output_tokens: npt.NDArray[np.int64]
    think_ns: npt.NDArray[np.int64]
    block: npt.NDArray[np.uint64]

    @property
    def turns(self) -> int:
        """How many turns there are."""
        return len(self.input_tokens)


class Population:
    """All sessions that a seed stands for.

    Args:
        workload: What users ask.
        seed: What everything follows from.
        block_tokens: Tokens of a block.
        multi_turn: Whether sessions have more than one turn.
        shared_prefixes: Whether sessions share system prompts and documents.
        namespace: Keeps the users and blocks of independent caches apart; below 2¹⁸.
    """

    def __init__(
        self,
        workload: Workload,
        seed: int,
        block_tokens: int,
        *,
        multi_turn: bool = True,
        shared_prefixes: bool = True,
        namespace: int = 0,
    ) -> None:
        self.workload = workload
        self.seed = seed
        self.block_tokens = block_tokens
        self._multi_turn = multi_turn
        self._shared = shared_prefixes
        self._first = namespace << _NAMESPACE_BITS
        self._salt = int(mixed(_word(seed), _word(namespace))[0])
        self._classes = tuple(workload.classes.values())
        self._kind = Choice([kind.share for kind in self._classes])
        self._draws = [_Draws(kind) for kind in self._classes]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.workload.names

    @cached_property
    def _system(self) -> _Prefixes:
        return self._prefixes(self.workload.system_prompts, _SYSTEM)

    @cached_property
    def _document(self) -> _Prefixes:
        return self._prefixes(self.workload.documents, _DOCUMENT)

    def _prefixes(self, shared: Shared, mark: int) -> _Prefixes:
        return _Prefixes(shared, self.seed, mark, self.workload.context_tokens // 4)

    def session(self, number: int, *, least_turns: int = 1) -> Session:
        """The session of a number; `least_turns` for one that surely goes on."""
        words = self._words(number, _MOST_TURNS + 1)
        kind = int(self._kind.draw(words[0, :1])[0])
        draws = self._draws[kind]
        turns = max(draws.turns(words[0, 1]) if self._multi_turn else 1, least_turns)
        rows = words[1 : turns + 1]
        own = np.concatenate([draws.first.draw(rows[:1, 0]), draws.growth.draw(rows[1:, 0])])
        own = np.clip(own, 1, self.workload.context_tokens * 3 // 4)
        output = np.maximum(draws.output.draw(rows[:, 1]), 1)
        think = draws.think.draw(rows[:, 2]) * _MS + below(rows[:, 3], _words(turns, _MS))
        nodes, borders = self._path(number, kind, words[0])
        ends = borders[-1] + np.cumsum(own + output)
        prompt = ends - output
        fits = max(int(np.searchsorted(ends, self.workload.context_tokens)), least_turns)
        new = own[:fits].copy()
        new[0] += borders[-1]
        return Session(
            kind=kind,
            shared_blocks=int(borders[-1]) // self.block_tokens,
            input_tokens=prompt[:fits],
            new_tokens=new,
            output_tokens=output[:fits],
            think_ns=think[:fits],
            block=self._blocks(nodes, borders, int(ends[fits - 1]) // self.block_tokens),
        )

    def resumed_turn(self, number: int, session: Session) -> int:
        """The turn at which a session goes on that began before the run; at least the second."""
        words = self._words(number, 1)[0]
        return 1 + int(below(words[4:5], _words(1, session.turns - 1))[0])

    def _words(self, number: int, rows: int) -> npt.NDArray[np.uint64]:
        """The first rows of a session's random words."""
        return random_words(self.seed, self._first + number, rows * _ROW).reshape(-1, _ROW)

    def _path(
        self, number: int, kind: int, words: npt.NDArray[np.uint64]
    ) -> tuple[list[int], list[int]]:
        """The nodes from the root to the session's own, and the tokens at which each begins."""
        nodes, borders, node = [], [0], self._salt
        shared = []
        if self._shared:
            shared = [(self._system, words[2:3], _SYSTEM)]
            if self._classes[kind].shares_document:
                shared.append((self._document, words[3:4], _DOCUMENT))
        for prefixes, word, mark in shared:
            if prefixes.count:
                chosen = prefixes.choose(word)
                node = int(mixed(_word(node), _word(mark + chosen))[0])
                nodes.append(node)
                borders.append(borders[-1] + prefixes.tokens(chosen))
        nodes.append(int(mixed(_word(self._salt), _word(_SESSION + number))[0]))
        return nodes, borders

    def _blocks(self, nodes: list[int], borders: list[int], count: int) -> npt.NDArray[np.uint64]:
        places = np.arange(count)
        last_tokens = (places + 1) * self.block_tokens
        depth = np.searchsorted(np.array(borders[1:], np.int64), last_tokens)
        return mixed(np.array(nodes, np.uint64)[depth], places.astype(np.uint64))


class _Draws:
    """The distributions of one class."""

    def __init__(self, kind: UserClass) -> None:
        self.first, self.growth = _lognormal(kind.first), _lognormal(kind.growth)
        self.output, self.think = _lognormal(kind.output), _lognormal(kind.think)
        goes_on = 1 - 1 / kind.turns
        shares = [goes_on**k for k in range(1, _MOST_TURNS)]
        self._more = np.array([round(share * (1 << 32)) for share in reversed(shares)], np.int64)

    def turns(self, word: np.uint64) -> int:
        """A geometric number of turns from 1 on."""
        high = int(word) >> 32
        return 1 + len(self._more) - int(np.searchsorted(self._more, high, side="right"))


class _Prefixes:
    """The shared prefixes of one sort."""

    def __init__(self, shared: Shared, seed: int, mark: int, most: int) -> None:
        self.count = shared.count
        if shared.count:
            words = random_words(seed, mark, shared.count)
            self._tokens = np.clip(_lognormal(shared.tokens).draw(words), 1, most)
            self._choice = zipf(shared.count)

    def choose(self, word: npt.NDArray[np.uint64]) -> int:
        return int(self._choice.draw(word)[0])

    def tokens(self, chosen: int) -> int:
        return int(self._tokens[chosen])


def _lognormal(spread: Spread) -> Lognormal:
    return Lognormal(spread.p50, spread.p95)


def _word(value: int) -> npt.NDArray[np.uint64]:
    return np.array([value], np.uint64)


def _words(count: int, value: int) -> npt.NDArray[np.uint64]:
    return np.full(count, value, np.uint64)
