"""Runs without a metadata file: plain DLIO folders, and those of the first published round."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.run import Status
from mlpstorage.store.files import read_as, read_text
from mlpstorage.store.history import BROKEN

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.store.places import Place

DLIO = "DLIO"
# Where hydra keeps what a run was asked for: the first round's name, the later ones', its own.
CONFIG_FOLDERS = ("configs", "dlio_config", ".hydra")
_SUMMARY = "summary.json"
_OVERRIDE = re.compile(r"""^- *['"]?\+{0,2}(?P<name>[\w./@-]+)=(?P<value>.*?)['"]?\s*$""")
_WORKLOAD = re.compile(r"(?P<model>.+)_(?P<accelerator>[a-z]+[0-9]+[a-z]*)")
_LEVEL = "workload."


class _Metric(msgspec.Struct, frozen=True):
    """Which benchmark a summary is of: the keys that only one of them has."""

    train_au_percentage: Any = None
    save_checkpoint_io_mean_GB_per_second: Any = None  # noqa: N815 (the file's key)
    load_checkpoint_io_mean_GB_per_second: Any = None  # noqa: N815 (the file's key)


class _Summary(msgspec.Struct, frozen=True):
    """What every summary of DLIO tells of its run."""

    start: str | None = None
    end: str | None = None
    num_accelerators: int | None = None
    metric: _Metric | None = None
    kvcache_version: Any = None
    options: Any = None
    throughput_qps: Any = None


@dataclass(frozen=True)
class Told:
    """What a run without metadata tells of itself; `words` are the overrides as they were given."""

    origin: str
    kind: str
    command: str
    model: str
    run_id: str
    status: str
    accelerator: str = ""
    reason: str = ""
    start: str = ""
    end: str = ""
    ranks: int | None = None
    overrides: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()


def describe(directory: Path, names: tuple[str, ...], place: Place) -> Told | None:
    """What the files of a run's directory say; None where it is no run of any known tool."""
    origin = place.round or DLIO
    overrides = read_overrides(directory)
    chosen = dict(overrides).get("workload") or place.model
    match = _WORKLOAD.fullmatch(chosen)
    model, accelerator = (match["model"], match["accelerator"]) if match else (chosen, "")
    command = _command(place, overrides, names)
    broken = Told(
        origin=origin,
        kind=place.kind or ("training" if place.round or overrides else ""),
        command=command,
        model=model,
        run_id="_".join(p for p in (place.system, chosen, directory.name) if p),
        status=BROKEN,
        accelerator=accelerator,
        overrides=overrides,
        words=tuple(f"{name}={value}" for name, value in overrides),
    )
    if _SUMMARY not in names:
        if command != "run":
            return replace(broken, status="unknown")
        if not names and not place.kind and not place.round:
            return None
        return replace(broken, reason=f"{directory / _SUMMARY}: there is no such file")
    try:
        found = read_as(directory / _SUMMARY, _Summary)
    except MlpstorageError as error:
        return replace(broken, reason=error.what)
    return replace(
        broken,
        kind=place.kind or _kind_of(found),
        status=Status.COMPLETE.value if found.end else "unknown",
        start=found.start or "",
        end=found.end or "",
        ranks=found.num_accelerators,
    )


def _kind_of(summary: _Summary) -> str:
    metric = summary.metric or _Metric()
    if metric.train_au_percentage is not None:
        return "training"
    if (
        metric.save_checkpoint_io_mean_GB_per_second is not None
        or metric.load_checkpoint_io_mean_GB_per_second is not None
    ):
        return "checkpointing"
    if summary.throughput_qps is not None:
        return "vector_database"
    return "kv_cache" if summary.options is not None else "training"


def _command(place: Place, overrides: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> str:
    """What the run did; where nothing says so, one that has a summary measured something."""
    if place.command:
        return place.command
    given = dict(overrides)
    generates = given.get("workflow.generate_data", "").lower() == "true"
    trains = given.get("workflow.train", "").lower() != "false"
    return "datagen" if generates and not (trains and _SUMMARY in names) else "run"


def config_file(directory: Path, name: str) -> Path | None:
    """A file of hydra in a run's directory (config.yaml, overrides.yaml); None if it has none."""
    for folder in CONFIG_FOLDERS:
        path = directory / folder / name
        if not (directory / folder).is_symlink() and path.is_file() and not path.is_symlink():
            return path
    return None


def read_overrides(directory: Path) -> tuple[tuple[str, str], ...]:
    """The parameters that a run was given, by dotted name without `workload.`; as text.

    Lines that are none are passed over: what a run is called must not depend on all of them.
    """
    path = config_file(directory, "overrides.yaml")
    if path is None:
        return ()
    try:
        lines = read_text(path).splitlines()
    except MlpstorageError:
        return ()
    found = [match for line in lines if (match := _OVERRIDE.match(line))]
    return tuple((match["name"].removeprefix(_LEVEL), match["value"]) for match in found)
