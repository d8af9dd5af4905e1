"""`mlpstorage kvcache` on two hosts of a test bed that share a directory, under MPI."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from launch.mpi_installations import NAMES, NoMpiError, cache, installation

if TYPE_CHECKING:
    from lab.fixture import LabMaker

pytestmark = pytest.mark.mpi

RESULTS_AT = "/tmp"  # noqa: S108 (each host's own)


def test_two_hosts_serve_from_one_cache(
    start_lab: LabMaker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ranks of two hosts share blocks and a plan; both are in the record, and nothing is left."""
    try:
        how = installation(NAMES[0])
    except NoMpiError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {NAMES[0]}: {error}")
        pytest.skip(f"no {NAMES[0]}: {error}")
    shared = tmp_path_factory.mktemp("shared")
    command = [
        *(how.python, "-m", "mlpstorage", "kvcache", "run", "--hosts", "h1,h2", "-np", "4"),
        *("--mpi-bin", how.mpi_bin, "--allow-run-as-root", "--json", "-aip"),
        *("--model", "tiny-1b", "--kv-dtype", "fp8", "--block-tokens", "16"),
        *("--capacity", "512MiB", "--num-users", "16", "--duration", "3"),
        *("--cache-dir", str(shared / "cache")),
    ]
    with start_lab(2, share=[shared, cache()]) as lab:
        done = lab.run(command, cwd=RESULTS_AT, timeout=100)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)["summary"]
    assert (summary["num_ranks"], summary["num_hosts"]) == (4, 2)
    metric = summary["metric"]
    assert metric["reads"] > 0
    assert metric["verification"]["bad"] == 0
    assert metric["ranks"]["read_bytes_per_second"]["min"] > 0
    assert not list((shared / "cache").iterdir())
