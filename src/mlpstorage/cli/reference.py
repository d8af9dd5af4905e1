"""Reference pages in Markdown, from the same data as the parser and the help.

`python -m mlpstorage.cli.reference docs/reference` writes them; a test holds them true.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.examples import examples_of
from mlpstorage.cli.groups import GROUPS
from mlpstorage.cli.help import (
    EXIT_CODES,
    LAYERS,
    explanation,
    grouped_options,
    spelling,
    usage_line,
)

if TYPE_CHECKING:
    import dataclasses
    from collections.abc import Iterator

    from mlpstorage.core.commands import CommandGroup, Verb

_MADE = "<!-- made from the parser: python -m mlpstorage.cli.reference docs/reference -->"


def pages() -> dict[str, str]:
    """The text of every page by its file name: one a group, and an index."""
    made = {f"{group.name}.md": _text(_page(group)) for group in GROUPS}
    return {"index.md": _text(_index()), **made}


def _text(lines: Iterator[str]) -> str:
    return "\n".join((_MADE, "", *lines)).rstrip() + "\n"


def _index() -> Iterator[str]:
    yield "# mlpstorage: every command\n"
    for group in GROUPS:
        yield f"- [{group.name}]({group.name}.md): {group.summary}"
    yield "\n## Where an option's value comes from\n"
    yield LAYERS
    yield "\n## Exit codes\n"
    for code in EXIT_CODES.split(", "):
        number, _, meaning = code.partition(" ")
        yield f"- `{number}` {meaning}"


def _page(group: CommandGroup) -> Iterator[str]:
    yield f"# mlpstorage {group.name}\n"
    yield f"{group.summary}\n"
    for verb in group.verbs:
        yield from _command(group, verb)


def _command(group: CommandGroup, verb: Verb) -> Iterator[str]:
    name = f"mlpstorage {group.name} {verb.name}".rstrip()
    if verb.name:
        yield f"## {name}\n"
        yield f"{verb.summary}\n"
    yield f"```text\n{usage_line(group, verb)}\n```\n"
    examples = examples_of(group.name, verb.name)
    if examples:
        yield "```sh"
        yield from examples
        yield "```\n"
    for title, fields in grouped_options(verb):
        yield f"{'###' if verb.name else '##'} {title}\n"
        for field in fields:
            yield f"- `{spelling(field)}`  \n  {_cell(field)}"
        yield ""


def _cell(field: dataclasses.Field[Any]) -> str:
    return explanation(field).replace("<", "\\<")


def main(folder: str) -> None:
    """Write the pages, and remove those of commands that are no more."""
    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in home.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (home / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
