"""The exact nearest neighbours of queries, by comparing them with every vector.

Blocks of the base are compared with slices of the queries by float32 matrix products. Of each query
somewhat more neighbours are kept than are wanted; the exact distances of those are then worked out
in float64, so that rounding of the products decides nothing. Ranks share the blocks, save what they
have every half minute, and a later generation goes on from there.
"""

from __future__ import annotations

import hashlib
import time
import uuid
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, NotFoundError
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.vectors.distances import distances, scores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.engine.vectors.blocks import BlockFile
    from mlpstorage.engine.vectors.files import Vectors

TRUTH_NAME = "truth.bin"
TRUTH_RECORD_NAME = "truth.json"
# Kept beyond the wanted neighbours, for those that float32 puts in the wrong order.
SLACK = 28
_SLICE_QUERIES = 1024
_SAVE_SECONDS = 30.0
_NOTHING = np.float32(-np.inf)


def _never() -> bool:
    return False


def _always(_done: int, _total: int) -> bool:
    return True


class TruthRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a file of neighbours belongs to; it is of no use with any other data."""

    dataset_hash: str
    query_hash: str
    metric: str
    queries: int
    neighbours: int
    sha256: str


@dataclass(frozen=True)
class Truth:
    """The nearest neighbours of the first queries, nearest first.

    Args:
        ids: int32 (queries, neighbours).
        distances: float32 of the same shape; see `engine.vectors.distances`.
    """

    ids: NDArray[np.int32]
    distances: NDArray[np.float32]

    @property
    def queries(self) -> int:
        """How many queries have neighbours here."""
        return len(self.ids)

    def save(self, folder: Path, *, dataset_hash: str, query_hash: str, metric: str) -> None:
        """Write it in the layout of big-ann, and beside it what it belongs to."""
        data = b"".join(
            (
                np.array(self.ids.shape, "<u4").tobytes(),
                self.ids.astype("<i4").tobytes(),
                self.distances.astype("<f4").tobytes(),
            )
        )
        write_whole(folder / TRUTH_NAME, data)
        record = TruthRecord(
            dataset_hash=dataset_hash,
            query_hash=query_hash,
            metric=metric,
            queries=self.ids.shape[0],
            neighbours=self.ids.shape[1],
            sha256=hashlib.sha256(data).hexdigest(),
        )
        encoded = msgspec.json.format(msgspec.json.encode(record), indent=2)
        write_whole(folder / TRUTH_RECORD_NAME, encoded + b"\n")

    @classmethod
    def load(cls, folder: Path, *, dataset_hash: str, query_hash: str, metric: str) -> Truth:
        """The neighbours of these data and queries under this metric.

        Raises:
            NotFoundError: there are none.
            ConfigurationError: they are of other data, or damaged.
        """
        fix = "make it again: vectordb datagen with the same arguments"
        try:
            record = msgspec.json.decode(
                (folder / TRUTH_RECORD_NAME).read_bytes(), type=TruthRecord
            )
            data = (folder / TRUTH_NAME).read_bytes()
        except FileNotFoundError as error:
            raise NotFoundError(f"{folder} has no ground truth", fix=fix) from error
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigurationError(
                f"the ground truth in {folder} cannot be read", why=str(error), fix=fix
            ) from error
        for what, theirs, ours in (
            ("data set", record.dataset_hash, dataset_hash),
            ("set of queries", record.query_hash, query_hash),
            ("metric", record.metric, metric),
        ):
            if theirs != ours:
                raise ConfigurationError(
                    f"the ground truth in {folder} is stale: it is of another {what}",
                    why=f"it belongs to {theirs[:16]}, the data are {ours[:16]}; any recall by it "
                    "would be false",
                    fix=fix,
                )
        if hashlib.sha256(data).hexdigest() != record.sha256:
            raise ConfigurationError(f"{folder / TRUTH_NAME} is damaged", fix=fix)
        shape = (record.queries, record.neighbours)
        size = shape[0] * shape[1]
        ids = np.frombuffer(data, "<i4", size, 8).reshape(shape)
        return cls(ids, np.frombuffer(data, "<f4", size, 8 + 4 * size).reshape(shape))


class Candidates:
    """The best so far of every query: scores (larger is nearer) and ids, in no order."""

    def __init__(self, queries: int, keep: int) -> None:
        self.scores = np.full((queries, keep), _NOTHING, np.float32)
        self.ids = np.full((queries, keep), -1, np.int64)
        self.blocks: set[int] = set()

    def offer(self, part: slice, found: NDArray[np.float32], first_id: int) -> None:
        """Take in the scores (queries of the part, rows from `first_id` on) of a block."""
        held_scores, held_ids = self.scores[part], self.ids[part]
        floor = held_scores.min(axis=1)
        if bool(np.isneginf(floor).any()):
            # Not full yet: more than the floor would let through.
            keep = min(self.scores.shape[1], found.shape[1])
            columns = np.argpartition(found, -keep, axis=1)[:, -keep:]
            better = np.take_along_axis(found, columns, axis=1)
        else:
            columns, better = _padded(found, floor)
        ids = np.where(columns >= 0, columns + first_id, -1)
        self._merge(part, np.hstack([held_scores, better]), np.hstack([held_ids, ids]))

    def take(self, other: Candidates) -> None:
        """Take in what another rank, or an earlier generation, has found in other blocks."""
        self._merge(
            slice(None),
            np.hstack([self.scores, other.scores]),
            np.hstack([self.ids, other.ids]),
        )
        self.blocks |= other.blocks

    def _merge(self, part: slice, found: NDArray[np.float32], ids: NDArray[np.int64]) -> None:
        keep = self.scores.shape[1]
        best = np.argpartition(found, -keep, axis=1)[:, -keep:]
        self.scores[part] = np.take_along_axis(found, best, axis=1)
        self.ids[part] = np.take_along_axis(ids, best, axis=1)


def _padded(
    found: NDArray[np.float32], floor: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The columns and scores above each row's floor, padded to the longest row with −1 and −inf."""
    rows, columns = np.nonzero(found > floor[:, None])
    counts = np.bincount(rows, minlength=len(found))
    starts = np.cumsum(counts) - counts
    place = np.arange(len(rows)) - starts[rows]
    shape = (len(found), int(counts.max(initial=0)))
    padded = np.full(shape, -1, np.int64)
    better = np.full(shape, _NOTHING, np.float32)
    padded[rows, place], better[rows, place] = columns, found[rows, columns]
    return padded, better


@dataclass(frozen=True)
class TruthWork:
    """The work of finding neighbours, tied to its data by `token`.

    Args:
        base: The file of the vectors, and `checksums` of its blocks.
        queries: float32 (queries, dimension).
        metric: See `engine.vectors.distances`.
        neighbours: How many of each query are wanted.
        token: Names data, queries and metric: partial results of another token are of no use.
    """

    base: BlockFile
    checksums: list[int]
    queries: NDArray[np.float32]
    metric: str
    neighbours: int
    token: str

    @property
    def keep(self) -> int:
        """Candidates per query."""
        return min(self.neighbours + SLACK, self.base.count)

    def share(
        self,
        rank: int,
        ranks: int,
        held: set[int],
        report: Callable[[int, int], None],
        wants_stop: Callable[[], bool] = _never,
    ) -> bool:
        """Compare this rank's share of the blocks that nobody has compared yet, and save.

        Returns whether all of the share was compared.

        Args:
            rank: Which share.
            ranks: Of how many.
            held: The blocks that are done.
            report: Called with the blocks done and those of the share.
            wants_stop: Asked before each block; what was compared is saved, then the share ends.
        """
        mine = [b for b in range(self.base.blocks) if b not in held][rank::ranks]
        found = Candidates(len(self.queries), self.keep)
        name = f".truth-{rank}-{uuid.uuid4().hex}.npz"
        saved = time.monotonic()
        report(0, len(mine))
        for number, block in enumerate(mine, 1):
            if wants_stop():
                if found.blocks:
                    self._save(found, name)
                return False
            self._compare(block, found)
            if number == len(mine) or time.monotonic() - saved > _SAVE_SECONDS:
                self._save(found, name)
                saved = time.monotonic()
            report(number, len(mine))
        return True

    def _compare(self, block: int, found: Candidates) -> None:
        vectors = self.base.read_checked(block, self.checksums[block])
        first_id = self.base.bounds(block)[0]
        for begin in range(0, len(self.queries), _SLICE_QUERIES):
            part = slice(begin, min(begin + _SLICE_QUERIES, len(self.queries)))
            found.offer(part, scores(self.queries[part], vectors, self.metric), first_id)
        found.blocks.add(block)

    def _save(self, found: Candidates, name: str) -> None:
        """Replace what this rank has saved in this generation."""
        path = self.base.path.parent / name
        temporary = path.with_suffix(".part")
        with temporary.open("wb") as file:
            np.savez(
                file,
                token=np.array(self.token),
                blocks=np.array(sorted(found.blocks), np.int64),
                scores=found.scores,
                ids=found.ids,
            )
        temporary.rename(path)

    def held(self) -> Candidates:
        """What all ranks, of this and of earlier generations, have saved for these very data."""
        whole = Candidates(len(self.queries), self.keep)
        for path in sorted(self.base.path.parent.glob(".truth-*.npz")):
            part = self._load(path)
            # Two overlap only if one is left of a generation that was killed between two saves.
            if part is not None and not part.blocks & whole.blocks:
                whole.take(part)
        return whole

    def _load(self, path: Path) -> Candidates | None:
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as part:
                if str(part["token"]) != self.token or part["ids"].shape[1] != self.keep:
                    return None
                found = Candidates(len(self.queries), self.keep)
                found.scores, found.ids = part["scores"], part["ids"]
                found.blocks = set(part["blocks"].tolist())
                return found
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None  # torn by a crash: its blocks are compared again

    def finish(self, vectors: Vectors, go_on: Callable[[int, int], bool] = _always) -> Truth | None:
        """The exact neighbours, when every block has been compared.

        None as soon as `go_on`, asked with the queries done and all of them, says no.

        Raises:
            BenchmarkError: some blocks were not.
        """
        found = self.held()
        if len(found.blocks) != self.base.blocks:
            raise BenchmarkError(
                f"only {len(found.blocks)} of {self.base.blocks} blocks were compared",
                why="the ranks do not see each other's files",
                fix="mount the same storage at the same path on every host, then run datagen again",
            )
        rows = []
        for number, query in enumerate(self.queries):
            if not go_on(number, len(self.queries)):
                return None
            rows.append(_nearest(query, found.ids[number], vectors, self.metric, self.neighbours))
        return _stacked(rows, min(self.neighbours, self.keep))

    def forget(self) -> None:
        """Remove what only a resumed generation needs."""
        for pattern in (".truth-*.npz", ".truth-*.part"):
            for path in self.base.path.parent.glob(pattern):
                path.unlink(missing_ok=True)


def exact(
    queries: NDArray[np.float32],
    candidates: NDArray[np.int64],
    vectors: Vectors,
    metric: str,
    neighbours: int,
) -> Truth:
    """The nearest of each query's candidates by exact distance; the smaller id where they tie."""
    rows = [
        _nearest(query, mine, vectors, metric, neighbours)
        for query, mine in zip(queries, candidates, strict=True)
    ]
    return _stacked(rows, min(neighbours, candidates.shape[1]))


def _nearest(
    query: NDArray[np.float32],
    candidates: NDArray[np.int64],
    vectors: Vectors,
    metric: str,
    neighbours: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    mine = np.sort(candidates[candidates >= 0])
    found = distances(query, vectors.take(mine), metric)
    order = np.argsort(found, kind="stable")[:neighbours]
    return mine[order], found[order]


def _stacked(rows: list[tuple[NDArray[np.int64], NDArray[np.float64]]], count: int) -> Truth:
    ids = np.empty((len(rows), count), np.int32)
    far = np.empty((len(rows), count), np.float32)
    for number, (mine, found) in enumerate(rows):
        ids[number], far[number] = mine, found
    return Truth(ids, far)


def combined_hash(parts: Iterable[object]) -> str:
    """The SHA-256 over values in a canonical form.

    >>> combined_hash([1, "a"])[:8]
    '20109453'
    """
    return hashlib.sha256(msgspec.json.encode(list(parts))).hexdigest()
