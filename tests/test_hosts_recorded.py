"""Runs over several real hosts: each is recorded at both ends, and sampled in between."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from conftest import Program

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab


@pytest.mark.parametrize("count", [2, 4])
def test_every_host_is_recorded_and_sampled(
    start_lab: type[Lab], mpirun: list[str], tmp_path: Path, count: int
) -> None:
    """The metadata has every host at start and end, the series every host with growing counters."""
    program = Program(tmp_path)
    words = [*program.workload(), "--data-dir", "data", "--allow-run-as-root"]
    with start_lab(count, share=[tmp_path]) as bed:
        hosts = ",".join(f"{name}:1" for name in bed.names)

        def run(*more: str) -> str:
            argv = [sys.executable, "-m", "mlpstorage", "training", *more, "--hosts", hosts]
            return bed.run(argv, cwd=str(tmp_path), timeout=100).stdout

        run("datagen", *words, "-q", "-np", str(count), "-p", "dataset.num_files_train=400")
        out = run(
            "run", *words, "-g", "h100", "-na", str(count), "-aip", "--json",
            "--timeseries-interval", "0.5",
            "-p", "dataset.num_files_train=400", "train.computation_time=0.04",
        )  # fmt: skip
    assert mpirun
    directory = tmp_path / json.loads(out)["result_dir"]
    metadata = json.loads(next(directory.glob("*_metadata.json")).read_text())
    snapshots, names = metadata["cluster_snapshots"], set(bed.names)
    assert snapshots["collection_method"] == "ssh"
    for moment in ("start", "end"):
        assert {host["hostname"] for host in snapshots[moment]["hosts"]} == names
        assert snapshots[moment]["failed_hosts"] == []
    assert {host["hostname"] for host in snapshots["difference"]["hosts"]} == names
    series = json.loads((directory / metadata["timeseries_data"]["file"]).read_text())
    assert set(series["samples_by_host"]) == names
    for samples in series["samples_by_host"].values():
        received = [sum(net["rx_bytes"] for net in sample["netdev"]) for sample in samples]
        assert len(samples) >= 2
        assert received == sorted(received)
        assert received[-1] > received[0]
    assert metadata["system_info"]["num_hosts"] == count
