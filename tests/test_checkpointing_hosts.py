"""`mlpstorage checkpointing` on four hosts of a test bed that share a folder."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from checkpointing_tiny import Words
from launch.mpi_installations import NoMpiError, cache, installation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab import Lab
    from lab.fixture import LabMaker
    from launch.mpi_installations import Installation

pytestmark = pytest.mark.mpi

HOSTS = ("h1", "h2", "h3", "h4")


@pytest.fixture(scope="module")
def mpi() -> Installation:
    """The MPI that is quickest to start; without it the tests are skipped, or fail in CI."""
    try:
        return installation("mpich")
    except NoMpiError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have MPICH: {error}")
        pytest.skip(f"no MPICH: {error}")


@pytest.fixture(scope="module")
def four(
    start_lab: LabMaker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lab, Path]]:
    """Four hosts that share a folder, in which the checkpoints lie."""
    shared = tmp_path_factory.mktemp("shared")
    with start_lab(4, share=[shared, cache()]) as lab:
        yield lab, shared


def _run(
    four: tuple[Lab, Path],
    mpi: Installation,
    hosts: str,
    ranks: int,
    *more: str,
    folder: str = "",
) -> Any:  # noqa: ANN401 (what a lab's command is when done)
    lab, shared = four
    words = Words(shared)("-aip", *more, ranks=ranks)
    words[words.index("-cf") + 1] = folder or str(shared / "ck")
    command = [mpi.python, "-m", "mlpstorage", *words, "--hosts", hosts]
    command += ["--mpi-bin", mpi.mpi_bin, "--allow-run-as-root"]
    command += ["--results-dir", str(shared / "results")]
    return lab.run(command, timeout=100)


def test_each_host_reads_what_another_wrote(four: tuple[Lab, Path], mpi: Installation) -> None:
    """Eight ranks on four hosts write and read; no read is of its own host's files."""
    done = _run(four, mpi, ",".join(HOSTS), 8)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    summary = document["summary"]
    assert summary["num_hosts"] == 4
    assert (summary["reads"], summary["reads_on_the_host_that_wrote"]) == (16, 0)
    assert summary["verification"]["mismatches"] == 0
    outputs = [_output(document["result_dir"], four[0], rank) for rank in range(8)]
    assert sorted(output["hostname"] for output in outputs) == sorted(2 * HOSTS)
    for number in range(4):
        parts = [output["checkpoints"][number] for output in outputs]
        assert sum(part["bytes"] for part in parts) == summary["checkpoint_bytes"]
        assert {part["source_rank"] for part in parts} == set(range(8))
    reads = [at for output in outputs for at in output["checkpoints"] if at["phase"] == "load"]
    assert {at["bytes"] for at in reads} == {at["bytes"] for at in outputs[0]["checkpoints"]}
    assert "4.6.2" in {issue["rule"] for issue in document["verdict"]["issues"]}


def test_other_hosts_read_what_was_written(four: tuple[Lab, Path], mpi: Installation) -> None:
    """Two hosts write, the two others read: all is verified, and the gap between is judged."""
    assert _run(four, mpi, "h1,h2", 4, "-ncr", "0").returncode == 0
    done = _run(four, mpi, "h3,h4", 4, "-ncw", "0", "--verify", "full")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert summary["reads_on_the_host_that_wrote"] == 0
    checked = summary["verification"]
    assert checked["checksums"] == checked["sectors"] > 0
    assert checked["mismatches"] == 0


def test_a_folder_that_is_not_shared_is_refused(four: tuple[Lab, Path], mpi: Installation) -> None:
    """A folder of each host's own ends the run before it began, with the hosts named."""
    done = _run(four, mpi, "h1,h2", 2, folder="/tmp/own")  # noqa: S108 (each host's own)
    assert done.returncode == 5, done.stderr
    assert "h2" in done.stderr
    assert "does not see the same files" in done.stderr


def _output(result_dir: str, lab: Lab, rank: int) -> dict[str, Any]:
    text = lab.run(["cat", f"{result_dir}/{rank}_output.json"], check=True).stdout
    return dict(json.loads(text))
