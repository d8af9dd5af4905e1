"""Help: complete, plain, and readable at any width."""

from __future__ import annotations

import dataclasses
import re
import shlex

import pytest

from mlpstorage.__main__ import run
from mlpstorage.cli import app, perform
from mlpstorage.cli.binding import flag_of, load
from mlpstorage.cli.examples import examples_of
from mlpstorage.cli.groups import GROUPS
from mlpstorage.cli.help import grouped_options, is_required, usage_line
from mlpstorage.core.options import opt_of

COMMANDS = [(group, verb) for group in GROUPS for verb in group.verbs]
NAMES = [f"{group.name} {verb.name}" for group, verb in COMMANDS]


@pytest.mark.parametrize(("group", "verb"), COMMANDS, ids=NAMES)
@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_of_a_command_names_every_option(
    capsys: pytest.CaptureFixture[str], group: object, verb: object, word: str
) -> None:
    """Every flag, its short name and the required ones are on the help page, which exits 0."""
    assert run([group.name, verb.name, word]) == 0  # type: ignore[attr-defined]  # a fixture value
    text = capsys.readouterr().out
    words = text.replace(",", " ").split()
    fields = dataclasses.fields(load(verb.options))  # type: ignore[attr-defined]  # as above
    for field in fields:
        assert flag_of(field) in words
        assert not opt_of(field).short or opt_of(field).short in words
    usage = text.partition("\n\n")[0]
    required = [flag_of(field) for field in fields if field.default is dataclasses.MISSING]
    # What can be given by its place alone stands there by its name.
    assert [f for f in required if f in usage or f[2:].upper() in usage.split()] == required
    assert len(usage_line(group, verb)) == len(" ".join(usage.split()))  # type: ignore[arg-type]  # as above
    assert "MLPSTORAGE_" in text


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_the_first_page_names_every_group_and_exit_code(
    capsys: pytest.CaptureFixture[str], argv: list[str]
) -> None:
    """Without words, or with --help, the groups and the exit codes are listed."""
    assert run(argv) == 0
    text = capsys.readouterr().out
    for group in GROUPS:
        assert f"  {group.name} " in text
    for code in ("0 success", "2 usage", "3 not", "4 permission", "7 time", "130 interrupted"):
        assert code in " ".join(text.split())


# A group whose one command has no name of its own is a command itself.
NAMED = [group for group in GROUPS if all(verb.name for verb in group.verbs)]


@pytest.mark.parametrize("group", NAMED, ids=[group.name for group in NAMED])
def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str], group: object) -> None:
    """A group's name alone, or with --help, lists its commands."""
    name: str = group.name  # type: ignore[attr-defined]  # a fixture value
    for argv in ([name], [name, "--help"]):
        assert run(argv) == 0
        text = capsys.readouterr().out
        for verb in group.verbs:  # type: ignore[attr-defined]  # as above
            assert f"  {verb.name} " in text


@pytest.mark.parametrize("columns", ["1", "-5", "x", "60", "1000"])
def test_any_width_gives_a_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """Lines fit a terminal of usual width, and a nonsense width does no harm."""
    monkeypatch.setenv("COLUMNS", columns)
    assert run(["training", "run", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 100


@pytest.mark.parametrize(("group", "verb"), COMMANDS, ids=NAMES)
def test_help_fits_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    group: object,
    verb: object,
) -> None:
    """In 80 columns no line is broken by the terminal, and no word by the page."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([group.name, verb.name, "--help"]) == 0  # type: ignore[attr-defined]  # fixture values
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for field in dataclasses.fields(load(verb.options)):  # type: ignore[attr-defined]  # as above
        words = opt_of(field).text.split()
        assert " ".join(words) in " ".join(text.split())


@pytest.mark.parametrize(("group", "verb"), COMMANDS, ids=NAMES)
def test_groups_of_options_have_an_order(
    capsys: pytest.CaptureFixture[str], group: object, verb: object
) -> None:
    """What is measured comes first, what is printed last; what must be given leads its group."""
    assert run([group.name, verb.name, "-h"]) == 0  # type: ignore[attr-defined]  # fixture values
    titles = re.findall(r"^([a-z][a-z ,]*):$", capsys.readouterr().out, re.MULTILINE)
    for first in ("arguments", "what is measured"):
        assert first not in titles[2:]
    assert "output" not in titles[:-1]
    for _, fields in grouped_options(verb):  # type: ignore[arg-type]  # as above
        needs = [is_required(field) for field in fields]
        assert needs == sorted(needs, reverse=True)


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        (["help"], ["--help"]),
        (["help", "training"], ["training", "--help"]),
        (["help", "training", "run"], ["training", "run", "--help"]),
        (["help", "explain"], ["explain", "--help"]),
        (["training", "help"], ["training", "--help"]),
        (["training", "help", "run"], ["training", "run", "--help"]),
    ],
)
def test_help_is_a_word_too(
    capsys: pytest.CaptureFixture[str], asked: list[str], same: list[str]
) -> None:
    """`mlpstorage help COMMAND` shows what `mlpstorage COMMAND --help` shows."""
    assert run(same) == 0
    page = capsys.readouterr().out
    assert run(asked) == 0
    assert capsys.readouterr().out == page


def test_help_of_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """Help of what does not exist names what does."""
    assert run(["trainin", "--help"]) == 2
    assert "did you mean training?" in capsys.readouterr().err
    for words in (["training", "rum", "--help"], ["help", "training", "rum"]):
        assert run(words) == 2
        assert "did you mean run?" in capsys.readouterr().err


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the program's name and version."""
    assert run(["--version"]) == 0
    assert len(capsys.readouterr().out.split()) == 2


def test_the_first_page_is_one_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without words, everything there is fits 24 lines of 80 columns, with a way to begin."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("begin: mlpstorage training run") for line in lines)


@pytest.mark.parametrize(("group", "verb"), COMMANDS, ids=NAMES)
def test_every_command_has_examples_that_parse(
    group: object, verb: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The examples are of this command, stand in its help, and are understood flag by flag."""
    names = [word for word in (group.name, verb.name) if word]  # type: ignore[attr-defined]  # a fixture value
    assert run([*names, "--help"]) == 0
    page = " ".join(capsys.readouterr().out.replace("\\\n", " ").split())
    examples = examples_of(group.name, verb.name)  # type: ignore[attr-defined]  # as above
    assert examples
    taken: list[tuple[object, ...]] = []

    def take(*given: object) -> int:
        taken.append(given)
        return 0

    monkeypatch.setattr(perform, "perform", take)
    for example in examples:
        assert " ".join(example.split()) in page
        _, *words = shlex.split(example.partition(" > ")[0].rpartition("&& ")[2])
        assert words[: len(names)] == names
        assert app.run(words) == 0
    assert len(taken) == len(examples)
