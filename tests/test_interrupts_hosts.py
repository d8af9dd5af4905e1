"""Ctrl-C on a run of two hosts, under every MPI: nothing is left on either."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from conftest import TINY
from launch.mpi_installations import NAMES, NoMpiError, cache, installation

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from lab.bed import Lab
    from lab.fixture import LabMaker
    from lab.host import Host
    from launch.mpi_installations import Installation

pytestmark = pytest.mark.mpi

FILES = 96
# Four under each of three MPIs: twelve moments.
_MOMENTS = 4
_OURS = re.compile(r"-m mlpstorage|guard\.py|orted|prted|hydra_|mpirun|mpiexec|prterun|^ssh ")


@dataclass
class Pressed:
    """A run that was interrupted at a random moment."""

    how: Installation
    moment: float
    code: int
    err: str
    records: list[dict[str, Any]]


def words(how: Installation, shared: Path, command: str, hosts: str, *more: str) -> list[str]:
    """A command of the tiny workload on a folder that both hosts see."""
    count = ["-np", "2"] if command == "datagen" else ["-g", "h100", "-na", "2"]
    return [
        *(how.python, "-m", "mlpstorage", "training", command, "--hosts", hosts, *count),
        *("--mpi-bin", how.mpi_bin, "--allow-run-as-root"),
        *("--model", "tiny", "--workload-file", str(shared / "tiny.yaml")),
        *("--data-dir", str(shared / "data")),
        *("--params", f"dataset.num_files_train={FILES}", *more),
    ]


def press(lab: Lab, shared: Path, how: Installation, number: int, moment: float) -> Pressed:
    """Start a run, wait for the moment, interrupt it."""
    results = shared / f"results-{how.name}-{number}"
    argv = words(
        how, shared, "run", "h1:1,h2:1", "train.epochs=500", "train.computation_time=0.05",
        "-aip", "--skip-timeseries", "--results-dir", str(results),
    )  # fmt: skip
    process = lab.popen(argv)
    time.sleep(moment)
    return _interrupted(lab, process, how, results, moment)


def _interrupted(
    lab: Lab, process: subprocess.Popen[str], how: Installation, results: Path, moment: float
) -> Pressed:
    for pid, line in lab.controller.pids().items():
        if str(results) in line and line.startswith(f"{how.python} -m mlpstorage training run"):
            os.kill(pid, signal.SIGINT)
    _, err = _end(process)
    records = [json.loads(path.read_bytes()) for path in results.rglob("*_metadata.json")]
    return Pressed(how, moment, process.returncode, err, records)


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


def test_a_dozen_random_moments_of_two_hosts(start_lab: LabMaker, tmp_path: Path) -> None:
    """Whenever it comes: 130, nothing left on any host, a whole record, the data usable."""
    hows = [_mpi(name) for name in NAMES]
    seed = random.SystemRandom().randrange(1 << 30)
    moments = random.Random(seed)  # noqa: S311 - not a secret
    (tmp_path / "tiny.yaml").write_text(TINY.format(format="npz", stdev=0, per_file=1))
    plan = [(how, n, moments.uniform(1.0, 12.0)) for how in hows for n in range(_MOMENTS)]
    with start_lab(2, share=[tmp_path, cache()]) as lab:
        made = words(hows[0], tmp_path, "datagen", "h1,h2", "--results-dir", str(tmp_path / "r"))
        lab.run(made, check=True, timeout=60)
        with ThreadPoolExecutor(4) as pool:
            pressed = [*pool.map(lambda one: press(lab, tmp_path, *one), plan)]
        for one in pressed:
            told = f"seed {seed}, {one.how.name} after {one.moment:.2f} s: {one.err}"
            assert one.code == 130, told
            assert len(one.records) <= 1, told
            for record in one.records:
                assert (record["status"], record["exit_code"]) == ("interrupted", 130), told
                assert record["verification"]["category"] == "INVALID", told
        # Under every MPI the wish has reached rank 0 on another host at least once.
        for how in hows:
            gently = [p for p in pressed if p.how is how and "finishing the step" in p.err]
            assert all((p.records[0]["error"] is None) for p in gently), seed
        assert any("finishing the step" in p.err for p in pressed), seed
        assert _left(lab.controller, lab.host("h1"), lab.host("h2")) == {}
        again = words(
            hows[-1], tmp_path, "run", "h1,h2", "-aip", "--results-dir", str(tmp_path / "r")
        )
        lab.run(again, check=True, timeout=60)


@pytest.mark.parametrize("name", NAMES)
def test_every_mpi_takes_the_wish_to_its_ranks(
    start_lab: LabMaker, tmp_path: Path, name: str
) -> None:
    """Ranks that read on two hosts stop after the same step, and their epochs are reported."""
    how = _mpi(name)
    (tmp_path / "tiny.yaml").write_text(TINY.format(format="npz", stdev=0, per_file=1))
    with start_lab(2, share=[tmp_path, cache()]) as lab:
        made = words(how, tmp_path, "datagen", "h1,h2", "--results-dir", str(tmp_path / "r"))
        lab.run(made, check=True, timeout=60)
        done = _pressed_when_reading(lab, tmp_path, how)
        assert done.code == 130, done.err
        assert "finishing the step" in done.err
        (record,) = done.records
        assert record["error"] is None
        rules = [issue["rule"] for issue in record["verification"]["issues"]]
        assert "run.incomplete" in rules
        assert _left(lab.controller, lab.host("h1"), lab.host("h2")) == {}


def _pressed_when_reading(lab: Lab, shared: Path, how: Installation) -> Pressed:
    results = shared / "results"
    argv = words(
        how, shared, "run", "h1:1,h2:1", "train.epochs=500", "train.computation_time=0.05",
        "-aip", "--skip-timeseries", "--results-dir", str(results),
    )  # fmt: skip
    process = lab.popen(argv)
    deadline = time.monotonic() + 40
    while not any('"progress"' in log.read_text() for log in results.rglob("events.jsonl")):
        assert time.monotonic() < deadline, "the ranks did not start"
        time.sleep(0.1)
    return _interrupted(lab, process, how, results, 0.0)


def _mpi(name: str) -> Installation:
    try:
        return installation(name)
    except NoMpiError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {name}: {error}")
        pytest.skip(f"no {name}: {error}")


def _left(*hosts: Host) -> dict[str, list[str]]:
    deadline = time.monotonic() + 10
    found: dict[str, list[str]] = {}
    while time.monotonic() < deadline:
        found = {
            host.name: lines
            for host in hosts
            if (
                lines := [
                    line
                    for line in host.pids().values()
                    if _OURS.search(line) and "enter.py" not in line
                ]
            )
        }
        if not found:
            break
        time.sleep(0.2)
    return found
