"""What a command needs of its hosts, so that only what matters to that very command is checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import UsageError
from mlpstorage.launch.dialects import MpiOptions

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.cluster import Host


@dataclass(frozen=True)
class Place:
    """A directory that the command uses.

    Attributes:
        name: What it holds, for people and for `Needs.apart`: data, results, checkpoint.
        path: Where it is or will be made.
        option: The flag that chooses it, for the fix.
        write: Whether something is written there.
        write_required: Whether a directory that cannot be written is an error, or a warning.
        must_exist: Whether it must be there before the command starts.
        shared: Whether all hosts, this one included, must see the same files there.
        on_hosts: Whether the ranks use it, or this host alone.
        bytes_needed: What all ranks together will write there.
        direct: Whether files there are opened with O_DIRECT.
        buffered_option: What the user writes to do without O_DIRECT.
    """

    name: str
    path: Path
    option: str = ""
    write: bool = True
    write_required: bool = True
    must_exist: bool = False
    shared: bool = False
    on_hosts: bool = True
    bytes_needed: int = 0
    direct: bool = False
    buffered_option: str = "buffered I/O"


@dataclass(frozen=True)
class Endpoint:
    """A server that the ranks connect to, such as a vector database."""

    name: str
    host: str
    port: int
    option: str = "--host and --port"


@dataclass(frozen=True)
class Needs:
    """What one command needs; the defaults need nothing but this host and its Python.

    Attributes:
        purpose: What is about to be done, for the "why" of findings.
        hosts: Where ranks run; empty for this host alone.
        ranks: How many ranks run on all hosts together.
        uses_mpi: Whether they are started by a launcher of MPI.
        apart: Pairs of places that belong on different filesystems.
        apart_required: Whether sharing one is an error (CLOSED) or a warning.
        memory_bytes_per_rank: Memory that a rank takes for itself, page cache not counted.
        open_files_per_rank: Files that a rank holds open at once.
        locked_bytes_per_rank: Memory that a rank locks.
        engine: `native` or `dlio`.
        engine_path: Where the engine is, if it is not the installed one.
        engine_modules: What the engine imports for this command beside what it always does.
        most_seconds: When a host counts as one that hangs.
    """

    purpose: str = "this run"
    hosts: tuple[Host, ...] = ()
    ranks: int = 1
    uses_mpi: bool = False
    mpi: MpiOptions = field(default_factory=MpiOptions)
    places: tuple[Place, ...] = ()
    apart: tuple[tuple[str, str], ...] = ()
    apart_required: bool = False
    memory_bytes_per_rank: int = 0
    open_files_per_rank: int = 256
    locked_bytes_per_rank: int = 0
    engine: str = "native"
    engine_path: str = ""
    engine_modules: tuple[str, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    most_seconds: float = 8.0

    def place(self, name: str) -> Place | None:
        """The place of this name, if the command has one."""
        return next((place for place in self.places if place.name == name), None)

    def ranks_by_host(self) -> dict[str, int]:
        """How many ranks each named host gets; an even share where the hosts' slots are wrong."""
        try:
            counts = spread(self.ranks, self.hosts)
        except UsageError:
            counts = (-(-self.ranks // max(1, len(self.hosts))),) * len(self.hosts)
        return {host.name: count for host, count in zip(self.hosts, counts, strict=True)}
