from __future__ import annotations

import re
from pathlib import Path

import mlpstorage
from mlpstorage.core.rules import EDITIONS, Category, Issue, Phase, Rule, judge, not_recorded
from mlpstorage.kinds import KINDS
from mlpstorage.kinds.rule_page import rule_page
from mlpstorage.kinds.rulebook import rulebook, title_of

PAGE = Path(__file__).parents[2] / "docs" / "rules.md"


def test_the_documentation_has_every_rule() -> None:
    """docs/rules.md is what docs/make_rules.py writes."""
    assert PAGE.read_text(encoding="utf-8") == rule_page(), "run python docs/make_rules.py"


def test_every_kind_and_phase_has_rules() -> None:
    """Each kind is judged before, after and as a set; trees as trees."""
    phases = {(entry.group, entry.rule.phase) for entry in rulebook()}
    for group in KINDS:
        assert {(group.name, p) for p in (Phase.PLAN, Phase.RESULT, Phase.SET)} <= phases
    assert ("trees", Phase.TREE) in phases


def test_rules_say_what_they_are() -> None:
    """Every rule has a number, a title, a text that begins with its number, and known editions."""
    for entry in rulebook():
        rule = entry.rule
        assert re.fullmatch(r"(?:[A-Z]|[0-9]+)(?:\.[0-9]+)+", rule.id), rule
        assert rule.title
        doc = rule.check.__doc__ or ""
        assert rule.id in doc.partition(":")[0], (rule.id, doc)
        assert entry.text
        assert not entry.text.startswith(rule.id)
        assert set(rule.editions) <= set(EDITIONS)
        assert set(rule.divisions) <= {Category.CLOSED, Category.OPEN}


def test_every_number_that_a_finding_may_have_is_a_rule() -> None:
    """What stands in a verdict can be looked up."""
    sources = (Path(mlpstorage.__file__).parent / "kinds").rglob("*.py")
    number = re.compile(r"(?:Issue|_changed|same_place)\(\s*\"([A-Z0-9]+(?:\.[0-9]+)+)\"")
    used = {found for path in sources for found in number.findall(path.read_text("utf-8"))}
    assert len(used) > 60
    assert {found for found in used if not title_of(found)} == set()


def test_titles() -> None:
    """A finding's number is enough to find the title of its rule."""
    assert title_of("3.3.2") == "Accelerator utilisation"
    assert title_of("9.9.9") == ""


def ask(value: int) -> list[Issue]:
    """A rule that finds fault with negative numbers."""
    return [Issue("X.1", Category.INVALID, "negative")] if value < 0 else []


def test_editions_and_what_is_not_recorded() -> None:
    """A rule is judged in its editions only, and not where its subject says too little."""
    rules = (
        Rule("X.1", "Sign", Phase.SET, ask, editions=("2.0",)),
        Rule("X.2", "Sign", Phase.SET, ask, lacks=lambda value: "the sign" if value == -7 else ""),
    )
    assert len(list(judge(rules, -1, phase=Phase.SET, edition="2.0"))) == 2
    assert len(list(judge(rules, -1, phase=Phase.SET, edition="3.0"))) == 1
    assert len(list(judge(rules, -7, phase=Phase.SET, edition="3.0"))) == 0
    assert len(list(judge(rules, -1, phase=Phase.PLAN))) == 0
    told = [(rule.id, why) for rule, why in not_recorded(rules, -7, edition="2.0")]
    assert told == [("X.2", "the sign")]
