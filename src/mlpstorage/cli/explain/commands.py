"""The action of `mlpstorage explain`: rules, checks and what is found of runs, by one id."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.rules.commands import explained
from mlpstorage.core.errors import NotFoundError, did_you_mean
from mlpstorage.core.plan import Answer
from mlpstorage.core.rules import INCOMPLETE
from mlpstorage.core.section import Row, Section
from mlpstorage.kinds.rulebook import rulebook
from mlpstorage.preflight.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.explain.options import ExplainOptions

_INTERRUPTED = (
    "The user, a batch system or a closed connection ended the run before its work was done.",
    "What was complete by then is kept and reported, and the run is INVALID: figures of a part",
    "of the work are not those of the whole. A first interrupt finishes the step, a second ends",
    "the ranks on every host, a third leaves without waiting for them.",
)


def explain(options: ExplainOptions, _sources: Mapping[str, str]) -> Answer:
    """What the finding with this id means, when it is looked for, and what mends it."""
    wanted = options.id.lower()
    sections = (*_rules(wanted), *_checks(wanted), *_of_runs(wanted))
    if not sections:
        near = did_you_mean(options.id, ids())
        near = f"{near} " if near.startswith("did you mean") else ""
        raise NotFoundError(
            f"there is no finding {options.id!r}",
            fix=f"{near}`mlpstorage rules list` shows all rules, `mlpstorage doctor` its checks",
        )
    return Answer(sections, {"findings": [_document(section) for section in sections]})


def ids() -> list[str]:
    """Every id that can be explained."""
    rules = dict.fromkeys(entry.rule.id for entry in rulebook())
    return [*rules, *(check.id for check in CHECKS), INCOMPLETE]


def _rules(wanted: str) -> list[Section]:
    return [explained(entry) for entry in rulebook() if entry.rule.id.lower() == wanted]


def _checks(wanted: str) -> list[Section]:
    return [
        Section(
            f"{check.id}: {check.title}",
            rows=(
                Row("found by", "mlpstorage doctor", "and every benchmark before it starts"),
                Row("looked at", "on every host" if check.per_host else "here"),
            ),
            lines=tuple((inspect.getdoc(check.find) or "").splitlines()),
        )
        for check in CHECKS
        if check.id.lower() == wanted
    ]


def _of_runs(wanted: str) -> list[Section]:
    if wanted != INCOMPLETE:
        return []
    rows = (Row("found by", "every run", "that is interrupted"), Row("verdict", "INVALID"))
    return [Section(f"{INCOMPLETE}: the run reached its end", rows=rows, lines=_INTERRUPTED)]


def _document(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        **{row.label.replace(" ", "_"): f"{row.value} {row.note}".strip() for row in section.rows},
        "text": "\n".join(section.lines),
    }
