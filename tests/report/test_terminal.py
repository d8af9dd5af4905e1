"""Sections as text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mlpstorage.core.section import Row, Section, Table
from mlpstorage.report.show import publish
from mlpstorage.report.terminal import render

if TYPE_CHECKING:
    import pytest


def test_columns_line_up() -> None:
    """Labels, values and notes stand in columns; tables are right-aligned but for the first."""
    section = Section(
        "result",
        rows=(Row("AU", "92 %", "floor 90 %"), Row("throughput", "21.00 samples/s")),
        table=Table(("epoch", "AU"), (("1", "9.00"), ("2", "92.00"))),
        lines=("done",),
    )
    assert render([section]).splitlines() == [
        "result",
        "  AU          92 %  floor 90 %",
        "  throughput  21.00 samples/s",
        "  epoch     AU",
        "  1       9.00",
        "  2      92.00",
        "  done",
    ]


def test_json_has_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    """NaN and infinity become null, so that every JSON reader understands the document."""
    publish((), {"au": float("nan"), "list": [1.5, float("inf")]}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"au": None, "list": [1.5, None]}


def test_long_notes_go_on_below_their_beginning() -> None:
    """On a terminal a note wraps under itself; without a width, and for paths, nothing is cut."""
    note = "one two three four five six seven eight nine ten"
    section = Section("end", rows=(Row("AU", "92 %", note), Row("files", "/a/very/long/path" * 4)))
    assert render([section]).splitlines()[1] == f"  AU     92 %  {note}"
    wrapped = render([section], 40).splitlines()
    assert wrapped[1:3] == [
        "  AU     92 %  one two three four five",
        "               six seven eight nine ten",
    ]
    assert wrapped[-1] == f"  files  {'/a/very/long/path' * 4}"
    narrow = render([section], 24).splitlines()
    assert narrow[1] == "  AU     92 %"
    assert narrow[2].startswith(" " * 11 + "one")
