"""Judging a whole submission: structure, sets and runs, each rule whatever came of the others."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.rules import Category, Phase, judge
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.kinds import KINDS, tree_evidence_rules
from mlpstorage.kinds import tree_rules as structure_rules
from mlpstorage.kinds.rulebook import title_of
from mlpstorage.kinds.tree import read_tree, where
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
        "findings": [
            {
                "place": placed.place,
                **asdict(placed.finding),
                "category": placed.finding.category.name,
            }
            for placed in judgement.findings
        ],
        "not_recorded": [
            {"place": place, "rule": rule.rule, "title": rule.title, "why": rule.why}
            for place, rule in judgement.unjudged
        ],
    }


def sections_of(judgement: Judgement) -> tuple[Section, ...]:
    """The judgement for people: the workloads, then the findings, the worst first."""
    word = "may be submitted" if judgement.is_valid else "is INVALID"
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
