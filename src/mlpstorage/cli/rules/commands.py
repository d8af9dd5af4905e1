"""The actions of `mlpstorage rules …`."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import NotFoundError, UsageError, did_you_mean
from mlpstorage.core.plan import Answer
from mlpstorage.core.rules import EDITIONS, Phase
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.kinds.rulebook import rulebook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
        "phase": entry.rule.phase.value,
        "divisions": [division.name for division in entry.rule.divisions],
        "editions": [*entry.rule.editions],
        "text": entry.text,
    }


def explain(options: ExplainOptions, _sources: Mapping[str, str]) -> Answer:
    """Everything that a rule asks; one number may be several functions."""
    if not options.id:
        raise UsageError("no rule is named", fix="give its number: mlpstorage rules explain 3.3.2")
    found = [entry for entry in rulebook() if entry.rule.id.lower() == options.id.lower()]
    if not found:
        known = dict.fromkeys(entry.rule.id for entry in rulebook())
        raise NotFoundError(
            f"there is no rule {options.id!r}",
            fix=f"{did_you_mean(options.id, known)}; mlpstorage rules list shows all",
        )
    return Answer(tuple(explained(entry) for entry in found), {
        "rules": [_document(entry) for entry in found]
    })  # fmt: skip


def explained(entry: Entry) -> Section:
    """What a rule asks, of whom and when."""
    rule = entry.rule
    return Section(
        f"{rule.id} {rule.title}",
        rows=(
            Row("benchmark", entry.group),
            Row("judged", _WHEN[rule.phase]),
            Row("division", entry.division),
            Row("editions", entry.editions),
        ),
        lines=tuple(entry.text.splitlines()),
    )


_WHEN = {
    Phase.PLAN: "before a run",
    Phase.RESULT: "after a run",
    Phase.SET: "of the runs that belong together",
    Phase.TREE: "of a submission",
}
