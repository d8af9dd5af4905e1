"""What the documentation shows is what the program understands."""

from __future__ import annotations

import contextlib
import itertools
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.cli import app, perform
from mlpstorage.core.errors import UsageError
from mlpstorage.kinds.training.workload import packaged_models, resolve_workload

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
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


LINKED = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)]*))?\)")


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as the hosts of repositories make them."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def links_of(page: Path) -> list[tuple[Path, str]]:
    """Every relative link of a page: its file and its anchor, which may be empty."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    return [
        ((page.parent / target).resolve() if target else page, anchor)
        for target, anchor in _LINK.findall(text)
    ]


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file, and every anchor a heading of it."""
    for target, anchor in links_of(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors_of(target), f"{target}#{anchor}"


def test_every_page_is_reached_from_the_readme() -> None:
    """A reader who follows links finds every page."""
    reached = [ROOT / "README.md"]
    for page in reached:
        found = {target for target, _ in links_of(page) if target.suffix == ".md"}
        reached += sorted(found.difference(reached))
    assert set(LINKED) == set(reached)


def test_the_table_of_training_is_the_workloads() -> None:
    """Model, accelerator, samples, seconds, rate, floor and edition are those that a run uses."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) (\w+) \| (\w+), (\d+) per file \| (.*) \|$", page, re.MULTILINE)
    shown = set()
    for model, accelerator, form, samples, rest in rows:
        workload = resolve_workload(model, accelerator).workload
        seconds = workload.train.computation_time
        rate = workload.read_bytes * workload.reader.batch_size / seconds
        assert (form, int(samples)) == (
            workload.dataset.format,
            workload.dataset.num_samples_per_file,
        )
        assert rest == (
            f"{workload.reader.batch_size} | {seconds:g} | {rate / 1e9:.2f} GB/s | "
            f"{100 * workload.metric.au:g} % | {workload.edition}"
        )
        shown.add((model, accelerator))
    assert shown == set(figures())


def figures() -> Iterator[tuple[str, str]]:
    """Every packaged model with every accelerator that it has figures for."""
    for model, accelerator in itertools.product(
        packaged_models(), ("a100", "h100", "b200", "mi355")
    ):
        with contextlib.suppress(UsageError):
            resolve_workload(model, accelerator)
            yield model, accelerator
