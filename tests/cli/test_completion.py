"""Completion in real shells: TABs are typed into bash, zsh and fish in a terminal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.cli.completion.shells import SHELLS
from mlpstorage.cli.completion.tree import branches, commands
from mlpstorage.cli.examples import examples_of
from mlpstorage.cli.groups import GROUPS
from shells_typed import TAB, TypedShell, is_here

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Program

    Start = Callable[[str, str], TypedShell]

README = Path(__file__).parents[2] / "README.md"
ZSH = "autoload -Uz compinit && compinit -D"
SOURCED = {"bash": "source ./script", "zsh": f"{ZSH}; source ./script", "fish": "source ./script"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a shell with the lines of its start-up file; its script is the file `script`."""
    begun: list[TypedShell] = []

    def begin(name: str, setup: str) -> TypedShell:
        if not is_here(name):
            pytest.skip(f"{name} is not installed")
        (tmp_path / "script").write_text(SHELLS[name].script())
        begun.append(TypedShell(name, tmp_path, setup))
        return begun[-1]

    yield begin
    for shell in begun:
        shell.leave()


@pytest.mark.parametrize("shell", list(SHELLS))
def test_a_tab_ends_words(start: Start, tmp_path: Path, shell: str) -> None:
    """Commands, flags, values and paths are completed, in every way of writing a flag."""
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data.yaml").write_text("")
    (tmp_path / "two words").mkdir()
    shell_ = start(shell, SOURCED[shell])
    run = ["training", "run"]
    for typed, words in (
        ("trai\t ru\t x", [*run, "x"]),
        ("training run --num-acc\t 8", [*run, "--num-accelerators", "8"]),
        ("training run --model un\t x", [*run, "--model", "unet3d", "x"]),
        ("training run --model=un\t x", [*run, "--model=unet3d", "x"]),
        ("training run -m un\t x", [*run, "-m", "unet3d", "x"]),
        ("training run --display jso\t x", [*run, "--display", "json", "x"]),
        ("training run --data-dir da\t", [*run, "--data-dir", "data"]),
        ("training run --data-dir=da\t", [*run, "--data-dir=data"]),
        ("training run -dd data/de\t", [*run, "-dd", "data/deep"]),
        ("training run -dd ~/da\t", [*run, "-dd", str(tmp_path / "data")]),
        ("training run -dd two\t", [*run, "-dd", "two words"]),
        ("training run --config-file data.\t x", [*run, "--config-file", "data.yaml", "x"]),
        ("training run --trial --params a.b=1 --mod\t x",
         [*run, "--trial", "--params", "a.b=1", "--model", "x"]),
        ("training run --params a.b=1 c.d=2 --mod\t x",
         [*run, "--params", "a.b=1", "c.d=2", "--model", "x"]),
        ("reports reportgen --kind training che\t x",
         ["reports", "reportgen", "--kind", "training", "checkpointing", "x"]),
        ("reports validate da\t", ["reports", "validate", "data"]),
        ("compare 3 da\t", ["compare", "3", "data"]),
        ("explain places.sh\t x", ["explain", "places.shared", "x"]),
        ("help trai\t da\tg\t", ["help", "training", "datagen"]),
    ):  # fmt: skip
        told = [word.removesuffix("/") for word in shell_.words(f"mlpstorage {typed}")]
        assert told == words, typed


@pytest.mark.parametrize("shell", list(SHELLS))
def test_nothing_is_offered_where_anything_may_stand(
    start: Start, tmp_path: Path, shell: str
) -> None:
    """A file is never offered in place of a command, a number, a switch or a free text."""
    (tmp_path / "trap").mkdir()
    shell_ = start(shell, SOURCED[shell])
    for begun in (
        "", "training ", "training run ", "training run --loops ", "training run --trial ",
        "training run --time-limit ", "history show ", "help ", "rules explain ",
    ):  # fmt: skip
        words = [*begun.split(), "tra", "x"]
        if begun in {"", "help "}:
            words = [*begun.split(), "training", "x"]
        assert shell_.words(f"mlpstorage {begun}tra{TAB} x") == words, begun


@pytest.mark.parametrize("shell", list(SHELLS))
def test_all_that_may_stand_is_offered(start: Start, tmp_path: Path, shell: str) -> None:
    """Groups, verbs, values and paths are listed whole; a directory is no place for a file."""
    (tmp_path / "data").mkdir()
    (tmp_path / "file.yaml").write_text("")
    shell_ = start(shell, SOURCED[shell])
    groups = {group.name for group in GROUPS}
    assert shell_.offers("mlpstorage ") == {*groups, "help"}
    assert shell_.offers("mlpstorage help ") == groups
    for branch in branches()[1:]:
        (name,) = branch.words
        assert shell_.offers(f"mlpstorage {name} ") == {word for word, _ in branch.choices}
    assert shell_.offers("mlpstorage completion ") == set(SHELLS)
    assert shell_.offers("mlpstorage --") == {"--help", "--version"}
    assert shell_.offers("mlpstorage training run -g ") == {"a100", "b200", "h100", "mi355"}
    assert shell_.offers("mlpstorage training run --data-dir ") == {"data"}
    assert {"data", "file.yaml"} <= shell_.offers("mlpstorage training run --config-file ")
    flags = {f"--{name}" for name in ("tree", "edition", "output", "json", "help")}
    assert shell_.offers("mlpstorage reports validate --") == flags


@pytest.mark.parametrize("shell", list(SHELLS))
def test_what_is_documented_installs_it(
    start: Start, program: Program, tmp_path: Path, shell: str
) -> None:
    """The script at the documented place is found by a new shell, without being sourced."""
    place = tmp_path / SHELLS[shell].path.removeprefix("~/")
    place.parent.mkdir(parents=True)
    place.write_text(program("completion", shell).out)
    loader = Path("/usr/share/bash-completion/bash_completion")
    if shell == "bash" and not loader.exists():
        pytest.skip("the package bash-completion is not installed")
    setup = {"bash": f"source {loader}", "zsh": "\n".join(SHELLS[shell].setup), "fish": ""}[shell]
    shell_ = start(shell, setup)
    assert shell_.words("mlpstorage trai\t x") == ["training", "x"]
    assert shell_.words("mlpstorage training run -m un\t x") == [
        "training",
        "run",
        "-m",
        "unet3d",
        "x",
    ]


def test_zsh_that_has_no_completion_system_gets_it(start: Start) -> None:
    """Sourced in a zsh without compinit, the script loads it."""
    shell = start("zsh", "source ./script")
    assert shell.words("mlpstorage trai\t x") == ["training", "x"]


def test_bash_may_cut_words_elsewhere(start: Start) -> None:
    """With = taken out of COMP_WORDBREAKS, --model=un is completed all the same."""
    shell = start("bash", "source ./script; COMP_WORDBREAKS=${COMP_WORDBREAKS//=}")
    words = ["training", "run", "--model=unet3d", "x"]
    assert shell.words("mlpstorage training run --model=un\t x") == words


@pytest.mark.parametrize("shell", list(SHELLS))
def test_the_script_is_text(shell: str) -> None:
    """The script has every flag and value, and does not start the program at a TAB."""
    text = SHELLS[shell].script()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert set(re.findall(r"[$(]\(?(\w+)", code)).isdisjoint({"mlpstorage", "python", "python3"})
    for command in commands():
        for flag in command.flags:
            dashes = "" if shell == "fish" else "--"
            assert f"{dashes}{flag.names[0].removeprefix('--')}" in code
            for word in flag.values.words if flag.values else ():
                assert word in code


def test_places_are_told_alike() -> None:
    """README, help and the scripts name one place for each shell."""
    readme = README.read_text(encoding="utf-8")
    assert examples_of("completion", "") == tuple(shell.install for shell in SHELLS.values())
    for shell in SHELLS.values():
        for line in (shell.install, *shell.setup):
            assert line in readme
            assert f"#     {line}\n" in shell.script()


def test_an_unknown_shell_is_refused(program: Program) -> None:
    """A mistyped shell is a usage error that names the nearest."""
    done = program("completion", "bsh")
    assert done.code == 2
    assert "did you mean bash?" in done.err


def test_without_a_shell_the_own_is_named(program: Program) -> None:
    """All shells are named, and what to do for the one that $SHELL names."""
    done = program("completion", env={"SHELL": "/usr/bin/zsh"})
    assert done.code == 2
    assert "bash, zsh, fish" in done.err
    assert SHELLS["zsh"].install in done.err
    assert "compinit" in done.err
    done = program("completion", env={"SHELL": "/bin/tcsh"})
    assert done.code == 2
    assert "bash, zsh, fish" in done.err
    assert "tcsh" not in done.err
