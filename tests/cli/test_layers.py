"""The layers of option values, from the whole command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.__main__ import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    View = Callable[..., dict[str, Any]]


@pytest.fixture
def view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> View:
    """What configview says of options: their values and sources, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    basic = ["training", "configview", "-m", "unet3d", "-g", "h100", "--json"]

    def call(*words: str, env: dict[str, str] | None = None, file: str = "") -> dict[str, Any]:
        (tmp_path / "my.yaml").write_text(file)
        for name, value in (env or {}).items():
            monkeypatch.setenv(f"MLPSTORAGE_{name}", value)
        code = run([*basic, *words, *(["-c", "my.yaml"] if file else [])])
        out, err = capsys.readouterr()
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)["options"]
        return found

    return call


def test_the_strongest_layer_wins(view: View) -> None:
    """A flag beats a variable, which beats the file, which beats the default."""
    file = "loops: 2\n"
    assert "loops" not in view("-na=1")
    assert view("-na=1", file=file)["loops"] == {"value": 2, "source": "my.yaml:1"}
    from_env = {"value": 3, "source": "env MLPSTORAGE_LOOPS"}
    assert view("-na=1", file=file, env={"LOOPS": "3"})["loops"] == from_env
    assert view("-na=1", "--loops=4", file=file)["loops"] == {"value": 4, "source": "flag --loops"}


def test_required_options_may_come_from_any_layer(view: View) -> None:
    """What must be given may stand in the file or in a variable."""
    assert view(file="num_accelerators: 5\n")["num_accelerators"]["value"] == 5
    assert view(env={"NUM_ACCELERATORS": "6"})["num_accelerators"]["value"] == 6


def test_an_empty_variable_is_not_set(view: View) -> None:
    """`MLPSTORAGE_LOOPS= mlpstorage …` is the same as without the variable."""
    assert "loops" not in view("-na=1", env={"LOOPS": ""})


def test_truths_have_the_usual_names(view: View) -> None:
    """Switches may be set and unset in file and environment."""
    assert view("-na=1", file="trial: true\n")["trial"]["value"] is True
    assert view("-na=1", file="trial: no\n")["trial"]["value"] is False
    assert view("-na=1", env={"TRIAL": "1"})["trial"]["value"] is True


def test_many_words_may_be_a_list_or_sections(view: View) -> None:
    """Parameters are a list or nested sections in the file, and words in a variable."""
    nested = "params:\n  reader: {read_threads: 8, file_shuffle: seed}\n  train: {epochs: 2}\n"
    words = ["reader.read_threads=8", "reader.file_shuffle=seed", "train.epochs=2"]
    assert view("-na=1", file=nested)["params"] == {"value": words, "source": "my.yaml:2"}
    listed = "params: [reader.read_threads=8]\nhosts: [a, b]\n"
    assert view("-na=1", file=listed)["params"]["value"] == words[:1]
    assert view("-na=1", file=listed)["hosts"]["value"] == ["a", "b"]
    assert view("-na=1", env={"PARAMS": " ".join(words)})["params"]["value"] == words


def test_a_file_may_serve_several_commands(view: View) -> None:
    """An option of another command is passed over; dashes and underscores are the same."""
    assert "num_processes" not in view("-na=1", file="num-processes: 4\n")
    assert view("-na=1", file="data-dir: x\n")["data_dir"]["value"] == "x"


def test_a_value_with_a_dash_is_written_with_an_equals_sign(view: View) -> None:
    """A directory that begins with a dash can be named; --mpi-params takes options as they are."""
    assert view("-na=1", "--data-dir=-x")["data_dir"]["value"] == "-x"
    given = view("-na=1", "--mpi-params", "--mca btl tcp", "--mpi-params", "-x A")["mpi_params"]
    assert given["value"] == ["--mca btl tcp", "-x A"]
