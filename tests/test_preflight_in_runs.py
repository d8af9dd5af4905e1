"""Benchmarks look at their environment first: versions, hosts and launchers, all at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Program


def _lock(program: Program, numpy: str) -> Path:
    path = program.home / "lock.txt"
    path.write_text(f"numpy=={numpy}\n")
    return path


def test_another_version_than_the_lockfiles_is_refused(program: Program) -> None:
    """A run stops with exit code 5 before any work, naming package, both versions and the fix."""
    import numpy as np

    program.datagen(8)
    refused = program.run(8, "--verify-lockfile", str(_lock(program, "1.0.1")))
    assert refused.code == 5
    assert f"numpy {np.__version__}" in refused.err
    assert "1.0.1" in refused.err
    assert "pip install" in refused.err
    assert not (program.home / "results/training/tiny/run").exists()


def test_the_lockfiles_versions_let_the_run_start(program: Program) -> None:
    """With matching versions the run goes on to its end."""
    import numpy as np

    program.datagen(8)
    done = program.run(8, "--verify-lockfile", str(_lock(program, np.__version__)))
    assert done.code == 1, done.err


def test_a_missing_lockfile_is_not_found(program: Program) -> None:
    """A lockfile that is not there is exit code 3, by name."""
    program.datagen(8)
    refused = program.run(8, "--verify-lockfile", "gone.txt")
    assert refused.code == 3
    assert "gone.txt" in refused.err


def test_all_problems_of_two_hosts_are_listed_together(program: Program, tmp_path: Path) -> None:
    """Without mpirun and ssh, a two-host run says both at once, with the system's own commands."""
    program.datagen(8)
    empty = tmp_path / "empty-path"
    empty.mkdir()
    refused = program.run(
        8, "--hosts", "node-one.invalid,node-two.invalid", "--mpi-bin", "/nowhere/mpirun",
        env={"PATH": str(empty)}, ranks=2,
    )  # fmt: skip
    assert refused.code == 5
    assert "mpirun" in refused.err
    assert "ssh" in refused.err
    assert refused.err.count("error:") >= 2
    assert refused.err.count("fix:") >= 2


def test_skipping_the_checks_is_said_and_never_closed(program: Program) -> None:
    """--skip-validation warns and is kept in the record; CLOSED refuses it."""
    program.datagen(8)
    done = program.run(8, "--skip-validation")
    assert done.code == 1
    assert "not checked" in done.err
    (record,) = Path(done.json["result_dir"]).glob("*_metadata.json")
    assert "not checked" in " ".join(json.loads(record.read_text())["warnings"])
    refused = program.run(8, "--skip-validation", "--closed")
    assert refused.code == 2
    assert "--skip-validation" in refused.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is refused by Open MPI")
def test_open_mpi_as_root_is_refused_before_the_run(program: Program, mpirun: list[str]) -> None:
    """Without --allow-run-as-root the run stops with that advice and leaves no record."""
    program.datagen(8)
    words = [word for word in mpirun if word != "--allow-run-as-root"]
    refused = program.run(8, *words)
    if "Open MPI" not in refused.err:
        pytest.skip("the mpirun on PATH is not Open MPI")
    assert refused.code == 5
    assert "--allow-run-as-root" in refused.err
    assert not (program.home / "results/training/tiny/run").exists()
