"""The reference pages are what the parser knows."""

from __future__ import annotations

import re
from pathlib import Path

from mlpstorage.cli.groups import GROUPS
from mlpstorage.cli.reference import main, pages

FOLDER = Path(__file__).parents[2] / "docs" / "reference"


def test_the_pages_are_true() -> None:
    """docs/reference is what `python -m mlpstorage.cli.reference docs/reference` writes now."""
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    made = pages()
    assert sorted(written) == sorted(made)
    stale = [name for name, text in made.items() if written[name] != text]
    assert stale == [], "write them anew: python -m mlpstorage.cli.reference docs/reference"


def test_writing_removes_pages_of_what_is_no_more(tmp_path: Path) -> None:
    """A page of a command that was removed goes; everything else stays as it is."""
    (tmp_path / "gone.md").write_text("old")
    (tmp_path / "notes.txt").write_text("mine")
    main(str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {*pages(), "notes.txt"}


def test_links_of_the_index_lead_somewhere() -> None:
    """The index links every group's page."""
    targets = re.findall(r"\]\(([^)]+)\)", (FOLDER / "index.md").read_text(encoding="utf-8"))
    assert targets == [f"{group.name}.md" for group in GROUPS]
    assert all((FOLDER / target).is_file() for target in targets)
