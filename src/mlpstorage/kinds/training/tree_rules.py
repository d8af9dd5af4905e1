"""The rules of training in a submission: each a pure function, named by its number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.rules import SINCE_SECOND, Category, Issue, Phase, Rule
from mlpstorage.kinds.run_details import hosts_of
from mlpstorage.kinds.training.rules import (
    PlanSubject,
    ResultSubject,
    dataset_size,
    utilisation,
)
from mlpstorage.kinds.training.sizing import size_dataset
from mlpstorage.kinds.training.workload import Workload, resolve_workload
from mlpstorage.kinds.tree import where
from mlpstorage.store.files import read_as
from mlpstorage.store.runs import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.reporting import Member
    from mlpstorage.kinds.tree import Folder, Tree

_FILES = "num_files_train"


def _folders(tree: Tree) -> Iterator[Folder]:
    return (folder for folder in tree.folders if folder.kind == "training")


class _Summary(msgspec.Struct, frozen=True):
    """What a summary says of the data set."""

    num_files_train: int | None = None


def _files_of(member: Member) -> int | None:
    """The files that a command sized, made or read, by its summary or its parameters."""
    found = member.facts.figures.get(_FILES)
    if found is None and member.run.summary is not None:
        try:
            found = read_as(member.run.summary, _Summary).num_files_train
        except MlpstorageError:
            found = None  # told by the rule about files that cannot be read
    dataset = member.run.parameters.get("dataset")
    if found is None and isinstance(dataset, dict):
        found = dataset.get(_FILES)
    return found if isinstance(found, int) else None


def _of_command(folder: Folder, command: str) -> list[int]:
    members = [member for member in folder.members if member.run.command == command]
    return [files for member in members if (files := _files_of(member)) is not None]


def datasize_used(tree: Tree) -> Iterator[Issue]:
    """3.1.1: the size of the data set was worked out by datasize, and is recorded.

    Each `training/<model>` has a run of datasize whose record has dataset.num_files_train;
    otherwise the submission is INVALID. `training datasize` stores nothing here: `reports package`
    writes the record, from what the run worked out itself.
    """
    for folder in _folders(tree):
        if not _of_command(folder, "datasize"):
            yield Issue(
                "3.1.1",
                Category.INVALID,
                "no record says how large the data set had to be",
                parameter=where(tree, folder.listing.path),
                expected="datasize with dataset.num_files_train",
                actual="absent",
                fix="package the results with reports package",
            )


def generated_enough(tree: Tree) -> Iterator[Issue]:
    """3.2.1: as many files were generated as datasize asked for, or more.

    The largest dataset.num_files_train of the datagen records is at least the largest of the
    datasize records; less is INVALID. Where one of them is missing, 3.1.1 or 2.1.12 says so.
    """
    for folder in _folders(tree):
        sized, made = _of_command(folder, "datasize"), _of_command(folder, "datagen")
        if sized and made and max(made) < max(sized):
            yield Issue(
                "3.2.1",
                Category.INVALID,
                "fewer files were generated than datasize asked for",
                parameter=where(tree, folder.listing.path),
                expected=f">= {max(sized)} files",
                actual=f"{max(made)} files",
                fix="generate what datasize asks for, and run again",
            )


def read_what_was_sized(tree: Tree) -> Iterator[Issue]:
    """3.3.1: a run reads as many files as datasize says, and no more than were generated.

    The text asks for exactly as many; a subset of a larger data set is allowed.
    """
    for folder in _folders(tree):
        sized, made = _of_command(folder, "datasize"), _of_command(folder, "datagen")
        for member in folder.measured:
            files = _files_of(member)
            wrong = files is not None and (
                (sized and files not in sized) or (made and files > max(made))
            )
            if wrong:
                yield Issue(
                    "3.3.1",
                    Category.INVALID,
                    "the run did not read the data set that was sized and generated",
                    parameter=where(tree, member.run.directory),
                    expected=f"{', '.join(map(str, sized)) or 'any'} files, "
                    f"of {max(made, default=0) or 'unknown'} generated",
                    actual=f"{files} files",
                    fix="generate and read what datasize asks for",
                )


def size_again(tree: Tree) -> Iterator[Issue]:
    """3.1.2: the size of the data set is worked out anew, from the hosts that the run recorded.

    The least number of files follows from the recorded parameters and ranks, and from the memory
    that was measured on the hosts (`*_cluster_info.json`), by the formula of 3.1.2 before a run. A
    measured run that read fewer files is INVALID, whatever its own verdict says. Runs of other
    tools are not judged.
    """
    for member in _ours(tree):
        try:
            workload = msgspec.convert(member.run.parameters, Workload)
            memory = sum(host.memory_bytes or 0 for host in hosts_of(member.run))
        except (msgspec.ValidationError, MlpstorageError):
            continue  # told by the rules about descriptions and files
        files, ranks = _files_of(member), member.run.ranks
        if files is None or not ranks or not memory:
            continue
        minimum = size_dataset(workload, ranks, memory)
        yield from dataset_size(PlanSubject(workload, {}, files, minimum))


def utilisation_again(tree: Tree) -> Iterator[Issue]:
    """3.3.2: the utilisation is compared anew with the floor that was published.

    The mean AU of each measured run, in percent, is compared with the floor of the packaged
    workload of its model and accelerator, not with the floor that the run recorded. Less is
    INVALID, whatever its own verdict says. Own workloads (T.1) and runs of other tools are not
    judged.
    """
    for member in _ours(tree):
        run = member.run
        found = member.facts.value("train_au_percent")
        try:
            workload = resolve_workload(run.model, run.accelerator).workload
        except MlpstorageError:
            continue  # the user's own workload, which T.1 judged
        if found is not None:
            yield from utilisation(ResultSubject(workload, found, 0, 0, None))


def _ours(tree: Tree) -> Iterator[Member]:
    for folder in _folders(tree):
        yield from (member for member in folder.measured if member.run.origin == OURS)


TREE_RULES: tuple[Rule[Tree], ...] = (
    Rule("3.1.1", "datasize was used", Phase.TREE, datasize_used, editions=SINCE_SECOND),
    Rule("3.1.2", "Size, worked out anew", Phase.TREE, size_again),
    Rule("3.3.2", "Utilisation, compared anew", Phase.TREE, utilisation_again),
    Rule("3.2.1", "Files generated", Phase.TREE, generated_enough, editions=SINCE_SECOND),
    Rule("3.3.1", "Files read", Phase.TREE, read_what_was_sized, editions=SINCE_SECOND),
)
