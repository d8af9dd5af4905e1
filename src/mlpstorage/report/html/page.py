"""Writes the report: one HTML file without a reference to anything outside it.

Texts are escaped by the templates' engine. Should anything slip through, the page's own policy
lets nothing but its one script run, by its hash, and nothing be loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from mlpstorage.core.units import format_seconds
from mlpstorage.report.html.budget import Budget
from mlpstorage.report.html.scales import number
from mlpstorage.report.html.views import overviews, set_page
from mlpstorage.report.limits import words
from mlpstorage.report.table import counted
from mlpstorage.store.codec import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jinja2 import Environment

    from mlpstorage.report.html.views import SetPage
    from mlpstorage.report.model import ReportDocument, Spread

_LONGEST_TEXT = 2000
_OPEN_SETS = 3


@dataclass(frozen=True)
class _SetEntry:
    """A set in the page: its heading, and its body as HTML or packed."""

    page: SetPage
    state: str
    body: str
    packed: str
    is_open: bool


def write_html(document: ReportDocument, path: Path) -> None:
    """Write the report in one step; a reader never meets half of it.

    Raises:
        AccessError, NotFoundError, ConfigurationError: the file cannot be written.
    """
    write_text(path, render(document))


def render(document: ReportDocument, budget: Budget | None = None) -> str:
    """The report as HTML; `budget` is worked out from the number of runs unless it is given."""
    runs = sum(len(one.runs) for one in document.sets)
    spent = budget or Budget.of(runs)
    environment = _environment()
    script, style = _resource("report.js"), _resource("report.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    states = [one.state for one in document.sets]
    return environment.get_template("report.html.j2").render(
        document=document,
        runs=runs,
        sets=sum(not one.not_a_set for one in document.sets),
        singles=sum(bool(one.not_a_set) for one in document.sets),
        overviews=overviews(document),
        tally={state: states.count(state) for state in dict.fromkeys(states)},
        entries=_entries(document, spent, environment),
        packed=spent.packed,
        script=script,
        style=style,
        policy=(
            "default-src 'none'; style-src 'unsafe-inline'; "
            f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
        ),
    )


def _entries(
    document: ReportDocument, budget: Budget, environment: Environment
) -> Iterator[_SetEntry]:
    template = environment.get_template("set.html.j2")
    for index, one in enumerate(document.sets):
        page = set_page(index, one, budget)
        body = template.render(page=page)
        yield _SetEntry(
            page,
            one.state,
            "" if budget.packed else body,
            _packed(body) if budget.packed else "",
            not budget.packed and len(document.sets) <= _OPEN_SETS,
        )


def _packed(html: str) -> str:
    """The text as the page's script unpacks it: zlib, base64."""
    return base64.b64encode(zlib.compress(html.encode("utf-8", "backslashreplace"), 6)).decode()


def _resource(name: str) -> str:
    files = resources.files("mlpstorage.report.html") / "templates" / name
    return files.read_text(encoding="utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mlpstorage.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "seconds": format_seconds,
        "clip": clip,
        "strip_marks": strip_of,
        "counted": counted,
        "limited": words,
        "words": lambda text: str(text).replace("_", " "),
        "moment": lambda text: clip(str(text)[:16].replace("T", " ")),
    }
    return environment


def clip(text: str) -> str:
    """A text of others, of a length that a page can show.

    >>> clip("short"), clip("x" * 3000)[2000:]
    ('short', ' … (1,000 more letters)')
    """
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[:_LONGEST_TEXT]} … ({len(text) - _LONGEST_TEXT:,} more letters)"


def strip_of(spread: Spread) -> list[float]:
    """Where the runs of a set lie around their mean, in percent of a strip.

    The strip is 5 % of the mean to each side, the most that measured runs may differ, or more
    where they differ by more.
    """
    if not spread.mean:
        return [50.0 for _ in spread.values]
    away = [value / spread.mean - 1 for value in spread.values]
    reach = max(0.05, *(abs(one) for one in away))
    return [round(50 + 46 * one / reach, 1) for one in away]
