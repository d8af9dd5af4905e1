"""The rules of what a submission proves: its code, its checksums, what can be read, what it claims.

Each is a pure function, named by its number, as those of the structure in `tree_rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.rules import SINCE_SECOND, SINCE_THIRD, Category, Phase, Rule
from mlpstorage.kinds.tree import of_kind, where
from mlpstorage.kinds.tree_rules import tree_issue
from mlpstorage.store.checksums import CHECKSUMS, check
from mlpstorage.store.code import IMAGES, SHORT, image_name, tree_hash
from mlpstorage.store.history import BROKEN
from mlpstorage.store.runs import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.core.rules import Issue
    from mlpstorage.kinds.reporting import Member
    from mlpstorage.kinds.tree import Tree

_OPTIONS = frozenset({"1", "2", "3"})


def code_images(tree: Tree) -> Iterator[Issue]:
    """2.1.6: the code images of the tree are what their names and hashes say.

    Each `code-images/code-<digits>` is hashed anew (MD5 over names and contents of its files,
    without hidden files, caches and tests), and the first 8 digits are compared with its name. A
    difference is INVALID. Which image a run needs is asked by 3.6.1.
    """
    pool = tree.top.below(IMAGES)
    for name in pool.directories:
        try:
            actual = tree_hash(pool.path / name)
        except MlpstorageError as error:
            yield tree_issue("2.1.6", error.what, f"{IMAGES}/{name}", fix="restore the code image")
            continue
        if image_name(actual) != name:
            yield tree_issue(
                "2.1.6",
                "the code is not what its name says",
                f"{IMAGES}/{name}",
                expected=name.removeprefix("code-"),
                actual=actual[:SHORT],
                fix="restore the code image of the runs",
            )


def code_identity(tree: Tree) -> Iterator[Issue]:
    """3.6.1: every run says which code made it, and that code is in the tree.

    The reference values of CLOSED are not published (they are empty in the checker that is): the
    code is compared with the run's own record.
    """
    images = set(tree.top.below(IMAGES).directories)
    for folder in tree.folders:
        for member in folder.members:
            if member.run.origin != OURS or member.run.command == "datasize":
                continue
            place = where(tree, member.run.directory)
            recorded = member.run.code
            if not recorded:
                yield tree_issue(
                    "3.6.1",
                    "the run does not say which code made it",
                    place,
                    expected="a hash",
                    actual="not recorded",
                    fix="use a newer version",
                    category=Category.OPEN,
                )
            elif image_name(recorded) not in images:
                yield tree_issue(
                    "3.6.1",
                    "the code of the run is not in the tree",
                    place,
                    expected=f"{IMAGES}/{image_name(recorded)}",
                    actual="absent",
                    fix="package with the version that measured",
                )


def descriptions_fit(tree: Tree) -> Iterator[Issue]:
    """S.1: every description of a system fits its schema, and is filled in.

    Descriptions of other tools have schemas of their own, and are not judged.
    """
    for (division, name, system), found in tree.descriptions.items():
        ours = any(
            m.run.origin == OURS
            for f in tree.folders
            if (f.submitter.division, f.submitter.name, f.system) == (division, name, system)
            for m in f.members
        )
        if isinstance(found, str) and ours:
            yield tree_issue(
                "S.1",
                found,
                f"{division.lower()}/{name}/systems/{system}.yaml",
                fix="correct the description",
            )


def remapping_declared(tree: Tree) -> Iterator[Issue]:
    """4.7.3, 4.7.4: a storage of checkpoints says whether it reads while it writes.

    One that cannot be read on one host while another writes tells what switching takes (remapping).
    """
    for folder in of_kind(tree, "checkpointing"):
        found = tree.description(folder.submitter, folder.system)
        if isinstance(found, str):
            continue  # told by S.1 and 2.1.8
        if not found.storage.simultaneous_read_write and not found.storage.remap_seconds:
            yield tree_issue(
                "4.7.3",
                "the time of remapping is not declared",
                where(tree, folder.submitter.systems.path / f"{folder.system}.yaml"),
                expected="storage.remap_seconds",
                actual="0",
                fix="measure and declare what switching the storage between hosts takes",
            )


def checksums_hold(tree: Tree) -> Iterator[Issue]:
    """S.2: every file of the tree is as its checksum says, where there are checksums.

    Where the root has a SHA256SUMS, as `reports package` writes it, each file is hashed and
    compared. A file that has changed, is gone, or is not in the list is INVALID. Without the list
    nothing is judged. The rule is ours.
    """
    if CHECKSUMS not in tree.top.files:
        return
    try:
        differences = tuple(check(tree.root))
    except MlpstorageError as error:
        differences = ((CHECKSUMS, error.what),)
    for name, what in differences:
        yield tree_issue(
            "S.2",
            what,
            name,
            expected="as packaged",
            actual=what,
            fix="restore the file, or package the results again",
        )


def no_links(tree: Tree) -> Iterator[Issue]:
    """S.3: a submission is made of files and directories, not of links; none is followed.

    One symbolic link, of a file or a directory, makes the submission INVALID: what it points to may
    be outside the tree, and another file tomorrow. The rule is ours.
    """
    for path in tree.links:
        yield tree_issue(
            "S.3",
            "a symbolic link",
            where(tree, path),
            expected="a file or directory",
            actual="a link",
            fix="put what it points to in its place",
        )


def readable(tree: Tree) -> Iterator[Issue]:
    """S.4: everything in the tree can be read.

    A directory that cannot be listed, and a run whose record or figures cannot be read, are
    INVALID: nothing that is submitted is passed over in silence. The rule is ours.
    """
    for problem in tree.problems:
        yield tree_issue("S.4", problem, ".", fix="make it readable, or move it out of the tree")
    for folder in tree.folders:
        for member in folder.members:
            reason = member.facts.problem or (member.run.reason if _is_broken(member) else "")
            if reason:
                yield tree_issue(
                    "S.4",
                    reason,
                    where(tree, member.run.directory),
                    fix="restore the run's files, or leave the run out",
                )


def _is_broken(member: Member) -> bool:
    return member.run.status == BROKEN


def division_reached(tree: Tree) -> Iterator[Issue]:
    """S.5: what stands in closed has no verdict but CLOSED.

    Below closed/, a set whose own verdict is OPEN makes the submission INVALID. Below open/, any
    verdict but INVALID may stand. The rule is ours.
    """
    for folder in tree.folders:
        for one in folder.sets:
            if folder.submitter.division == "CLOSED" and one.verdict is Category.OPEN:
                yield tree_issue(
                    "S.5",
                    "a set in closed is OPEN at best",
                    where(tree, folder.listing.path),
                    expected="CLOSED",
                    actual="OPEN",
                    fix="move it to open, or measure it again",
                )


def all_options(tree: Tree) -> Iterator[Issue]:
    """6.3.1.2: a KV cache of the published options is measured with all three of them.

    Where the measured runs of kv_cache on a system have any of the options 1, 2 and 3, they have
    all three; otherwise the submission is INVALID. Runs of own profiles alone are not judged.
    """
    for folder in of_kind(tree, "kv_cache"):
        found = {m.facts.figures.get("option") for m in folder.measured} - {"", None}
        if found and found != _OPTIONS:
            yield tree_issue(
                "6.3.1.2",
                "not all of the published options",
                where(tree, folder.listing.path),
                expected=", ".join(sorted(_OPTIONS)),
                actual=", ".join(sorted(map(str, found))),
                fix="measure the others, too",
            )


TREE_RULES: tuple[Rule[Tree], ...] = (
    Rule("2.1.6", "Code images", Phase.TREE, code_images, editions=SINCE_THIRD),
    Rule("3.6.1", "Code of the runs", Phase.TREE, code_identity, editions=SINCE_THIRD),
    Rule("4.7.3", "Remapping declared", Phase.TREE, remapping_declared, editions=SINCE_SECOND),
    Rule("6.3.1.2", "All options", Phase.TREE, all_options, editions=SINCE_THIRD),
    Rule("S.1", "Descriptions fit", Phase.TREE, descriptions_fit),
    Rule("S.2", "Checksums hold", Phase.TREE, checksums_hold),
    Rule("S.3", "No links", Phase.TREE, no_links),
    Rule("S.4", "Readable", Phase.TREE, readable),
    Rule("S.5", "Division reached", Phase.TREE, division_reached),
)
