"""A submission as it lies on disk: what stands where, read once, without following links."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.kinds.sets import counts, grouped, member_of, set_view
from mlpstorage.kinds.tree_system import read_system
from mlpstorage.report.model import Role
from mlpstorage.store.files import children, is_directory, is_file
from mlpstorage.store.places import DIVISIONS
from mlpstorage.store.runs import read_runs
from mlpstorage.store.trees import is_run_name

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from pathlib import Path

    from mlpstorage.kinds.reporting import Member
    from mlpstorage.kinds.tree_system import SystemDescription
    from mlpstorage.report.model import RunSet

_MOST_LINKS = 100
_DEEPEST = 14


@dataclass(frozen=True)
class Listing:
    """The names in a directory, sorted by what they are."""

    path: Path
    directories: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, path: Path) -> Listing:
        """What is in a directory; nothing for one that is not there, or is a link."""
        if path.is_symlink() or not path.is_dir():
            return cls(path)
        entries = children(path)
        return cls(
            path,
            tuple(entry.name for entry in entries if is_directory(entry)),
            tuple(entry.name for entry in entries if is_file(entry)),
            tuple(
                entry.name for entry in entries if not is_directory(entry) and not is_file(entry)
            ),
        )

    def below(self, name: str) -> Listing:
        """What is in a directory of this one."""
        return (
            Listing.of(self.path / name) if name in self.directories else Listing(self.path / name)
        )

    @property
    def runs(self) -> tuple[str, ...]:
        """The directories that are named as those of runs."""
        return tuple(name for name in self.directories if is_run_name(name))


@dataclass(frozen=True)
class Submitter:
    """One organisation's part in one division."""

    division: str
    name: str
    listing: Listing

    @property
    def systems(self) -> Listing:
        """The descriptions of systems."""
        return self.listing.below("systems")

    @property
    def results(self) -> Listing:
        """The results, by system."""
        return self.listing.below("results")


@dataclass(frozen=True)
class Folder:
    """The results of one workload on one system, such as `training/unet3d` or `kv_cache`.

    `members` are its runs, those that measure nothing included.
    """

    submitter: Submitter
    system: str
    kind: str
    workload: str
    listing: Listing
    members: tuple[Member, ...]
    sets: tuple[RunSet, ...]

    @property
    def measured(self) -> tuple[Member, ...]:
        """The runs whose figures count."""
        return tuple(member for member in self.members if counts(member))

    @property
    def generated(self) -> tuple[Member, ...]:
        """The runs that generated data."""
        return tuple(member for member in self.members if member.run.command == "datagen")


@dataclass(frozen=True)
class Tree:
    """A submission; `links` are symbolic links in it, `problems` what could not be looked at."""

    root: Path
    edition: str
    top: Listing
    submitters: tuple[Submitter, ...]
    folders: tuple[Folder, ...]
    descriptions: dict[tuple[str, str, str], SystemDescription | str] = field(default_factory=dict)
    links: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def description(self, submitter: Submitter, system: str) -> SystemDescription | str:
        """A system's description, or what is wrong with it."""
        key = (submitter.division, submitter.name, system)
        return self.descriptions.get(key, "there is no description")


def read_tree(root: Path, edition: str = "") -> Tree:
    """The submission below a root; whatever cannot be read is in it as a problem."""
    found = read_runs(root)
    top = Listing.of(root)
    submitters = tuple(
        Submitter(division.upper(), name, top.below(division).below(name))
        for division in top.directories
        if division.lower() in DIVISIONS
        for name in top.below(division).directories
    )
    members = [member_of(run) for run in found.runs]
    rounds = [member.run.place.round for member in members if member.run.place.round]
    return Tree(
        root=root,
        edition=edition or (max(rounds).removeprefix("v") if rounds else "3.0"),
        top=top,
        submitters=submitters,
        folders=tuple(_folders(submitters, members)),
        descriptions=dict(_descriptions(submitters)),
        links=tuple(_links(root)),
        problems=found.problems,
    )


def _folders(submitters: tuple[Submitter, ...], members: list[Member]) -> Iterator[Folder]:
    by_path = {(s.division, s.name): s for s in submitters}
    found: dict[tuple[str, ...], list[Member]] = {}
    for member in members:
        place = member.run.place
        workload = member.run.model if place.kind in {"training", "checkpointing"} else ""
        if place.round == "v1.0":
            workload = place.model
        key = (place.division, place.organisation, place.system, member.run.kind, workload)
        found.setdefault(key, []).append(member)
    for (division, organisation, system, kind, workload), own in sorted(found.items()):
        submitter = by_path.get((division, organisation))
        if submitter is None:
            continue
        listing = submitter.results.below(system)
        if own[0].run.place.round != "v1.0":
            listing = listing.below(kind)
        measuring = [member for member in own if member.role is not Role.OTHER]
        yield Folder(
            submitter=submitter,
            system=system,
            kind=kind,
            workload=workload,
            listing=listing.below(workload) if workload else listing,
            members=tuple(own),
            sets=tuple(set_view(group) for group in grouped(measuring)),
        )


def _descriptions(
    submitters: tuple[Submitter, ...],
) -> Iterator[tuple[tuple[str, str, str], SystemDescription | str]]:
    for submitter in submitters:
        for name in submitter.systems.files:
            stem, dot, suffix = name.rpartition(".")
            if dot and suffix in {"yaml", "yml"}:
                key = (submitter.division, submitter.name, stem)
                path = submitter.systems.path / name
                try:
                    yield key, read_system(path)
                except MlpstorageError as error:
                    yield key, _without_path(error.what, path)


def _without_path(text: str, path: Path) -> str:
    """What is wrong with a file, for those who name the file themselves; a line keeps its number.

    >>> from pathlib import Path
    >>> _without_path("/a/b.yaml:5: x is missing", Path("/a/b.yaml"))
    'line 5: x is missing'
    """
    return re.sub(rf"{re.escape(str(path))}:(\d+)", r"line \1", text).removeprefix(f"{path}: ")


def _links(directory: Path, depth: int = 0) -> Iterator[str]:
    """The first links of a tree, down to where results end."""
    found = 0
    stack: list[tuple[Path, int]] = [(directory, depth)]
    while stack and found < _MOST_LINKS:
        here, below = stack.pop()
        try:
            entries = children(here)
        except OSError:
            continue  # told by whoever reads the runs there
        for entry in entries:
            if entry.is_symlink():
                found += 1
                yield str(here / entry.name)
            elif is_directory(entry) and below < _DEEPEST:
                stack.append((here / entry.name, below + 1))


def where(tree: Tree, entry: os.PathLike[str] | str) -> str:
    """A path for people: relative to the root."""
    text = str(entry)
    return text.removeprefix(f"{tree.root}/") or "."


def of_kind(tree: Tree, kind: str) -> Iterator[Folder]:
    """The folders of one benchmark."""
    return (folder for folder in tree.folders if folder.kind == kind)
