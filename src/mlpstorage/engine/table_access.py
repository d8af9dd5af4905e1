"""Reading tables: a visit is a row group, of which the chunks of some columns are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.engine.access import Epoch
from mlpstorage.engine.epoch import cut_visits
from mlpstorage.engine.footers import Footers, aligned
from mlpstorage.engine.parts import Part, PartsPool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.engine.access import DataFiles, ReadSettings
    from mlpstorage.engine.epoch import EpochPlan
    from mlpstorage.engine.formats.parquet.schema import Table
    from mlpstorage.engine.parts import Decode, Loaded


class TableAccess:
    """Visits of a row group each: the chunks of the columns that training reads."""

    def __init__(self, files: DataFiles, table: Table, settings: ReadSettings) -> None:
        self._files = files
        self._settings = settings
        self._group_rows = table.row_group_rows
        self._footers = Footers(
            files.path,
            table,
            files.spec.samples_per_file,
            settings.columns,
            decode=settings.decode,
        )

    def epoch(self, plan: EpochPlan) -> Epoch:
        """See `Access`."""
        settings, footers = self._settings, self._footers
        groups = cut_visits(plan, self._group_rows)
        before = footers.bytes_read
        pool = PartsPool(
            groups,
            self._parts_of(groups),
            settings.buffers,
            direct=settings.direct,
            ahead=settings.ahead,
            decode=self._decoder(groups) if settings.decode else None,
        )
        return Epoch(groups, pool, lambda: sum(pool.bytes_read) + footers.bytes_read - before)

    def _parts_of(self, groups: EpochPlan) -> Callable[[int], list[Part]]:
        files: list[int] = groups.files.tolist()
        numbers: list[int] = (groups.first // self._group_rows).tolist()
        path, footers, sizes = self._files.path, self._footers, self._files.sizes
        direct = self._settings.direct

        def parts(index: int) -> list[Part]:
            file = files[index]
            ranges = footers.of(file).reads.ranges(numbers[index])
            if direct:
                ranges = aligned(ranges, int(sizes[file]))
            return [Part(path(file), ranges)]

        return parts

    def _decoder(self, groups: EpochPlan) -> Decode:
        files: list[int] = groups.files.tolist()
        numbers: list[int] = (groups.first // self._group_rows).tolist()
        footers = self._footers

        def decode(index: int, loaded: Sequence[Loaded]) -> None:
            decoder = footers.of(files[index]).decoder
            if decoder is not None:
                ranges = [(begin, data) for _, begin, data in loaded]
                decoder.decode(ranges, loaded[0].path, numbers[index])

        return decode
