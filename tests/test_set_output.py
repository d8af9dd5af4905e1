"""What a set of runs says on the terminal: each run briefly, the whole once, at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Program

SHORT = ("-aip", "--skip-timeseries", "--progress", "lines")


def of_two(program: Program, *more: str) -> tuple[str, ...]:
    """The words of a warm-up and two measured runs of a tiny workload."""
    return (
        "training", "run", *program.workload(), "-g", "h100", "-na", "1", "--data-dir", "data",
        "--params", "dataset.num_files_train=24", "--loops", "2", *SHORT, *more,
    )  # fmt: skip


def test_each_run_is_told_briefly_and_the_set_as_a_whole(program: Program) -> None:
    """Of each run a block with its verdict; warnings, and the last block, come once."""
    program.datagen(24)
    done = program(*of_two(program))
    assert done.code == 0, done.err
    for title in ("run 1 of 3: warm-up", "run 2 of 3: measured 1/2", "run 3 of 3: measured 2/2"):
        assert done.out.splitlines().count(title) == 1
    assert done.out.count("in short\n") == 1
    assert done.out.index("in short\n") > done.out.index("set of 3 runs")
    assert "over 2 runs" in done.out
    assert done.out.count("\nepochs\n") == 0
    warnings = [line for line in done.err.splitlines() if " by rule " in line]
    assert warnings
    assert len(set(warnings)) == len(warnings)


def test_the_plan_of_a_set_is_told_once(program: Program) -> None:
    """--what-if shows the plan once, as text or as one document."""
    program.datagen(24)
    done = program(*of_two(program, "--what-if"))
    assert done.code == 0, done.err
    assert done.out.count("training run: tiny") == 1
    assert program(*of_two(program, "--what-if", "--json")).json["identity"]["model"] == "tiny"
