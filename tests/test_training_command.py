"""`mlpstorage training` from the installed command, on real files."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from conftest import Program


def test_the_printed_commands_run(program: Program) -> None:
    """What datasize prints next generates a data set and runs on it, word for word."""
    sized = program(
        "training", "datasize", *program.workload(), "-g", "h100", "-ma", "1",
        "-cm", "1MiB", "--data-dir", "data", "--json", "-p", "reader.read_threads=1",
    )  # fmt: skip
    assert sized.code == 0, sized.err
    assert sized.json["samples_by_steps"] == 2000
    assert sized.json["samples_by_memory"] == 263
    assert sized.json["binds"] == "steps"
    generate, run = (shlex.split(line) for line in sized.json["commands"])
    assert generate[0] == run[0] == "mlpstorage"
    made = program(*generate[1:])
    assert made.code == 0, made.err
    done = program(*run[1:], "--json")
    assert done.code in {0, 1}, done.err
    assert done.json["summary"]["num_files_train"] == 2000
    on_disk = sum(f.stat().st_size for f in (program.home / "data/tiny/train").iterdir())
    assert on_disk == sized.json["total_disk_bytes"]


def test_a_complete_data_set_is_generated_again_at_no_cost(program: Program) -> None:
    """The same command once more finds everything there, says so, and writes no data."""
    assert program.datagen(8).code == 0
    again = program.datagen(8, "--json")
    assert again.code == 0, again.err
    summary = again.json["summary"]
    assert (summary["files_kept"], summary["bytes_written"]) == (8, 0)
    assert program.run(8, "-aip").code == 0


@pytest.mark.parametrize(
    ("fmt", "per_file", "ranks", "launch"),
    [
        *(
            (fmt, per_file, ranks, launch)
            for fmt, per_file in [("npz", 1), ("tfrecord", 1), ("tfrecord", 10)]
            for ranks in (1, 3)
            for launch in ("local", "mpi")
        ),
        ("npz", 10, 3, "local"),
        ("npy", 10, 1, "local"),
        ("hdf5", 10, 1, "local"),
        ("csv", 10, 1, "local"),
        ("indexed_binary", 10, 3, "local"),
        ("indexed_binary", 1, 1, "local"),
        ("jpeg", 1, 1, "local"),
        ("png", 1, 1, "local"),
    ],
)
def test_every_byte_is_read_once_per_epoch(
    program: Program,
    request: pytest.FixtureRequest,
    fmt: str,
    per_file: int,
    ranks: int,
    launch: str,
) -> None:
    """The kernel counts the data set's bytes, epoch by epoch, whatever the ranks and launcher."""
    how = request.getfixturevalue("mpirun") if launch == "mpi" else ["--exec-type", "local"]
    files = 240 // per_file
    assert program.datagen(files, fmt=fmt, per_file=per_file).code == 0
    done = program.run(files, *how, ranks=ranks, fmt=fmt, per_file=per_file)
    assert done.code in {0, 1}, done.err
    directory = Path(done.json["result_dir"])
    manifest = json.loads((program.home / "data/tiny/mlpstorage-manifest.json").read_text())
    for epoch in ("1", "2"):
        outputs = [
            json.loads((directory / f"{rank}_output.json").read_text()) for rank in range(ranks)
        ]
        counted = sum(output[epoch]["counters"]["rchar"] for output in outputs)
        slack = 0.01 * manifest["total_bytes"] + ranks * 20_000
        assert counted == pytest.approx(manifest["total_bytes"], abs=slack)
        assert sum(output[epoch]["counters"]["samples"] for output in outputs) == 240
    metric = done.json["summary"]["metric"]
    assert 0 < metric["train_au_mean_percentage"] <= 100
    assert len(metric["train_throughput_samples_per_second"]) == 2
    assert done.json["summary"]["bottleneck"]["verdict"]


def test_run_directory_holds_the_files_of_the_field(program: Program) -> None:
    """Logs, metadata, summary and per-rank files are where the reference tool puts them."""
    program.datagen(24)
    done = program.run(24)
    directory = Path(done.json["result_dir"])
    assert directory.parent == program.home / "results/training/tiny/run"
    stamp = directory.name
    names = {path.name for path in directory.iterdir()}
    assert {
        "training_run.stdout.log",
        "training_run.stderr.log",
        f"training_{stamp}_metadata.json",
        "training_cluster_info.json",
        "summary.json",
        "events.jsonl",
        "0_output.json",
        "0_per_epoch_stats.json",
    } <= names
    metadata = json.loads((directory / f"training_{stamp}_metadata.json").read_text())
    assert metadata["status"] == "complete"
    assert metadata["parameters"]["reader"]["batch_size"] == 4
    assert metadata["override_parameters"] == {"dataset.num_files_train": 24}
    assert metadata["system_info"]["hosts"][0]["memory"]["total"] > 0
    assert metadata["verification"]["category"] == "INVALID"
    assert "AU" in (directory / "training_run.stdout.log").read_text()


def test_hosts_are_recorded_at_both_ends_and_in_between(program: Program) -> None:
    """The metadata has both snapshots and their difference, the directory a series that grows."""
    program.datagen(400)
    done = program.run(
        400, "train.computation_time=0.02", "-aip", "--timeseries-interval", "0.5", ranks=2
    )
    assert done.code == 0, done.err
    directory = Path(done.json["result_dir"])
    metadata = json.loads(next(directory.glob("*_metadata.json")).read_text())
    snapshots = metadata["cluster_snapshots"]
    assert snapshots["collection_method"] == "local"
    (start,), (end,) = snapshots["start"]["hosts"], snapshots["end"]["hosts"]
    assert start["boot_id"] == end["boot_id"]
    assert end["system"]["uptime_seconds"] > start["system"]["uptime_seconds"]
    assert snapshots["difference"]["hosts"][0]["seconds"] > 0
    series = json.loads((directory / metadata["timeseries_data"]["file"]).read_text())
    (samples,) = series["samples_by_host"].values()
    assert len(samples) >= 3
    busy = [sample["vmstat"]["pgpgin"] for sample in samples]
    assert busy == sorted(busy)


def test_no_samples_where_none_are_wanted(program: Program) -> None:
    """--skip-timeseries leaves the series out; an interval that would disturb is refused."""
    program.datagen(8)
    done = program.run(8, "--skip-timeseries")
    directory = Path(done.json["result_dir"])
    assert not list(directory.glob("*timeseries*"))
    assert program.run(8, "--timeseries-interval", "0.1").code == 2


def test_a_small_data_set_runs_in_open_and_says_that_it_is_not_valid(program: Program) -> None:
    """A chosen small size runs, ends with exit code 1, and --allow-invalid-params makes it 0."""
    program.datagen(24)
    refused = program.run(24)
    assert refused.code == 1
    assert "3.1.2" in {issue["rule"] for issue in refused.json["verdict"]["issues"]}
    assert program.run(24, "--allow-invalid-params").code == 0


def test_closed_refuses_before_any_work(program: Program) -> None:
    """CLOSED stops at the plan with exit code 5 and leaves no run behind."""
    program.datagen(24)
    refused = program.run(24, "--closed")
    assert refused.code == 5
    assert "can never be CLOSED" in refused.err
    assert not (program.home / "results/training/tiny/run").exists()


def test_a_killed_rank_is_named_and_nothing_is_left(program: Program) -> None:
    """SIGKILL of one rank ends the run within ten seconds, named, recorded and without orphans."""
    program.datagen(400)
    controller = program.start(
        "training", "run", *program.workload(), "-g", "h100", "-na", "3", "--data-dir", "data",
        "--params", "dataset.num_files_train=400", "train.computation_time=0.5", "-aip",
    )  # fmt: skip
    ranks = _wait_for_ranks(controller, 3)
    os.kill(ranks[1], signal.SIGKILL)
    began = time.monotonic()
    _, err = controller.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert controller.returncode == 6
    assert "SIGKILL" in err
    assert "rank " in err
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    (entry,) = _runs(program)
    assert entry["status"] == "failed"


def test_a_killed_controller_leaves_no_rank_and_a_record(program: Program) -> None:
    """SIGKILL of the launcher itself: the ranks end, and the history shows the run as killed."""
    program.datagen(400)
    controller = program.start(
        "training", "run", *program.workload(), "-g", "h100", "-na", "2", "--data-dir", "data",
        "--params", "dataset.num_files_train=400", "train.computation_time=0.5", "-aip",
    )  # fmt: skip
    ranks = _wait_for_ranks(controller, 2)
    controller.kill()
    controller.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in ranks):
        time.sleep(0.05)
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    (entry,) = _runs(program)
    assert entry["status"] == "killed"


def test_an_interrupt_ends_the_run_with_130(program: Program) -> None:
    """Ctrl-C ends the ranks, records the run as interrupted and exits with 130."""
    program.datagen(400)
    controller = program.start(
        "training", "run", *program.workload(), "-g", "h100", "-na", "2", "--data-dir", "data",
        "--params", "dataset.num_files_train=400", "train.computation_time=0.5", "-aip",
    )  # fmt: skip
    ranks = _wait_for_ranks(controller, 2)
    controller.send_signal(signal.SIGINT)
    controller.communicate(timeout=30)
    assert controller.returncode == 130
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    (entry,) = _runs(program)
    assert entry["status"] == "interrupted"


def test_a_time_limit_ends_the_run_with_7(program: Program) -> None:
    """--time-limit ends a run that takes longer, with its own exit code."""
    program.datagen(400)
    done = program.run(400, "train.computation_time=0.5", "-aip", "--time-limit", "2s")
    assert done.code == 7, done.err
    (entry,) = _runs(program)
    assert entry["status"] == "failed"


def test_history_lists_shows_and_reruns(program: Program) -> None:
    """Every run appears with its status, and a rerun adds one more run of the same command."""
    program.datagen(24)
    program.run(24)
    listed = program("history", "list", "--json").json["runs"]
    assert [run["command"] for run in listed] == ["datagen", "run"]
    assert [run["verdict"] for run in listed] == [None, "INVALID"]
    assert "complete" in program("history", "show", "--id", "2").out
    again = program("history", "rerun", "--id", "2")
    assert again.code == 1, again.err
    assert len(program("history", "list", "--json").json["runs"]) == 3


def test_loops_make_one_run_each(program: Program) -> None:
    """--loops 2 gives a warm-up and two results, a directory each, whenever they start."""
    program.datagen(8)
    done = program.run(8, "--loops", "2")
    assert done.code == 1, done.err
    assert len(list((program.home / "results/training/tiny/run").iterdir())) == 3


def test_direct_reading_reads_from_the_device(program: Program) -> None:
    """With reader.odirect every byte comes from storage, on a filesystem that counts them."""
    program.datagen(240)
    done = program.run(240, "reader.odirect=true", "--drop-caches", "off", ranks=2)
    assert done.code == 1, done.err
    summary = done.json["summary"]
    if summary["filesystem"] not in {"ext4", "xfs"}:
        pytest.skip(f"reads are not counted on {summary['filesystem']}")
    assert summary["bottleneck"]["cached_share"] < 0.01


def test_the_page_cache_is_detected(program: Program) -> None:
    """Without dropping, the second epoch comes from memory: the run says so and is INVALID."""
    program.datagen(240)
    for _ in range(3):  # whoever is root on this machine may drop its cache at any moment
        done = program.run(240, "--drop-caches", "off", ranks=2)
        if done.json["summary"]["bottleneck"]["cached_share"] > 0.4:
            break
    assert done.json["summary"]["bottleneck"]["cached_share"] > 0.4
    assert "T.3" in {issue["rule"] for issue in done.json["verdict"]["issues"]}


def test_layers_flag_environment_file_default(program: Program) -> None:
    """A flag beats the environment, which beats the config file; configview names the layer."""
    (program.home / "my.yaml").write_text("data_dir: from-file\nnum_accelerators: 7\nloops: 3\n")
    view = program(
        "training", "configview", *program.workload(), "-g", "h100", "-na", "2", "-c", "my.yaml",
        "--json", env={"MLPSTORAGE_DATA_DIR": "from-env", "MLPSTORAGE_LOOPS": "5"},
    )  # fmt: skip
    options = view.json["options"]
    assert options["num_accelerators"] == {"value": 2, "source": "flag -na"}
    assert options["data_dir"] == {"value": "from-env", "source": "env MLPSTORAGE_DATA_DIR"}
    assert options["loops"]["value"] == 5
    from_file = program(
        "training", "configview", *program.workload(), "-g", "h100", "-na", "2", "-c", "my.yaml",
        "--json",
    )  # fmt: skip
    assert from_file.json["options"]["data_dir"]["source"] == "my.yaml:1"


def _runs(program: Program) -> list[dict[str, str]]:
    listed = program("history", "list", "--json").json["runs"]
    return [run for run in listed if run["command"] == "run"]


def _wait_for_ranks(controller: subprocess.Popen[str], count: int) -> list[int]:
    """The pids of the controller's ranks, once all are past their first second."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        children = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text()
        pids = [int(word) for word in children.split() if _is_rank(int(word))]
        if len(pids) == count:
            time.sleep(1.0)
            return pids
        time.sleep(0.05)
    controller.kill()
    pytest.fail(f"no {count} ranks after 20 s: {controller.communicate()}")


def _is_rank(pid: int) -> bool:
    try:
        return b"mlpstorage.rank" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
