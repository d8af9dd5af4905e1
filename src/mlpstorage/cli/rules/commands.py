"""The actions of `mlpstorage rules …`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.rules.told import told_by
from mlpstorage.core.errors import NotFoundError, UsageError, did_you_mean
from mlpstorage.core.plan import Answer
from mlpstorage.core.rules import EDITIONS, Phase
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.kinds.rulebook import TREES, rulebook

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from mlpstorage.cli.rules.options import ExplainOptions, ListOptions
    from mlpstorage.kinds.rulebook import Entry


def list(options: ListOptions, _sources: Mapping[str, str]) -> Answer:  # noqa: A001 (the command's name)
    """Every rule: its number, title, phase, division and round."""
    entries = rulebook()
    for flag, value, known in (
        ("--kind", options.kind, dict.fromkeys(entry.group for entry in entries)),
        ("--phase", options.phase, [phase.value for phase in Phase]),
        ("--edition", options.edition, EDITIONS),
    ):
        if value and value not in known:
            raise UsageError(f"{flag} {value!r} is unknown", fix=did_you_mean(value, known))
    shown = [
        entry
        for entry in entries
        if options.kind in ("", entry.group)
        and options.phase in ("", entry.rule.phase.value)
        and (not options.edition or options.edition in entry.rule.editions)
    ]
    return Answer(tuple(_sections(shown)), {"rules": [_document(entry) for entry in shown]})


def _sections(entries: Iterable[Entry]) -> Iterable[Section]:
    for group, members in groupby(entries, key=lambda entry: entry.group):
        body = tuple(
            (f"{one.rule.id:<8}  {one.rule.title}", one.rule.phase.value, one.division,
             one.editions)
            for one in members
        )  # fmt: skip
        yield Section(group, table=Table(("rule", "phase", "division", "editions"), body))


def _document(entry: Entry) -> dict[str, Any]:
    return {
        "rule": entry.rule.id,
        "title": entry.rule.title,
        "kind": entry.group,
        "about": about(entry),
        "phase": entry.rule.phase.value,
        "divisions": [division.name for division in entry.rule.divisions],
        "editions": [*entry.rule.editions],
        "text": entry.text,
        "to_mend_it": [*told_by(entry.rule.check).fixes],
    }


def explain(options: ExplainOptions, _sources: Mapping[str, str]) -> Answer:
    """Everything that a rule asks; one number may be several functions."""
    found = entries_of(options.id)
    if not found:
        raise NotFoundError(
            f"there is no rule {options.id!r}",
            fix=f"{near(options.id, numbers())}mlpstorage rules list shows all",
        )
    documents = {"rules": [_document(entry) for entry in found]}
    return Answer(tuple(explained(entry) for entry in found), documents)


def entries_of(number: str) -> Sequence[Entry]:
    """The rules whose findings may bear a number, in either case; those that have it come first."""
    wanted = number.upper()
    found = [entry for entry in rulebook() if wanted in _numbers(entry)]
    return sorted(found, key=lambda entry: entry.rule.id != wanted)


def numbers() -> tuple[str, ...]:
    """Every number that a finding may bear, once, in the order of the rules."""
    return tuple(dict.fromkeys(number for entry in rulebook() for number in _numbers(entry)))


def _numbers(entry: Entry) -> tuple[str, ...]:
    return (entry.rule.id, *told_by(entry.rule.check).numbers)


def near(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a hint with a semicolon; nothing where none is near.

    >>> near("3.3.22", ["3.3.2", "T.1"]), near("x", ["3.3.2"])
    ('did you mean 3.3.2? ', '')
    """
    hint = did_you_mean(word, known)
    return f"{hint} " if hint.startswith("did you mean") else ""


def when(entry: Entry) -> str:
    """When a rule is judged, in short."""
    return _WHEN[entry.rule.phase]


def about(entry: Entry) -> str:
    """What a rule judges; a benchmark's rule of trees its runs, as a submission has them."""
    if entry.rule.phase is Phase.TREE:
        whose = "" if entry.group == TREES else f"the {entry.group} runs of "
        return f"{whose}a submission tree"
    return _ABOUT[entry.rule.phase].format(entry.group)


def explained(entry: Entry) -> Section:
    """What a rule asks, of whom and when, and what mends what it finds."""
    rule = entry.rule
    fixes = told_by(rule.check).fixes
    return Section(
        f"{rule.id} {rule.title}",
        rows=(
            Row("about", about(entry)),
            Row("judged by", _JUDGED[rule.phase]),
            Row("division", entry.division),
            Row("editions", entry.editions),
            *_labelled("asked", "", _paragraphs(entry)),
            *_labelled("to mend it", "or", fixes),
        ),
    )


def _labelled(first: str, others: str, texts: Sequence[str]) -> Iterator[Row]:
    for number, text in enumerate(texts):
        yield Row(others if number else first, text)


def _paragraphs(entry: Entry) -> tuple[str, ...]:
    """The text of a rule, a line a paragraph: whoever shows it breaks lines."""
    return tuple(" ".join(part.split()) for part in entry.text.split("\n\n"))


_WHEN = {
    Phase.PLAN: "before a run",
    Phase.RESULT: "after a run",
    Phase.SET: "a set of runs",
    Phase.TREE: "a submission",
}
_ABOUT = {
    Phase.PLAN: "a {} run, before it starts",
    Phase.RESULT: "a {} run, after its end",
    Phase.SET: "the {} runs that belong together",
}
_JUDGED = {
    Phase.PLAN: "every run before it starts; with --what-if, none is started",
    Phase.RESULT: "every run at its end, and mlpstorage reports reportgen",
    Phase.SET: "mlpstorage reports reportgen, and reports validate",
    Phase.TREE: "mlpstorage reports validate, and reports package",
}
