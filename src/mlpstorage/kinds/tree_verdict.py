"""Judging a whole submission: structure, sets and runs, each rule whatever came of the others."""

from __future__ import annotations

import importlib
import importlib.util
import shlex
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.kinds import KINDS, tree_evidence_rules
from mlpstorage.kinds import tree_rules as structure_rules
from mlpstorage.kinds.rulebook import title_of
from mlpstorage.kinds.tree import read_tree, where
from mlpstorage.kinds.tree_system import UNFILLED
from mlpstorage.report.model import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlpstorage.core.rules import Issue, Rule
    from mlpstorage.kinds.tree import Folder, Tree
    from mlpstorage.report.model import Unjudged


@dataclass(frozen=True)
class Placed:
    """A finding, and where in the tree it is about."""

    place: str
    finding: Finding


@dataclass(frozen=True)
class Judgement:
    """What came of a submission: every finding, and the verdict of every workload."""

    root: str
    edition: str
    findings: tuple[Placed, ...]
    workloads: tuple[tuple[str, str, Category | None], ...]
    unjudged: tuple[tuple[str, Unjudged], ...]

    @property
    def verdict(self) -> Category:
        """The worst of all findings; of a tree without any it is CLOSED."""
        return max(
            [Category.CLOSED, *(placed.finding.category for placed in self.findings)],
        )

    @property
    def is_valid(self) -> bool:
        """Whether it may be submitted: OPEN is no failure of what stands in open."""
        return self.verdict is not Category.INVALID


def tree_rules() -> tuple[Rule[Tree], ...]:
    """The rules of trees, of the structure first, then of each kind."""
    found = [*structure_rules.TREE_RULES, *tree_evidence_rules.TREE_RULES]
    for group in KINDS:
        home = f"mlpstorage.kinds.{group.name}.tree_rules"
        if importlib.util.find_spec(home):
            found += importlib.import_module(home).TREE_RULES
    return tuple(found)


def validate(root: Path, edition: str = "") -> Judgement:
    """Judge the submission below a root."""
    tree = read_tree(root, edition)
    findings = [
        Placed(issue.parameter, _finding(issue))
        for issue in judge(tree_rules(), tree, phase=Phase.TREE, edition=tree.edition)
    ]
    for folder in tree.folders:
        findings += _of_sets(tree, folder)
    return Judgement(
        root=str(root),
        edition=tree.edition,
        findings=tuple(findings),
        workloads=tuple(_workloads(tree)),
        unjudged=tuple(
            (where(tree, folder.listing.path), rule)
            for folder in tree.folders
            for one in folder.sets
            for rule in one.unjudged
        ),
    )


def _finding(issue: Issue) -> Finding:
    return Finding(
        issue.rule, title_of(issue.rule), issue.category, issue.what, issue.parameter,
        issue.expected, issue.actual, issue.fix, "tree",
    )  # fmt: skip


def _of_sets(tree: Tree, folder: Folder) -> Iterator[Placed]:
    for one in folder.sets:
        place = where(tree, folder.listing.path)
        for finding in one.findings:
            yield Placed(place, finding)
        for run in one.measured:
            for finding in run.findings:
                yield Placed(where(tree, run.directory), finding)


def _workloads(tree: Tree) -> Iterator[tuple[str, str, Category | None]]:
    for folder in tree.folders:
        for one in folder.sets:
            accelerator = f" {one.accelerator}" if one.accelerator else ""
            yield where(tree, folder.listing.path), f"{one.model}{accelerator}", one.verdict


def placed_json(placed: Placed) -> dict[str, Any]:
    """A finding and its place as JSON-ready values."""
    return {
        "place": placed.place,
        **asdict(placed.finding),
        "category": placed.finding.category.name,
    }


def as_json(judgement: Judgement) -> dict[str, Any]:
    """The judgement as JSON-ready values."""
    return {
        "root": judgement.root,
        "edition": judgement.edition,
        "valid": judgement.is_valid,
        "verdict": judgement.verdict.name,
        "workloads": [
            {"place": place, "workload": name, "verdict": verdict.name if verdict else None}
            for place, name, verdict in judgement.workloads
        ],
        "findings": [placed_json(placed) for placed in judgement.findings],
        "not_recorded": [
            {"place": place, "rule": rule.rule, "title": rule.title, "why": rule.why}
            for place, rule in judgement.unjudged
        ],
    }


@dataclass(frozen=True)
class Draft:
    """A tree that was just made: what only its submitter can add, and the judgement of the rest."""

    to_do: tuple[Placed, ...]
    rest: Judgement

    def sections(self) -> tuple[Section, ...]:
        """The draft for people."""
        if not self.to_do:
            return sections_of(self.rest)
        word = "lacks only what you have to add" if self.rest.is_valid else "is INVALID"
        rows = tuple(
            Row(placed.place, f"{placed.finding.what}; {placed.finding.fix}")
            for placed in self.to_do
        )
        then = (f"then judge it again: mlpstorage reports validate {shlex.quote(self.rest.root)}",)
        to_do = Section("still to be done by you", rows=rows, lines=then)
        return (*sections_of(self.rest, word), to_do)


def draft_of(judgement: Judgement) -> Draft:
    """The judgement of a tree without what packaging leaves to the submitter.

    That is the diagram of each system, and the parts of its description that nobody recorded.
    """
    to_do = tuple(placed for placed in judgement.findings if _is_left_to_do(placed.finding))
    rest = tuple(placed for placed in judgement.findings if placed not in to_do)
    return Draft(to_do, replace(judgement, findings=rest))


def _is_left_to_do(finding: Finding) -> bool:
    if finding.rule == "2.1.7":
        return finding.parameter.endswith(".pdf")
    return finding.rule == "S.1" and finding.what.startswith(UNFILLED)


def sections_of(judgement: Judgement, word: str = "") -> tuple[Section, ...]:
    """The judgement for people: the workloads, then the findings, the worst first.

    The title says `word` of the tree, by default whether it may be submitted.
    """
    word = word or ("may be submitted" if judgement.is_valid else "is INVALID")
    table = Table(
        ("workload", "set", "verdict"),
        tuple(
            (place, name, verdict.name if verdict else "not judged")
            for place, name, verdict in judgement.workloads
        ),
    )
    sections = [
        Section(
            f"{judgement.root} {word} by the rules of {judgement.edition}",
            table=table if table.body else None,
        )
    ]
    for category in sorted(Category, reverse=True):
        found = [placed for placed in judgement.findings if placed.finding.category is category]
        if found:
            title = {1: "remarks", 2: "OPEN", 3: "INVALID"}[category]
            rows = tuple(
                Row(placed.finding.rule, f"{placed.place}: {_text(placed.finding)}")
                for placed in found
            )
            sections.append(Section(f"{title}: {len(found)}", rows=rows))
    if judgement.unjudged:
        numbers = ", ".join(dict.fromkeys(rule.rule for _, rule in judgement.unjudged))
        rows = (Row("rules", numbers, "what they need is not in the tree"),)
        sections.append(Section("not recorded", rows=rows))
    return tuple(sections)


def _text(finding: Finding) -> str:
    detail = f" (expected {finding.expected}, is {finding.actual})" if finding.expected else ""
    fix = f"; fix: {finding.fix}" if finding.fix else ""
    return f"{finding.what}{detail}{fix}"
