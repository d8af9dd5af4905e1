"""What is said of a command line that is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mlpstorage.__main__ import run
from results_made import Results

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "training datagen -m unet3d --open",
            [
                "'--open'",
                "belongs to `mlpstorage training run` and `mlpstorage training configview`",
            ],
        ),
        (
            "training datagen -m unet3d --max-accelerators 3",
            ["belongs to `mlpstorage training datasize`"],
        ),
        ("training datagen -ma 3", ["belongs to `mlpstorage training datasize`"]),
        ("kvcache run -dd=x", ["'-dd'", "belongs to `mlpstorage training datasize`"]),
        ("training datagen -m unet3d -ncw 3", ["belongs to `mlpstorage checkpointing datasize`"]),
        ("training datagen -m unet3d --progres off", ["did you mean --progress?"]),
        ("training run --num-acc 3", ["did you mean --num-accelerators?"]),
        ("training datagen -m unet3d --opn", ["see: mlpstorage training datagen --help"]),
        ("compare 3", ["CANDIDATE is missing", "mlpstorage compare 3 4"]),
        ("rules explain", ["ID is missing", "`rules list`", "mlpstorage rules explain 3.3.2"]),
        ("engine install", ["ENGINE is missing", "mlpstorage engine install dlio"]),
        ("training run -m unet3d -g h100", ["--num-accelerators is missing"]),
        ("--data-dir x training run", ["'--data-dir' stands before the command"]),
        ("training --data-dir x run", ["'--data-dir' stands before the command"]),
    ],
)
def test_words_that_are_refused(
    capsys: pytest.CaptureFixture[str], command: str, said: list[str]
) -> None:
    """The error names the mistake, and what would be right."""
    assert run(command.split()) == 2
    error = capsys.readouterr().err
    for text in said:
        assert text in error
    assert "--json?" not in error


def test_words_that_are_values_may_begin_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flag of another command is no mistake where it is a word for the MPI launcher."""
    monkeypatch.chdir(tmp_path)
    words = "training configview -m unet3d -g h100 -na 1 --mpi-params -ma"
    assert run(words.split()) == 0


@pytest.mark.parametrize("words", [["2"], ["--id", "2"], ["-i", "2"], ["--id=2"]])
def test_a_run_is_named_with_or_without_a_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """`history show` and `rerun` take the number or id of a run by its place, and by --id."""
    results = Results(tmp_path / "results")
    for _ in range(3):
        results.add()
    where = ["--results-dir", str(results.root)]
    assert run(["history", "show", *words, *where, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["number"] == 2
    assert run(["history", "show", shown["run_id"], *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == shown
    other = [word.replace("2", "9") for word in words]
    assert run(["history", "rerun", *other, *where]) == 3
    assert "'9'" in capsys.readouterr().err
