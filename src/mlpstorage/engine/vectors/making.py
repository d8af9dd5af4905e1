"""Making a folder of vectors: preparing it, what every rank does, and the manifest at the end."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, NotFoundError
from mlpstorage.core.units import format_bytes
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.generation import storage_errors
from mlpstorage.engine.vectors.files import MatrixVectors, open_vectors, own_neighbours
from mlpstorage.engine.vectors.manifest import (
    MANIFEST_NAME,
    VectorManifest,
    VectorSpec,
    dataset_hash,
    query_hash,
)
from mlpstorage.engine.vectors.recall import recalls
from mlpstorage.engine.vectors.structure import structure_of
from mlpstorage.engine.vectors.truth import TRUTH_NAME, TRUTH_RECORD_NAME, TruthWork

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.vectors.blocks import BlockFile
    from mlpstorage.engine.vectors.files import Vectors
    from mlpstorage.engine.vectors.recipe import Pool
    from mlpstorage.engine.vectors.structure import Structure
    from mlpstorage.engine.vectors.truth import Truth

BEGUN_NAME = "mlpstorage-vectors-begun.json"
_ROOM = 1.02
# Below this, the neighbours that a file names are not those of its vectors.
_LEAST_CONFIRMED = 0.99


def begin(spec: VectorSpec, folder: Path, *, force: bool = False) -> bool:
    """Prepare a folder for the ranks; whether its data set is finished already.

    Raises:
        ConfigurationError: the folder holds another data set, or too little space is free.
        AccessError, BenchmarkError: it cannot be written.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = None if force else _held(folder)
        if held is not None and held != spec:
            raise _other(folder, held, spec)
        if force:
            _clear(spec, folder)
        if held is not None and (folder / MANIFEST_NAME).exists():
            manifest = VectorManifest.load(folder)
            files = (spec.base(folder), spec.pool(folder))
            if all(_size(file.path) == file.file_bytes for file in files) and _has_truth(
                manifest, folder
            ):
                return True
            _journal_again(manifest, folder)
        _require_room(spec, folder)
        write_whole(folder / BEGUN_NAME, msgspec.json.encode(spec) + b"\n")
        (folder / MANIFEST_NAME).unlink(missing_ok=True)
        spec.base(folder).begin()
        spec.pool(folder).begin()
    return False


def _held(folder: Path) -> VectorSpec | None:
    """The spec of what was made, or begun, in the folder."""
    if (folder / MANIFEST_NAME).exists():
        return VectorManifest.load(folder).spec
    try:
        return msgspec.json.decode((folder / BEGUN_NAME).read_bytes(), type=VectorSpec)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(
            f"{folder / BEGUN_NAME} cannot be read", why=str(error), fix="use --force to begin anew"
        ) from error


def _has_truth(manifest: VectorManifest, folder: Path) -> bool:
    try:
        manifest.truth(folder)
    except (ConfigurationError, NotFoundError):  # stale, damaged or gone: it is made again
        return False
    return True


def _journal_again(manifest: VectorManifest, folder: Path) -> None:
    """Let the ranks find the checksums of what is there, so that only what is wrong is made."""
    for file, checksums in (
        (manifest.spec.base(folder), manifest.base_checksums),
        (manifest.spec.pool(folder), manifest.query_checksums),
    ):
        lines = "".join(f"{block} {checksum}\n" for block, checksum in enumerate(checksums))
        journal = folder / f".{file.path.name}-kept.blocks"
        journal.write_text(lines, encoding="ascii")


def _other(folder: Path, held: VectorSpec, wanted: VectorSpec) -> ConfigurationError:
    names = [n for n in wanted.__struct_fields__ if getattr(held, n) != getattr(wanted, n)]
    told = ", ".join(f"{n} is {getattr(held, n)}, not {getattr(wanted, n)}" for n in names)
    return ConfigurationError(
        f"{folder} holds another data set of vectors",
        why=told,
        fix="choose another --data-dir, or replace it with --force",
    )


def _clear(spec: VectorSpec, folder: Path) -> None:
    for file in (spec.base(folder), spec.pool(folder)):
        file.path.unlink(missing_ok=True)
        file.forget_journals()
    for name in (MANIFEST_NAME, BEGUN_NAME, TRUTH_NAME, TRUTH_RECORD_NAME):
        (folder / name).unlink(missing_ok=True)
    for path in folder.glob(".truth-*"):
        path.unlink(missing_ok=True)


def _require_room(spec: VectorSpec, folder: Path) -> None:
    held = sum(_allocated(file.path) for file in (spec.base(folder), spec.pool(folder)))
    needed = max(0, int(spec.total_bytes * _ROOM) - held)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigurationError(
            f"the data set takes {format_bytes(needed)} in {folder}, where "
            f"{format_bytes(free)} are free",
            fix="free space there, choose another --data-dir, or a smaller --scale",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _allocated(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.is_file() else 0


def source_of(spec: VectorSpec) -> tuple[Vectors, Vectors]:
    """The base vectors and the queries of a data set's real source, as its files give them.

    Where the files bring no queries, the last vectors are held out of the base.

    Raises:
        MlpstorageError: a file is missing, of an unknown layout, damaged, or too small.
    """
    path = Path(spec.source)
    base = open_vectors(path)
    if spec.source_queries:
        queries = open_vectors(Path(spec.source_queries))
    elif path.suffix.lower() in {".hdf5", ".h5"}:
        queries = open_vectors(path, part="test")
    else:
        held_out = base.rows(base.count - spec.queries, base.count)
        queries = MatrixVectors(held_out)
    return base, queries


@dataclass(frozen=True)
class Made:
    """What one rank wrote and kept, in `seconds` for the base; `whole` is of all ranks."""

    blocks_written: int
    blocks_kept: int
    base_blocks_written: int
    seconds: float
    whole: bool


@dataclass(frozen=True)
class Compared:
    """The ground truth, on rank 0: the blocks of the base that are compared by now.

    `kept` of them were compared by an earlier generation.

    When it is whole: the data's structure, and how much of the neighbours that a real source names
    itself is confirmed (0 to 1; None where it names none).
    """

    blocks: int = 0
    kept: int = 0
    structure: Structure | None = None
    confirmed: float | None = None


@dataclass(frozen=True)
class Making:
    """One rank's part in making a folder; every rank calls the methods in this order.

    A rank that hears that the user wants to stop leaves out the blocks that it has not begun; then
    no rank goes on. `report` is called with an activity, what is done of it, all there is to do,
    its unit, and bytes.
    """

    spec: VectorSpec
    folder: Path
    comm: Comm
    report: Callable[[str, int, int, str, int], None]

    def vectors(self) -> Made:
        """Make this rank's share of base and queries; what was written and kept, and how long."""
        began = time.perf_counter()
        rows = self._rows()
        base, pool = self.spec.base(self.folder), self.spec.pool(self.folder)
        self._require_begun()
        written, kept = self._make(base, "vectors", lambda a, b: rows("base", a, b))
        base_seconds = time.perf_counter() - began
        whole = self._all(done=written + kept == self._share_of(base))
        more = held = 0
        if whole:
            more, held = self._make(pool, "queries", lambda a, b: rows("query", a, b))
            whole = self._all(done=more + held == self._share_of(pool))
        return Made(
            blocks_written=written + more,
            blocks_kept=kept + held,
            base_blocks_written=written,
            seconds=base_seconds,
            whole=whole,
        )

    def _share_of(self, file: BlockFile) -> int:
        return file.share_size(self.comm.rank, self.comm.size)

    def _all(self, *, done: bool) -> bool:
        """Whether every rank has done its share; each must call it, like a barrier.

        The wish does not reach all ranks at the same moment, so what counts is what was left out.
        """
        shares = self.comm.gather(done)
        return bool(self.comm.broadcast(all(shares) if shares else None))

    def _require_begun(self) -> None:
        path = self.folder / BEGUN_NAME
        if not path.is_file():
            raise NotFoundError(
                f"{self.folder} was not prepared for vectors: it has no {BEGUN_NAME} here",
                fix="mount the same storage at the same path on every host",
            )

    def _rows(self) -> Callable[[Pool, int, int], NDArray[np.float32]]:
        if not self.spec.source:
            return self.spec.recipe.rows
        base, queries = source_of(self.spec)

        def rows(pool: Pool, first: int, last: int) -> NDArray[np.float32]:
            return (base if pool == "base" else queries).rows(first, last)

        return rows

    def _make(
        self,
        file: BlockFile,
        activity: str,
        rows: Callable[[int, int], NDArray[np.float32]],
    ) -> tuple[int, int]:
        rank, ranks = self.comm.rank, self.comm.size
        total = self._share_of(file)

        def report(done: int, moved: int) -> None:
            self.report(activity, done, total, "blocks", moved)

        with storage_errors(self.folder, file.path):
            return file.make(rank, ranks, rows, report, self.comm.stopping.heard)

    def truth(self) -> Compared:
        """Find the neighbours together; on rank 0 save them."""
        spec = self.spec
        base, pool = spec.base(self.folder), spec.pool(self.folder)
        base_crcs, query_crcs = base.checksums(), pool.checksums()
        queries = pool.all_checked(query_crcs)[: spec.truth_queries]
        names = dataset_hash(spec, base_crcs), query_hash(spec, query_crcs)
        token = "-".join((*names, spec.metric, str(len(queries))))
        work = TruthWork(base, base_crcs, queries, spec.metric, spec.neighbours, token)
        held = work.held().blocks
        self.comm.barrier()  # nobody saves before all have seen what there was
        heard = self.comm.stopping.heard
        with storage_errors(self.folder):
            done = work.share(
                self.comm.rank,
                self.comm.size,
                held,
                lambda done, total: self.report("ground truth", done, total, "blocks", 0),
                heard,
            )
        whole = self._all(done=done)
        if self.comm.rank:
            return Compared()
        if not whole:
            return Compared(len(work.held().blocks), len(held))

        def go_on(done: int, total: int) -> bool:
            self.report("exact distances", done, total, "queries", 0)
            return not heard()

        vectors = open_vectors(base.path)
        truth = work.finish(vectors, go_on)
        if truth is None:
            return Compared(base.blocks, len(held))
        with storage_errors(self.folder):
            truth.save(self.folder, dataset_hash=names[0], query_hash=names[1], metric=spec.metric)
        return Compared(
            base.blocks,
            len(held),
            structure=structure_of(queries, vectors, truth, spec.metric),
            confirmed=self._confirmed(queries, vectors, truth),
        )

    def _confirmed(
        self, queries: NDArray[np.float32], vectors: Vectors, truth: Truth
    ) -> float | None:
        """How much of the neighbours in an ann-benchmarks file is as near as those found here.

        Raises:
            ConfigurationError: they are of other vectors, or of another metric.
        """
        path = Path(self.spec.source)
        if path.suffix.lower() not in {".hdf5", ".h5"} or self.spec.source_queries:
            return None
        named = own_neighbours(path, len(queries))
        if named is None or open_vectors(path).count != self.spec.vectors:
            return None
        named = named[:, : truth.ids.shape[1]]
        rows = np.arange(len(named))
        share = float(recalls(named, rows, queries, truth, vectors, self.spec.metric).mean())
        if share < _LEAST_CONFIRMED:
            raise ConfigurationError(
                f"only {100 * share:.1f} % of the neighbours that {path.name} names are true",
                why=f"they were compared with all its vectors, by {self.spec.metric}",
                fix="give the file's own metric with --metric-type, or a whole file",
            )
        return share


def finish(spec: VectorSpec, folder: Path, created: str, structure: Structure) -> VectorManifest:
    """Write the manifest of a folder whose ranks are all through, and clear up.

    Raises:
        BenchmarkError: something is missing.
    """
    base, pool = spec.base(folder), spec.pool(folder)
    for file in (base, pool):
        if _size(file.path) != file.file_bytes:
            raise BenchmarkError(
                f"{file.path} has {_size(file.path)} bytes, not {file.file_bytes}",
                fix="run datagen again with the same arguments",
            )
    checksums = (base.checksums(), pool.checksums())
    with storage_errors(folder):
        manifest = VectorManifest.of(
            spec, checksums, created=created, structure=structure, numpy=np.__version__
        )
        manifest.truth(folder)
        manifest.save(folder)
        base.forget_journals()
        pool.forget_journals()
        (folder / BEGUN_NAME).unlink(missing_ok=True)
        token = TruthWork(base, [], np.empty((0, 1), np.float32), spec.metric, 1, "")
        token.forget()
    return manifest
