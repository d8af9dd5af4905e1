"""`mlpstorage explain`: whatever a verdict or doctor names can be asked about."""

from __future__ import annotations

import ast
import inspect
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.__main__ import run
from mlpstorage.cli.explain.commands import ids
from mlpstorage.cli.rules.told import told_by
from mlpstorage.core.rules import Category, Issue
from mlpstorage.kinds.rulebook import rulebook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ask = Callable[..., list[dict[str, Any]]]

LEAST = 3


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """What explain says, as JSON."""

    def call(*words: str) -> list[dict[str, Any]]:
        assert run(["explain", *words, "--json"]) == 0
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["findings"]
        return found

    return call


@pytest.mark.parametrize("word", ids())
def test_every_finding_is_explained(ask: Ask, word: str) -> None:
    """Each id has a title, whom it is about, who judges it and a sentence."""
    found = ask(word)
    assert found
    titled = [one for one in found if word in one["title"]]
    assert titled or word not in {entry.rule.id for entry in rulebook()}
    for one in found:
        assert len(one["text"]) > 20
        assert one["about"]
        assert one["judged_by"]


def test_entries_of_one_number_tell_apart(ask: Ask) -> None:
    """A number that a run and a submission are judged by says which of them each entry is."""
    abouts = [one["about"] for one in ask("3.1.2")]
    assert abouts == ["a training run, before it starts", "the training runs of a submission tree"]


def test_what_mends_it_is_what_the_rule_says(ask: Ask) -> None:
    """The advice is the one that the finding itself gives."""
    (plan, _) = ask("3.1.2")
    assert plan["to_mend_it"] == ["generate what `training datasize` asks for"]


def test_without_an_id_everything_is_listed(
    ask: Ask, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules, checks and what is found of runs are listed, and how to ask about one."""
    listed = {one["id"] for one in ask()}
    assert listed <= set(ids())
    assert {entry.rule.id for entry in rulebook()} < listed
    assert {"places.shared", "run.incomplete"} < listed
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["explain"]) == 0
    text = capsys.readouterr().out
    assert "mlpstorage explain ID" in text
    assert max(map(len, text.splitlines())) <= 80


def test_every_number_in_a_rule_is_explained() -> None:
    """Any number that stands in the code of a rule can be asked about."""
    for module in {inspect.getmodule(entry.rule.check) for entry in rulebook()}:
        assert module is not None
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Issue":
                number = node.args[0]
                if isinstance(number, ast.Constant):
                    assert number.value in ids()


def test_ids_are_taken_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    """A rule's letter may be small."""
    assert run(["explain", "t.3"]) == 0
    assert "T.3" in capsys.readouterr().out
    assert run(["rules", "explain", "t.3"]) == 0


def test_an_unknown_finding_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped id names the nearest, and where all are listed."""
    assert run(["explain", "places.shard"]) == 3
    error = capsys.readouterr().err
    assert "did you mean places.shared?" in error
    assert "`mlpstorage explain` lists all" in error


def helper(number: str) -> Iterator[Issue]:
    """A function that makes findings for a rule."""
    yield Issue(number, Category.OPEN, "so", fix=f"give {LEAST:.1f} or more")


def check(subject: int) -> Iterator[Issue]:
    """X.1: the subject of the test below."""
    if subject < 0:
        fix = "add" if subject < -LEAST else f"take {subject} away"
        yield Issue("X.2", Category.OPEN, "so", fix="name it" if subject == -1 else "leave it")
        yield Issue("X.1", Category.OPEN, "so", fix=fix)
        yield Issue("X.1", Category.OPEN, "so", fix=f"take {subject} away")
    yield from helper("X.3")


def test_the_code_is_read_as_it_would_speak() -> None:
    """Constants have their values, others a word; functions that find for a rule are read too."""
    told = told_by(check)
    assert told.numbers == ("X.2", "X.1", "X.3")
    assert told.fixes == (
        "name it",
        "leave it",
        "take SUBJECT away",
        "give 3.0 or more",
    )


def test_rules_say_what_mends_their_findings() -> None:
    """Nearly every rule has advice, and none of it is a piece of code."""
    without = [entry.rule.id for entry in rulebook() if not told_by(entry.rule.check).fixes]
    assert len(without) <= len(rulebook()) // 20, without
    for entry in rulebook():
        for fix in told_by(entry.rule.check).fixes:
            assert not re.search(r"[{}]", fix), fix
