"""How a rank gets at the samples of a data set: which bytes each visit reads, and by which pool.

one sample per file     a visit is a whole file
a stream of samples     a visit is a file, or the part of it that is this rank's share
a table (Parquet)       a visit is a row group: the column chunks that training reads
with an index           a visit is a run of samples; the first of a file reads the index as well

Where samples are decoded, a visit is at most about one read, and its bytes stay until that is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mlpstorage.engine.dataset import NATIVE
from mlpstorage.engine.decoding import Run, decoder_of
from mlpstorage.engine.epoch import cut_visits
from mlpstorage.engine.formats import LaidOut, even_layout
from mlpstorage.engine.parts import Part, PartsPool
from mlpstorage.engine.reading import Extent, ReaderPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlpstorage.engine.dataset import Manifest
    from mlpstorage.engine.epoch import EpochPlan
    from mlpstorage.engine.formats import Layout
    from mlpstorage.engine.parts import Decode, Loaded
    from mlpstorage.engine.reading import Pool


@dataclass(frozen=True)
class ReadSettings:
    """How a rank reads: one buffer per reader thread, each as long as a read call.

    `ahead` is in batches (see `Batches`); `columns` are those of a table that are read.
    """

    buffers: Sequence[memoryview]
    direct: bool = False
    ahead: int = 2
    columns: tuple[str, ...] = ()
    decode: bool = False


@dataclass(frozen=True)
class Epoch:
    """The readers of one epoch; `planned` tells, once all is read, the bytes that had to be."""

    plan: EpochPlan
    pool: Pool
    planned: Callable[[], int]


class Access(Protocol):
    """One way to read a data set."""

    def epoch(self, plan: EpochPlan) -> Epoch:
        """The readers that do a rank's share of an epoch, not started yet."""


def access_of(manifest: Manifest, folder: Path, settings: ReadSettings) -> Access:
    """The way to read this data set that its format asks for."""
    files = DataFiles(manifest, folder)
    if manifest.spec.table is not None:
        # Ranks without tables start without what knows them.
        from mlpstorage.engine.table_access import TableAccess

        return TableAccess(files, manifest.spec.table, settings)
    if settings.decode or files.has_index:
        return RunAccess(files, settings)
    return FileAccess(files, settings)


class DataFiles:
    """The data set's names, sizes and layouts, by file index."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self.manifest = manifest
        self.spec = manifest.spec
        self.format = self.spec.file_format
        self.path = self.spec.namer(str(folder))
        self.sizes = manifest.file_bytes
        self._sample_bytes = self.spec.sample_bytes()

    @property
    def has_index(self) -> bool:
        """Whether an index stands beside each file."""
        return bool(self.format.companions)

    def layout(self, file: int) -> Layout:
        """Where the samples of a file stand."""
        samples = self.spec.samples_per_file
        if self.manifest.producer != NATIVE:
            return even_layout(int(self.sizes[file]), samples)
        assert isinstance(self.format, LaidOut)  # noqa: S101 (a table has an access of its own)
        return self.format.layout(int(self._sample_bytes[file]), samples)


class FileAccess:
    """Visits of one extent each: whole files of one sample, or streams of many."""

    def __init__(self, files: DataFiles, settings: ReadSettings) -> None:
        self._files = files
        self._settings = settings

    def epoch(self, plan: EpochPlan) -> Epoch:
        """See `Access`."""
        single = self._files.spec.samples_per_file == 1
        extent_of, planned = self._wholes(plan) if single else self._shares(plan)
        pool = ReaderPool(
            plan,
            extent_of,
            # Whole files are not counted by bytes: a layout of each would cost seconds on millions.
            (lambda _index, _done: 1) if single else self._samples_in(plan),
            self._settings.buffers,
            direct=self._settings.direct,
            ahead=self._settings.ahead,
        )
        return Epoch(plan, pool, lambda: planned)

    def _wholes(self, plan: EpochPlan) -> tuple[Callable[[int], Extent], int]:
        path = self._files.path
        files, sizes = plan.files.tolist(), self._files.sizes[plan.files].tolist()

        def whole(index: int) -> Extent:
            return Extent(path(files[index]), 0, sizes[index])

        return whole, sum(sizes)

    def _shares(self, plan: EpochPlan) -> tuple[Callable[[int], Extent], int]:
        path, files = self._files.path, plan.files.tolist()
        bounds = [
            _bounds(self._files.layout(file), int(first), int(samples))
            for file, first, samples in zip(files, plan.first, plan.samples, strict=True)
        ]

        def part(index: int) -> Extent:
            return Extent(path(files[index]), *bounds[index])

        return part, sum(end - begin for begin, end in bounds)

    def _samples_in(self, plan: EpochPlan) -> Callable[[int, int], int]:
        """The function that tells how many samples of a visit its first n bytes complete."""
        layouts = [self._files.layout(file) for file in plan.files.tolist()]
        firsts: list[int] = plan.first.tolist()
        counts: list[int] = plan.samples.tolist()

        def samples(index: int, done: int) -> int:
            layout, first = layouts[index], firsts[index]
            begin = layout.header_bytes + first * layout.sample_bytes if first else 0
            complete = layout.samples_after(begin + done) - first
            return min(max(complete, 0), counts[index])

        return samples


def _bounds(layout: Layout, first: int, samples: int) -> tuple[int, int]:
    """The bytes of some samples; the first and the last of a file take its edges along."""
    stride, header = layout.sample_bytes, layout.header_bytes
    begin = header + first * stride if first else 0
    last = first + samples
    return begin, layout.file_bytes if last == layout.samples else header + last * stride


class RunAccess:
    """Visits of a run of samples each, no longer than about one read, after the file's index."""

    def __init__(self, files: DataFiles, settings: ReadSettings) -> None:
        self._files = files
        self._settings = settings

    def epoch(self, plan: EpochPlan) -> Epoch:
        """See `Access`."""
        settings = self._settings
        runs = plan
        if self._files.spec.samples_per_file > 1:
            stride = self._files.layout(0).sample_bytes
            runs = cut_visits(plan, max(1, len(settings.buffers[0]) // stride))
        pool = PartsPool(
            runs,
            self._parts_of(plan, runs),
            settings.buffers,
            direct=settings.direct,
            ahead=settings.ahead,
            decode=self._decoder(runs) if settings.decode else None,
        )
        return Epoch(runs, pool, lambda: sum(pool.bytes_read))

    def _parts_of(self, plan: EpochPlan, runs: EpochPlan) -> Callable[[int], list[Part]]:
        files: list[int] = runs.files.tolist()
        firsts: list[int] = runs.first.tolist()
        counts: list[int] = runs.samples.tolist()
        # A file may be visited by several runs; what this rank reads of its index is one range.
        starts = zip(plan.files.tolist(), plan.first.tolist(), strict=True)
        shares: dict[tuple[int, int], int] = dict(zip(starts, plan.samples.tolist(), strict=True))
        path, layout = self._files.path, self._files.layout
        companions = self._files.format.companions

        def parts(index: int) -> list[Part]:
            file, first = files[index], firsts[index]
            name = path(file)
            share = shares.get((file, first))
            found = []
            if share is not None:
                found = [Part(c.name_of(name), [c.extent(first, share)]) for c in companions]
            found.append(Part(name, [_bounds(layout(file), first, counts[index])]))
            return found

        return parts

    def _decoder(self, runs: EpochPlan) -> Decode:
        spec, layout = self._files.spec, self._files.layout
        decoder = decoder_of(spec.format, spec.samples_per_file)

        def decode(index: int, loaded: Sequence[Loaded]) -> None:
            # The samples come last; what stands before them is the file's index.
            path, _, data = loaded[-1]
            file, first, samples = runs.files[index], runs.first[index], runs.samples[index]
            decoder.decode(data, path, Run.of(layout(int(file)), int(first), int(samples)))

        return decode
