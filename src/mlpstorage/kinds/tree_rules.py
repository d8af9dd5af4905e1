"""The rules of a submission's structure: each a pure function, named by its number.

Numbers are those of the MLPerf Storage rules (v3.0 numbering), as far as known; `S.…` are our own.
The first round's layout is judged by the rules of its sets alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlpstorage.core.rules import SINCE_SECOND, SINCE_THIRD, Category, Issue, Phase, Rule
from mlpstorage.kinds.tree import Listing, of_kind, where
from mlpstorage.store.layout import METADATA_SUFFIX
from mlpstorage.store.places import BENCHMARKS, DIVISIONS
from mlpstorage.store.published import CONFIG_FOLDERS
from mlpstorage.store.runs import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.reporting import Member
    from mlpstorage.kinds.tree import Tree

_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_TOP = frozenset({*DIVISIONS, "code-images"})
_PARTS = {"results", "systems"}
_OPTIONAL_PARTS = {"code", "submission.yaml"}
_PHASES = frozenset({"datasize", "datagen", "run", "set"})
_CONFIG = ("config.yaml", "hydra.yaml", "overrides.yaml")


def tree_issue(
    rule: str,
    what: str,
    place: str,
    expected: str = "",
    actual: str = "",
    fix: str = "",
    category: Category = Category.INVALID,
) -> Issue:
    """An issue whose parameter is a place in the tree."""
    return Issue(rule, category, what, place, expected, actual, fix)


def root_named(tree: Tree) -> Iterator[Issue]:
    """2.1.1: the root of one submitter's tree is named after the submitter.

    A root that holds several submitters cannot be; a name of its own is only remarked.
    """
    names = {submitter.name for submitter in tree.submitters}
    if len(names) == 1 and tree.root.name not in names:
        yield tree_issue(
            "2.1.1",
            "the root is not named after the submitter",
            ".",
            expected=min(names),
            actual=tree.root.name,
            fix="rename the root before it is submitted",
            category=Category.CLOSED,
        )


def top_level(tree: Tree) -> Iterator[Issue]:
    """2.1.2: at the top there are the divisions and the pool of code images, nothing else.

    Files, such as a list of checksums, are let be.
    """
    if not tree.submitters:
        yield tree_issue(
            "2.1.2",
            "there is no submission",
            ".",
            expected="closed/<organisation> or open/<organisation>",
            actual=", ".join(tree.top.directories) or "nothing",
            fix="name the root of the tree, above closed and open",
        )
    for name in tree.top.directories:
        if name.lower() not in _TOP:
            yield tree_issue(
                "2.1.2",
                "a directory that does not belong there",
                name,
                expected="closed, open, code-images",
                actual=name,
                fix="move it out of the tree",
            )


def submitter_directories(tree: Tree) -> Iterator[Issue]:
    """2.1.4: in a division there is one directory for each submitter, named with plain letters.

    Below closed and open there are directories only. Their names are of letters, digits, dots,
    dashes and underscores, and begin with neither dot nor dash; anything else is INVALID. Scripts
    read these names as parts of paths. The set of letters is our choice.
    """
    for division in tree.top.directories:
        if division.lower() not in DIVISIONS:
            continue
        listing = tree.top.below(division)
        for name in (*listing.files, *listing.others):
            yield tree_issue(
                "2.1.4",
                "not a submitter's directory",
                f"{division}/{name}",
                fix="move it out of the tree",
            )
        for name in listing.directories:
            if not _COMPONENT.fullmatch(name):
                yield tree_issue(
                    "2.1.4",
                    "a name that tools cannot handle",
                    f"{division}/{name}",
                    expected="letters, digits, dots, dashes and underscores",
                    actual=name,
                    fix="rename it",
                )


def submitter_parts(tree: Tree) -> Iterator[Issue]:
    """2.1.5: a submitter's directory has results and systems, and nothing else.

    The second round also had the code there.
    """
    for submitter in tree.submitters:
        listing, place = submitter.listing, where(tree, submitter.listing.path)
        for name in sorted(_PARTS - set(listing.directories)):
            yield tree_issue(
                "2.1.5",
                f"there is no directory {name}",
                place,
                expected=name,
                actual="absent",
                fix=f"add {name}",
            )
        allowed = _PARTS | _OPTIONAL_PARTS
        for name in (*listing.directories, *listing.files, *listing.others):
            if name not in allowed:
                yield tree_issue(
                    "2.1.5",
                    "something that does not belong there",
                    f"{place}/{name}",
                    expected="results, systems",
                    actual=name,
                    fix="move it out of the tree",
                )


def system_files(tree: Tree) -> Iterator[Issue]:
    """2.1.7: every system has a description (YAML) and a diagram or data sheet (PDF).

    For each `systems/<name>.yaml` (or .yml) there is a `systems/<name>.pdf`, and the other way
    round; one that is missing is INVALID. What is in the YAML is judged by S.1, the PDF is for
    people.
    """
    for submitter in tree.submitters:
        files = submitter.systems.files
        yaml = {name.rpartition(".")[0] for name in files if name.endswith((".yaml", ".yml"))}
        pdf = {name.rpartition(".")[0] for name in files if name.endswith(".pdf")}
        place = where(tree, submitter.systems.path)
        for name in sorted(yaml ^ pdf):
            missing = "pdf" if name in yaml else "yaml"
            yield tree_issue(
                "2.1.7",
                "a system lacks one of its two files",
                f"{place}/{name}.{missing}",
                expected=f"{name}.yaml and {name}.pdf",
                actual=f"no {name}.{missing}",
                fix=f"add {name}.{missing}",
            )


def system_names(tree: Tree) -> Iterator[Issue]:
    """2.1.8: every directory of results is named after a system that is described, and none lacks.

    2.1.9, one configuration in each, is judged set by set.
    """
    for submitter in tree.submitters:
        described = {
            name.rpartition(".")[0]
            for name in submitter.systems.files
            if name.endswith((".yaml", ".yml"))
        }
        measured = set(submitter.results.directories)
        for name in sorted(measured - described):
            yield tree_issue(
                "2.1.8",
                "results of a system that is not described",
                where(tree, submitter.results.path / name),
                expected=f"systems/{name}.yaml",
                actual="absent",
                fix="describe it: reports package makes a draft",
            )
        for name in sorted(described - measured):
            yield tree_issue(
                "2.1.8",
                "a system without results",
                where(tree, submitter.systems.path / f"{name}.yaml"),
                expected=f"results/{name}",
                actual="absent",
                fix="remove its files, or add its results",
            )


def benchmark_directories(tree: Tree) -> Iterator[Issue]:
    """2.1.10: below a system there are benchmarks.

    The text names training and checkpointing only, although trees of the two others exist: here all
    four.
    """
    for submitter in tree.submitters:
        for system in submitter.results.directories:
            listing = submitter.results.below(system)
            for name in (*listing.directories, *listing.others):
                if name not in BENCHMARKS:
                    yield tree_issue(
                        "2.1.10",
                        "not a benchmark",
                        where(tree, listing.path / name),
                        expected=", ".join(BENCHMARKS),
                        actual=name,
                        fix="move it out of the tree",
                    )


def phase_directories(tree: Tree) -> Iterator[Issue]:
    """2.1.12: a workload of training has datasize, datagen and run.

    Each `training/<model>` has the directories datasize, datagen and run; one that is missing, or
    another one, is INVALID. Beside them `set` is allowed, which has our records of sets.
    """
    for folder in of_kind(tree, "training"):
        have = set(folder.listing.directories)
        for name in ("datasize", "datagen", "run"):
            if name not in have:
                yield tree_issue(
                    "2.1.12",
                    f"there is no {name}",
                    where(tree, folder.listing.path),
                    expected="datasize, datagen, run",
                    actual=", ".join(sorted(have)),
                    fix=f"add the results of {name}",
                )
        for name in sorted(have - _PHASES):
            yield tree_issue(
                "2.1.12",
                "not a phase of training",
                where(tree, folder.listing.path / name),
                expected="datasize, datagen, run",
                actual=name,
                fix="move it out of the tree",
            )


def one_generation(tree: Tree) -> Iterator[Issue]:
    """2.1.13: the data set of a workload was generated once.

    `training/<model>/datagen` has exactly one directory that is named after a time; otherwise the
    submission is INVALID. With several, nobody could tell which data were read.
    """
    for folder in of_kind(tree, "training"):
        listing = folder.listing.below("datagen")
        if "datagen" in folder.listing.directories and len(listing.runs) != 1:
            yield tree_issue(
                "2.1.13",
                "not one generation",
                where(tree, listing.path),
                expected="1 directory",
                actual=str(len(listing.runs)),
                fix="keep the one that made the data",
            )


def generation_files(tree: Tree) -> Iterator[Issue]:
    """2.1.14: a generation has its record and its logs.

    The text asks for a summary and per-epoch figures, which DLIO does not write when it only
    generates: not so here.
    """
    for folder in tree.folders:
        for member in folder.generated:
            yield from _missing(tree, member, "2.1.14", generates=True)


def run_results(tree: Tree) -> Iterator[Issue]:
    """2.1.16: beside the runs of a workload stands their report, results.json.

    In training it is in the run directory, in checkpointing (2.1.22) in the workload's.
    """
    for folder in tree.folders:
        number, listing = (
            ("2.1.16", folder.listing.below("run"))
            if folder.kind == "training"
            else ("2.1.22", folder.listing)
        )
        if folder.kind in {"training", "checkpointing"} and "results.json" not in listing.files:
            yield tree_issue(
                number,
                "there is no report of the runs",
                where(tree, listing.path),
                expected="results.json",
                actual="absent",
                fix="run reports reportgen on the directory",
            )


def run_files(tree: Tree) -> Iterator[Issue]:
    """2.1.19: every run has its record, summary, outputs of ranks, and logs.

    Of this program: metadata, summary.json, a `<rank>_output.json` of every rank, the journal. Of
    DLIO: its outputs, per-epoch figures, summary and dlio.log, and (2.1.20) its configuration.
    """
    for folder in tree.folders:
        for member in folder.members:
            if member.run.command == "run":
                yield from _missing(tree, member, "2.1.19", generates=False)


def _missing(tree: Tree, member: Member, rule: str, *, generates: bool) -> Iterator[Issue]:
    run = member.run
    if run.place.round == "v1.0":
        return
    listing = Listing.of(run.directory)
    place = where(tree, run.directory)
    ours = run.origin == OURS
    endings = (_OURS if ours else _DLIO)["datagen" if generates else "run"]
    if ours and run.ranks and not generates:
        endings = (*endings, f"{run.ranks - 1}_output.json")
    for ending in endings:
        if not any(name.endswith(ending) for name in listing.files):
            yield tree_issue(
                rule,
                "a file is missing",
                place,
                expected=f"*{ending}",
                actual="absent",
                fix="restore it from the results, or leave the run out",
            )
    if not ours and run.kind in _DLIO_KINDS:
        yield from _missing_configuration(listing, place, "2.1.15" if generates else "2.1.20")


def _missing_configuration(listing: Listing, place: str, rule: str) -> Iterator[Issue]:
    folders = [name for name in CONFIG_FOLDERS if name in listing.directories]
    files = listing.below(folders[0]).files if folders else ()
    for name in _CONFIG:
        if name not in files:
            yield tree_issue(
                rule,
                "DLIO's configuration is missing",
                place,
                expected=f"dlio_config/{name}",
                actual="absent",
                fix="restore it from the results",
            )


_OURS = {
    "run": (METADATA_SUFFIX, "summary.json", "events.jsonl", ".stdout.log", "_cluster_info.json"),
    "datagen": (METADATA_SUFFIX, "summary.json", "events.jsonl"),
}
_DLIO = {
    "run": ("output.json", "per_epoch_stats.json", "summary.json", "dlio.log"),
    "datagen": ("dlio.log",),
}
_DLIO_KINDS = frozenset({"training", "checkpointing"})

TREE_RULES: tuple[Rule[Tree], ...] = (
    Rule("2.1.1", "Name of the root", Phase.TREE, root_named, editions=SINCE_THIRD),
    Rule("2.1.2", "Top of the tree", Phase.TREE, top_level),
    Rule("2.1.4", "Directories of submitters", Phase.TREE, submitter_directories),
    Rule("2.1.5", "Parts of a submission", Phase.TREE, submitter_parts, editions=SINCE_SECOND),
    Rule("2.1.7", "Files of a system", Phase.TREE, system_files, editions=SINCE_SECOND),
    Rule("2.1.8", "Names of systems", Phase.TREE, system_names, editions=SINCE_SECOND),
    Rule("2.1.10", "Benchmarks", Phase.TREE, benchmark_directories, editions=SINCE_SECOND),
    Rule("2.1.12", "Phases of training", Phase.TREE, phase_directories, editions=SINCE_SECOND),
    Rule("2.1.13", "One generation", Phase.TREE, one_generation, editions=SINCE_SECOND),
    Rule("2.1.14", "Files of a generation", Phase.TREE, generation_files, editions=SINCE_SECOND),
    Rule("2.1.16", "Report of the runs", Phase.TREE, run_results, editions=SINCE_SECOND),
    Rule("2.1.19", "Files of a run", Phase.TREE, run_files, editions=SINCE_SECOND),
)
