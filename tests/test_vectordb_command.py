"""`mlpstorage vectordb` from the installed command, on real files and processes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vectordb_program import PROBE, made, run, small

if TYPE_CHECKING:
    from conftest import Program


def test_data_then_run_without_any_server(program: Program) -> None:
    """Both commands end well; recall, rates, latencies and exact reads are in the result."""
    made(program)
    done = run(program)
    assert done.code == 0, done.err
    summary = done.json["summary"]
    assert done.json["verdict"]["category"] == "OPEN"
    assert summary["recall"] >= 0.95
    assert summary["recall_stats"]["num_queries_evaluated"] == 100
    assert summary["load"]["reused"] is False
    assert summary["load"]["space_amplification"] > 1
    assert summary["backend"]["database"] is False
    assert [point["clients"] for point in summary["points"]] == [1, 2]
    probes = summary["backend"]["effort"]["nprobe"]
    for point in summary["points"]:
        assert point["qps"] > 0
        assert point["latency_ms"]["p50"] <= point["latency_ms"]["p99.9"]
        assert point["source"] == "the engine's own counters"
        assert point["reads_per_query"] == pytest.approx(probes, rel=0.05)
        assert point["bytes_per_query"] >= 4096
        if summary["storage"]["filesystem"] in {"ext4", "xfs"}:
            assert point["agreement"] < 0.001
            assert point["cache"][0]["resident_share"] < 0.05


def test_a_collection_is_used_again_and_reads_the_same(program: Program) -> None:
    """A second run loads nothing, and by the same effort reads as much, cold and warm."""
    made(program)
    first = run(program, clients="1").json["summary"]
    effort = f"query.nprobe={first['backend']['effort']['nprobe']}"
    for state in ("cold", "warm"):
        done = run(program, "--cache-state", state, params=(effort,), clients="1")
        assert done.code == 0, done.err
        summary = done.json["summary"]
        assert summary["load"]["reused"] is True
        assert summary["backend"]["effort"]["calibrated"] is False
        assert summary["recall"] == first["recall"]
        assert summary["recall_reads"] == first["recall_reads"]
        (point,) = summary["points"]
        expected = first["points"][0]["bytes_per_query"]
        assert point["bytes_per_query"] == pytest.approx(expected, rel=0.1)
    assert point["cache"][0]["warmup_rounds"] >= 2


def test_a_run_has_the_files_and_keys_of_the_field(program: Program) -> None:
    """The directory is where the reference tool puts it, with its metadata and keys."""
    made(program)
    done = run(program, clients="2")
    directory = Path(done.json["result_dir"])
    assert directory.parent == program.home / "results/vector_database/run"
    names = {path.name for path in directory.iterdir()}
    stamp = directory.name
    assert {
        "summary.json", "vector_database_run.stdout.log", "vector_database_cluster_info.json",
        f"vector_database_{stamp}_metadata.json", "0_output.json", "1_output.json",
    } <= names  # fmt: skip
    metadata = json.loads((directory / f"vector_database_{stamp}_metadata.json").read_text())
    assert metadata["status"] == "complete"
    assert metadata["benchmark_type"] == "vector_database"
    assert metadata["parameters"]["dataset"]["dimension"] == 16
    summary = json.loads((directory / "summary.json").read_text())
    assert {
        "throughput_qps", "mean_latency_ms", "p95_latency_ms", "p99_latency_ms",
        "p999_latency_ms", "recall", "num_vectors", "dimension", "index_type",
        "inserted_vectors", "query_count",
    } <= summary.keys()  # fmt: skip


def test_the_printed_commands_run(program: Program) -> None:
    """What datasize prints next makes the data and runs, word for word."""
    sized = program("vectordb", "datasize", "--vdb-engine", "ivf-probe", "--json", *small())
    assert sized.code == 0, sized.err
    assert sized.json["raw_bytes"] == 3000 * 16 * 4
    assert {b["backend"] for b in sized.json["backends"]} >= {"zvec", "ivf-probe"}
    generate, search = (shlex.split(line) for line in sized.json["commands"])
    assert program(*generate[1:]).code == 0
    done = program(*search[1:], "search.steady_seconds=0.3", "--num-query-processes", "1", "--json")
    assert done.code == 0, done.err


def test_an_open_loop_follows_the_closed_one(program: Program) -> None:
    """Shares of the closed loop's most become rates, and given rates need no closed loop."""
    made(program)
    done = run(program, "--arrivals", "open", "--rates", "20%", clients="2")
    assert done.code == 0, done.err
    closed, opened = done.json["summary"]["points"]
    assert closed["rate"] is None
    assert opened["rate"] == pytest.approx(0.2 * closed["qps"], rel=0.01)
    done = run(program, "--arrivals", "open", "--rates", "50", clients="1")
    (point,) = done.json["summary"]["points"]
    assert (point["rate"], point["clients"]) == (50, 1)
    assert point["queries"] + point["overdue"] == pytest.approx(20, abs=18)


def test_a_number_of_queries_ends_a_point(program: Program) -> None:
    """--queries N answers N of them, and --runtime beside it is a contradiction."""
    made(program)
    assert run(program, "--queries", "40").code == 2
    words = ("--vdb-engine", "ivf-probe", "--json", "--num-query-processes", "2", *small())
    done = program("vectordb", "run", "--queries", "40", *words)
    assert done.code == 0, done.err
    assert done.json["summary"]["points"][0]["queries"] == 40


def test_ranks_of_mpi_make_the_same_data_and_result(program: Program, mpirun: list[str]) -> None:
    """Under mpirun the data have the same hash, and every rank's histogram is in the result."""
    local = made(program).json["summary"]["dataset_hash"]
    again = made(program, "--force", "-np", "2", *mpirun).json["summary"]["dataset_hash"]
    assert again == local
    done = run(program, *mpirun, clients="2")
    assert done.code == 0, done.err
    (point,) = done.json["summary"]["points"]
    directory = Path(done.json["result_dir"])
    outputs = [json.loads((directory / f"{rank}_output.json").read_text()) for rank in (0, 1)]
    assert sum(o["points"][0]["requests"] for o in outputs) == point["queries"]
    assert sum(point["latency_histogram_us"].values()) == point["queries"]


def test_real_vectors_are_searched(program: Program) -> None:
    """A file of the field's own becomes a data set, and runs."""
    np = pytest.importorskip("numpy")
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(2).normal(0, 1, (2200, 8)).astype(np.float32)
    far = np.sqrt(((values[2000:, None] - values[None, :2000]) ** 2).sum(axis=2))
    with h5py.File(program.home / "own.hdf5", "w") as file:
        file["train"], file["test"] = values[:2000], values[2000:]
        file["neighbors"] = np.argsort(far, axis=1)[:, :100].astype(np.int32)
        file["distances"] = np.sort(far, axis=1)[:, :100]
        file.attrs["distance"] = "euclidean"
    done = program("vectordb", "datagen", "--dataset", "own.hdf5", "--json")
    assert done.code == 0, done.err
    assert done.json["summary"]["own_neighbours_confirmed"] == 1.0
    done = program("vectordb", "run", "--dataset", "own.hdf5", *PROBE, "--num-query-processes", "1")
    assert done.code == 0, done.err
    assert done.json["summary"]["dataset"]["metric"] == "l2"
    assert done.json["summary"]["recall"] >= 0.95


def test_a_memory_cap_is_in_force(program: Program) -> None:
    """Where control groups can be made, the cap is that which the kernel has, and is recorded."""
    made(program)
    done = run(program, "--memory-cap", "200MiB", clients="1")
    if done.code == 5 and "cannot be capped" in done.err:
        pytest.skip("no control group can be made here")
    assert done.code == 0, done.err
    summary = done.json["summary"]
    assert summary["memory_cap_bytes"] == 200 << 20
    assert 0 < summary["points"][0]["group_memory_bytes"] <= 200 << 20
