"""What the documentation shows is what the program understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from mlpstorage.cli import app, perform

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCED = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """Every mlpstorage command in a page's shell blocks, continuation lines joined."""
    found = []
    for block in _FENCED.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            text = line.removeprefix("$ ").strip()
            match = re.search(r"(?:^|&& |/)mlpstorage (.*)", text)
            if match:
                found.append(re.split(r" [#>]", match[1])[0])
    return found


COMMANDS = [(page.name, text) for page in PAGES for text in commands_of(page)]


@pytest.mark.parametrize(("page", "text"), COMMANDS)
def test_documented_commands_parse(
    page: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command in the documentation is understood by the program, flag by flag."""
    seen: list[Any] = []

    def take(_action: object, options: object, *_: object) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(perform, "perform", take)
    assert app.run(shlex.split(text)) == 0, page
    assert seen or capsys.readouterr().out


def test_documentation_shows_commands() -> None:
    """The collection above does find commands."""
    assert len(COMMANDS) >= 5


def test_links_lead_somewhere() -> None:
    """Every relative link in the documentation is a file."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
