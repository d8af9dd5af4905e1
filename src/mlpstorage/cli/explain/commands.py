"""The action of `mlpstorage explain`: rules, checks and what is found of runs, by one id."""

from __future__ import annotations

import inspect
from itertools import groupby
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.rules.commands import entries_of, explained, near, numbers, when
from mlpstorage.cli.rules.told import told_by
from mlpstorage.core.errors import NotFoundError
from mlpstorage.core.plan import Answer
from mlpstorage.core.rules import INCOMPLETE, incomplete
from mlpstorage.core.section import Row, Section
from mlpstorage.kinds.rulebook import rulebook
from mlpstorage.preflight.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlpstorage.cli.explain.options import ExplainOptions
    from mlpstorage.preflight.checks import Check

_ENDED = "the run reached its end"
_INTERRUPTED = (
    "The user, a batch system or a closed connection ended the run before its work was done. "
    "What was complete by then is kept and reported, and the run is INVALID: figures of a part "
    "of the work are not those of the whole. A first interrupt finishes the step, a second ends "
    "the ranks on every host, a third leaves without waiting for them."
)


def explain(options: ExplainOptions, _sources: Mapping[str, str]) -> Answer:
    """What the finding with this id means, when it is looked for, and what mends it.

    Without an id, everything that can be found.
    """
    if not options.id:
        return _everything()
    sections = [*map(explained, entries_of(options.id)), *_others(options.id.lower())]
    if not sections:
        raise NotFoundError(
            f"there is no finding {options.id!r}",
            fix=f"{near(options.id, ids())}`mlpstorage explain` lists all: rules, checks, runs",
        )
    return Answer(tuple(sections), {"findings": [_document(section) for section in sections]})


def ids() -> list[str]:
    """Every id that can be explained."""
    return [*numbers(), *(check.id for check in CHECKS), INCOMPLETE]


def _others(wanted: str) -> Iterator[Section]:
    """What is found by a check, or of a run."""
    yield from (_check(check) for check in CHECKS if check.id.lower() == wanted)
    if wanted == INCOMPLETE:
        yield Section(
            f"{INCOMPLETE} {_ENDED}",
            rows=(
                Row("about", "a run that was interrupted"),
                Row("judged by", "every run"),
                Row("verdict", "INVALID"),
                Row("asked", _INTERRUPTED),
                *(Row("to mend it", fix) for fix in told_by(incomplete).fixes),
            ),
        )


def _check(check: Check) -> Section:
    return Section(
        f"{check.id} {check.title}",
        rows=(
            Row("about", f"{_where(check)}, before a run"),
            Row("judged by", "mlpstorage doctor, and every run before it starts"),
            Row("asked", " ".join((inspect.getdoc(check.find) or "").split())),
            Row("to mend it", "what doctor finds says it, for the host it finds it on"),
        ),
    )


def _where(check: Check) -> str:
    return "every host" if check.per_host else "this host"


def _document(section: Section) -> dict[str, Any]:
    """The section as JSON-ready values: its rows by their labels, what is asked as one text."""
    found: dict[str, Any] = {"title": section.title, "text": "", "to_mend_it": []}
    label = ""
    for row in section.rows:
        label = row.label or label
        if label in {"to mend it", "or"}:
            found["to_mend_it"].append(row.value)
        elif label == "asked":
            found["text"] = f"{found['text']}\n\n{row.value}".strip()
        else:
            found[label.replace(" ", "_")] = row.value
    return found


def _everything() -> Answer:
    """Every finding by its id, with what it is about."""
    listed = [
        (f"rules of {group}", [(one.rule.id, one.rule.title, when(one)) for one in members])
        for group, members in groupby(rulebook(), key=lambda entry: entry.group)
    ]
    listed += [
        ("checks", [(check.id, check.title, _where(check)) for check in CHECKS]),
        ("runs", [(INCOMPLETE, _ENDED, "after a run")]),
    ]
    width = max(len(row[0]) for _, rows in listed for row in rows)
    sections = [
        Section(title, tuple(Row(name.ljust(width), text, note) for name, text, note in rows))
        for title, rows in listed
    ]
    document = [
        {"id": name, "title": text, "about": about}
        for _, rows in listed
        for name, text, about in rows
    ]
    return Answer(
        (*sections, Section("explain one: mlpstorage explain ID, such as 3.3.2 or places.shared")),
        {"findings": document},
    )
