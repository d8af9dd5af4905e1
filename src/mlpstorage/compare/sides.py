"""The two sides of a comparison: a run, or the measured runs of a set, with their figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError, did_you_mean
from mlpstorage.core.run import Status
from mlpstorage.kinds.comparing import comparer_of
from mlpstorage.kinds.repetition import WARM_UP
from mlpstorage.store.codec import read_metadata
from mlpstorage.store.files import children, is_file, read_as
from mlpstorage.store.history import scan, status_of
from mlpstorage.store.layout import METADATA_SUFFIX
from mlpstorage.store.sets import read_set, scan_sets, set_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.measures import Measure
    from mlpstorage.store.codec import Metadata
    from mlpstorage.store.history import HistoryEntry
    from mlpstorage.store.sets import SetRecord

_SUMMARY = "summary.json"
_HINTS = 8


@dataclass(frozen=True)
class Side:
    """What is compared; `metadata` is that of the first run, `runs` the figures of each."""

    name: str
    metadata: Metadata
    runs: tuple[tuple[Measure, ...], ...]
    remarks: tuple[str, ...] = ()

    def named(self, name: str) -> tuple[Measure, ...]:
        """One figure of every run that has it."""
        return tuple(one for run in self.runs for one in run if one.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The figures that some run has, in their order."""
        return tuple(dict.fromkeys(one.name for run in self.runs for one in run))

    def as_dict(self) -> dict[str, Any]:
        """What the side is, as JSON-ready values."""
        return {
            "id": self.name,
            "kind": self.metadata.benchmark_type,
            "model": self.metadata.model,
            "accelerator": self.metadata.accelerator,
            "runs": len(self.runs),
            "remarks": list(self.remarks),
        }


def side_of(word: str, results_dir: Path) -> Side:
    """The run or set that a word names: a directory of one, or an id or number of the history.

    Raises:
        NotFoundError: there is none.
        UsageError: several runs are meant.
        ConfigurationError: it has no figures, as it did not end well, or its files are broken.
    """
    place = Path(word).expanduser()
    if place.is_dir():
        return _of_directory(place, results_dir)
    entries = scan(results_dir)
    for entry in scan_sets(results_dir):
        if entry.set_id == word:
            return _of_set(entry.record, entries)
    found = [one for one in entries if word in (one.run_id, str(one.number))]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} runs are named {word}", fix="name the directory of the one you mean"
        )
    if not found:
        ids = [one.set_id for one in scan_sets(results_dir)]
        ids += [one.run_id for one in entries]
        raise NotFoundError(
            f"no run, set or directory {word!r} in {results_dir}",
            fix=did_you_mean(word, ids[-_HINTS:]) if ids else "name a --results-dir that has runs",
        )
    return _of_runs(found[0].run_id, [found[0].metadata])


def _of_directory(place: Path, results_dir: Path) -> Side:
    for path in set_records(place):
        # <results>/<kind>/…/set/<stamp>: the runs are in the tree that holds the set.
        record = read_set(path)
        runs = [scan(root) for root in (results_dir, *place.absolute().parents[1:5])]
        return _of_set(record, next((r for r in runs if _members(record, r)), []))
    files = [
        Path(file.path)
        for file in children(place)
        if file.name.endswith(METADATA_SUFFIX) and is_file(file)
    ]
    if not files:
        raise NotFoundError(
            f"{place} is not the directory of a run: it holds no *{METADATA_SUFFIX}",
            fix="name the directory with the time stamp, or an id that `history list` shows",
        )
    return _of_runs(read_metadata(files[0]).run_id or str(place), files)


def _of_set(record: SetRecord, entries: Sequence[HistoryEntry]) -> Side:
    members = _members(record, entries)
    if not members:
        raise ConfigurationError(
            f"the set {record.set_id} has no measured run that is complete",
            fix=f"finish it: mlpstorage resume {record.set_id}",
        )
    missing = sum(member.role != WARM_UP for member in record.members) - len(members)
    remarks = (f"{missing} of its runs are missing",) if missing > 0 else ()
    return _of_runs(record.set_id, [member.metadata for member in members], remarks)


def _members(record: SetRecord, entries: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """The complete measured runs of a set, the latest of those that were repeated."""
    complete = {
        entry.place: entry
        for entry in entries
        if entry.set_id == record.set_id
        and entry.status == Status.COMPLETE.value
        and entry.role != WARM_UP
    }
    return list(complete.values())


def _of_runs(name: str, records: Sequence[Path], remarks: Sequence[str] = ()) -> Side:
    found = [read_metadata(path) for path in records]
    comparer = comparer_of(found[0].benchmark_type)
    if comparer is None:
        raise ConfigurationError(
            f"{name} is of an unknown benchmark, {found[0].benchmark_type!r}",
            fix="compare runs of this program's benchmarks",
        )
    runs = []
    for metadata, path in zip(found, records, strict=True):
        figures = comparer.measures_of(_summary(name, metadata, path))
        if not figures:
            raise ConfigurationError(
                f"{name}: {path.parent / _SUMMARY} has no figures",
                why=f"it is of `{metadata.benchmark_type} {metadata.command}`",
                fix="compare runs of a benchmark, not its data generation",
            )
        runs.append(figures)
    verdicts = {metadata.category for metadata in found}
    invalid = ("INVALID",) if "INVALID" in verdicts else ()
    return Side(name, found[0], tuple(runs), (*invalid, *remarks))


def _summary(name: str, metadata: Metadata, path: Path) -> dict[str, Any]:
    status = status_of(metadata)
    summary = path.parent / _SUMMARY
    if status not in {Status.COMPLETE.value, "unknown"} or not summary.exists():
        raise ConfigurationError(
            f"{name} has no result to compare: it is {status}",
            why=f"{summary} {'is not whole' if summary.exists() else 'does not exist'}",
            fix="compare runs that `mlpstorage history list` shows as complete",
        )
    return read_as(summary, dict[str, Any])
