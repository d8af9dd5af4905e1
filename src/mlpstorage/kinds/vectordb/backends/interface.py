"""What a backend is: its description, which needs no wheel, and its open collection.

A backend that this package drives is described by one `Description` in the explicit list of
`backends/__init__.py`. Only `Description.connect` imports the wheel behind it.

Who owns what: the ranks of a run are processes, one per client, each with a `Backend` of its own
that searches on one thread. An embedded engine lives inside those processes; what it reads, the
kernel counts for them. A server owns its processes itself, and names them in `processes`.

    one rank, once      connect → create → load … → build → keep → close
    every rank, often   connect → open → searcher → (queries) → close

Whatever a backend cannot do it refuses with an error: an unknown parameter, or one that the engine
does not have in force after creation, is never passed over.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mlpstorage.core.errors import (
    BenchmarkError,
    ConfigurationError,
    UsageError,
    did_you_mean,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from mlpstorage.core.errors import (
        MlpstorageError,
    )

Search = Callable[["NDArray[np.float32]"], "NDArray[np.int64] | Sequence[Sequence[int]]"]
"""Queries (n, dimension) to the ids of their neighbours (n, k), nearest first, −1 for none.

Called on one thread, in the timed loop: whatever can be prepared is prepared by `searcher`.
"""

Parameters = Mapping[str, int]
Report = Callable[[int, int], None]


class QueryFailedError(BenchmarkError):
    """One request failed and the next may succeed: it is counted, and the run goes on."""


@dataclass(frozen=True)
class Parameter:
    """A whole-number parameter of an index or of its search, and what it may be."""

    name: str
    default: int
    least: int
    most: int
    text: str = ""


@dataclass(frozen=True)
class Footprint:
    """What an index takes, by the backend's model: bytes, and seconds of building on one core."""

    memory_bytes: int
    disk_bytes: int
    build_disk_bytes: int
    build_core_seconds: float


@dataclass(frozen=True)
class IndexType:
    """An index that a backend can build.

    Args:
        name: As in --index-type.
        build: Parameters of building.
        effort: The parameter of searching that buys recall; calibration chooses its value.
        search: Other parameters of searching.
        footprint: From vectors, dimension and parameters of building.
        effort_from_k: Whether the effort must be at least the number of neighbours asked for.
    """

    name: str
    effort: Parameter
    footprint: Callable[[int, int, Parameters], Footprint]
    build: tuple[Parameter, ...] = ()
    search: tuple[Parameter, ...] = ()
    effort_from_k: bool = False


@dataclass(frozen=True)
class Description:
    """A backend, as far as it is known without its wheel.

    Args:
        name: As in --vdb-engine.
        title: For people, in a few words.
        indexes: What it can build; the first is the default.
        metrics: Which of cosine, l2 and ip it has.
        connector: `module:function`, called with a `Collection`; returns a `Backend`.
        extra: The extra of this package that brings the wheel; empty if none is needed.
        modules: What the extra makes importable.
        server: Whether a server is contacted (--host, --port).
        database: False for a probe, whose results are no database's.
        direct: Whether it reads past the page cache.
        closed: Index types that CLOSED allows.
    """

    name: str
    title: str
    indexes: tuple[IndexType, ...]
    metrics: tuple[str, ...]
    connector: str
    extra: str = ""
    modules: tuple[str, ...] = ()
    server: bool = False
    database: bool = True
    direct: bool = False
    closed: tuple[str, ...] = ()
    default_port: int = 0

    def index(self, name: str) -> IndexType:
        """The index type of this name, or the default for an empty one.

        Raises:
            UsageError: there is none.
        """
        wanted = name.upper()
        for index in self.indexes:
            if not wanted or index.name == wanted:
                return index
        raise UsageError(
            f"{self.name} has no index type {name!r}",
            fix=did_you_mean(wanted, [index.name for index in self.indexes]),
        )

    def missing(self) -> MlpstorageError | None:
        """What to install before this backend can be used here, if anything is missing."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if not absent:
            return None
        return ConfigurationError(
            f"the backend {self.name} is not installed: Python has no module {absent[0]!r}",
            why=f"--vdb-engine is {self.name}",
            fix=f"pip install 'mlpstorage[{self.extra}]', or choose --vdb-engine ivf-probe",
        )

    def connect(self, collection: Collection) -> Backend:
        """The backend on a collection, nothing opened yet.

        Raises:
            ConfigurationError: it is not installed.
        """
        missing = self.missing()
        if missing is not None:
            raise missing
        module, _, name = self.connector.partition(":")
        backend: Backend = getattr(importlib.import_module(module), name)(collection)
        return backend


@dataclass(frozen=True)
class Collection:
    """A collection in a backend: where it is, what is in it, and how it is indexed.

    `folder` is the collection's own directory; embedded engines keep everything there, and servers
    may ignore it. `build` and `search` have every parameter of the index type.
    """

    name: str
    folder: Path
    vectors: int
    dimension: int
    metric: str
    index: IndexType
    build: Parameters
    search: Parameters = field(default_factory=dict)
    host: str = ""
    port: int = 0
    threads: int = 1


@dataclass(frozen=True)
class OwnCounters:
    """What an engine counts itself since it was opened: reads of storage, and their bytes."""

    reads: int
    bytes: int


class Backend(Protocol):
    """A collection in a backend. Methods raise MlpstorageError with what, why and fix."""

    def version(self) -> dict[str, str]:
        """Versions and what else names the engine, such as its I/O backend."""

    def record(self) -> bytes | None:
        """What `keep` has put beside the collection; None if there is no collection."""

    def keep(self, record: bytes) -> None:
        """Put a small record beside the collection, durable, in place of the last one."""

    def create(self) -> None:
        """Make the collection, empty; whatever was there under its name is gone."""

    def rows(self) -> int:
        """How many vectors are durably in, after a crash too; loading goes on from there."""

    def load(self, first_id: int, vectors: NDArray[np.float32]) -> None:
        """Put in vectors, whose ids count from `first_id`; blocks come in order."""

    def flush(self) -> None:
        """Make what was loaded durable."""

    def build(self, report: Report) -> None:
        """Build the index over all vectors; `report(done, total)` where the engine tells."""

    def parameters(self) -> dict[str, Any]:
        """The parameters of the index that are in force, read back from the engine."""

    def fetch(self, ids: Sequence[int]) -> NDArray[np.float32] | None:
        """Stored vectors, for comparison; None where the engine keeps none that can be read."""

    def open(self) -> None:
        """Open a built collection for searching, so that many processes may at once."""

    def searcher(self, k: int, effort: int) -> Search:
        """The function that answers queries with k neighbours at an effort."""

    def counters(self) -> OwnCounters | None:
        """The engine's own counters; None if it has none."""

    def files(self) -> list[Path]:
        """The files of this host that searching reads; empty where they are not known."""

    def disk_bytes(self) -> int | None:
        """What the collection takes on storage; None where it is not known."""

    def processes(self) -> list[int]:
        """Processes of this host that read for the backend; empty: the calling one."""

    def close(self) -> None:
        """Give everything back, so that `open` begins anew."""


def checked_parameters(
    given: Mapping[str, Any], known: Sequence[Parameter], section: str, backend: str
) -> dict[str, int]:
    """Every known parameter with its value: the given one, or the default.

    >>> checked_parameters({"m": 8}, [Parameter("m", 16, 4, 64)], "index", "x")
    {'m': 8}

    Raises:
        UsageError: a parameter is unknown, no whole number, or out of its range.
    """
    names = [parameter.name for parameter in known]
    for name in given:
        if name not in names:
            raise UsageError(
                f"{backend} has no parameter {section}.{name}",
                why="a parameter that has no effect would make the result mean something else",
                fix=did_you_mean(name, names) if names else f"leave {section}.{name} out",
            )
    values = {p.name: given.get(p.name, p.default) for p in known}
    for parameter in known:
        value = values[parameter.name]
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not parameter.least <= value <= parameter.most:
            raise UsageError(
                f"{section}.{parameter.name} is {value!r}",
                fix=f"give a whole number from {parameter.least} to {parameter.most}",
            )
    return values


def require_effective(asked: Mapping[str, Any], in_force: Mapping[str, Any], backend: str) -> None:
    """Check that the engine has in force what was asked of it.

    Raises:
        BenchmarkError: a parameter was dropped or changed.
    """
    for name, value in asked.items():
        if name not in in_force or in_force[name] != value:
            raise BenchmarkError(
                f"{backend} does not have {name}={value} in force, but "
                f"{in_force.get(name, 'nothing')}",
                why="parameters are read back after the index is made",
                fix=f"choose a value of {name} that this version of {backend} takes",
            )
