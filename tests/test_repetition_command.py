"""Sets of runs from the installed command: made, interrupted, resumed, refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from checkpointing_tiny import Words

if TYPE_CHECKING:
    import subprocess

    from conftest import Program

SHORT = ("-aip", "--skip-timeseries")


def history(program: Program) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs (without data generation) and the sets."""
    listed = program("history", "list", "--json").json
    return [run for run in listed["runs"] if run["command"] == "run"], listed["sets"]


def begin(program: Program, loops: int, *more: str, step: float = 0.1) -> subprocess.Popen[str]:
    """Start a set of runs that take about a second each."""
    program.datagen(24)
    return program.start(
        "training", "run", *program.workload(), "-g", "h100", "-na", "1", "--data-dir", "data",
        "--params", "dataset.num_files_train=24", f"train.computation_time={step}",
        "--loops", str(loops), *SHORT, *more,
    )  # fmt: skip


def wait_for_runs(program: Program, count: int) -> None:
    """Wait until so many runs have begun, and a moment longer."""
    runs = program.home / "results/training/tiny/run"
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if runs.is_dir() and len(list(runs.glob("*/*_metadata.json"))) >= count:
            time.sleep(0.4)
            return
        time.sleep(0.05)
    pytest.fail(f"no {count} runs began")


def test_loops_make_a_set_with_a_warm_up(program: Program) -> None:
    """--loops 2 makes a warm-up and two measured runs, one JSON document, and one set."""
    program.datagen(24)
    done = program.run(24, "--loops", "2", "--skip-timeseries")
    assert done.code == 1, done.err
    document = done.json
    assert [run["role"] for run in document["runs"]] == ["warm-up", "measured", "measured"]
    assert [run["counts"] for run in document["runs"]] == [False, True, True]
    rates = [
        json.loads((Path(run["directory"]) / "summary.json").read_text())["metric"]
        ["train_throughput_mean_samples_per_second"]
        for run in document["runs"]
    ]  # fmt: skip
    (spread,) = (
        one for one in document["metrics"] if one["name"] == "train_throughput_samples_per_second"
    )
    assert spread["values"] == pytest.approx(rates[1:])
    assert spread["mean"] == pytest.approx(sum(rates[1:]) / 2)
    assert document["verdict"]["category"] == "INVALID"
    assert "2.1.17" in {issue["rule"] for issue in document["verdict"]["issues"]}
    runs, (one,) = history(program)
    assert one["set_id"] == document["set_id"]
    assert one["members"] == [run["run_id"] for run in runs]
    assert [run["part"] for run in runs] == ["warm-up", "measured 1/2", "measured 2/2"]
    seeds = {
        json.loads(next(Path(run["directory"]).glob("*_metadata.json")).read_text())["seed"]
        for run in runs
    }
    assert len(seeds) == 3
    summary = json.loads((Path(one["directory"]) / "summary.json").read_text())
    assert summary["metrics"] == document["metrics"]
    shown = program("history", "show", "--id", one["set_id"])
    assert all(run["run_id"] in shown.out for run in runs)
    assert "are missing" not in shown.out


def test_a_set_without_warm_up_is_run_again(program: Program) -> None:
    """--no-warm-up leaves it out, what-if makes no run, and rerun of the set makes all again."""
    program.datagen(24)
    told = program.run(24, "--loops", "2", "--no-warm-up", "--what-if")
    assert told.code == 0, told.err
    assert "a set of 2 runs: measured 1/2, measured 2/2" in told.err
    assert not (program.home / "results/training/tiny/run").exists()
    assert not (program.home / "results/training/tiny/set").exists()
    done = program.run(24, "--loops", "2", "--no-warm-up", *SHORT)
    assert done.code == 0, done.err
    assert [run["role"] for run in done.json["runs"]] == ["measured", "measured"]
    again = program("history", "rerun", "--id", done.json["set_id"])
    assert again.code == 0, again.err
    runs, sets = history(program)
    assert (len(sets), len(runs)) == (2, 4)


def test_a_refused_set_leaves_nothing(program: Program) -> None:
    """A plan that can never be CLOSED is refused before there is a set."""
    program.datagen(24)
    refused = program.run(24, "--loops", "2", "--closed")
    assert refused.code == 5
    assert not list((program.home / "results").glob("training/tiny/set/*"))
    assert not (program.home / "results/training/tiny/run").exists()


def test_an_interrupted_set_is_resumed(program: Program) -> None:
    """After Ctrl-C, the set is interrupted and says how to go on; then the missing runs are made.

    Where the machine is so slow that the pause is longer than a run, it warms up again.
    """
    controller = begin(program, 2)
    wait_for_runs(program, 2)
    controller.send_signal(signal.SIGINT)
    out, err = controller.communicate(timeout=30)
    assert controller.returncode == 130
    runs, (one,) = history(program)
    assert (one["status"], one["verdict"]) == ("interrupted", "INVALID")
    assert f"mlpstorage resume {one['set_id']}" in out + err
    done = program("resume", one["set_id"], "--json")
    assert done.code == 0, done.err
    assert [run["role"] for run in done.json["runs"]] == ["warm-up", "measured", "measured"]
    after, (ended,) = history(program)
    assert ended["status"] == "complete"
    complete = [run for run in after if run["status"] == "complete"]
    assert complete[0]["run_id"] == runs[0]["run_id"]
    parts = [run["part"] for run in complete if run["part"] != "warm-up"]
    assert parts == ["measured 1/2", "measured 2/2"]
    assert {run["run_id"] for run in done.json["runs"]} <= {run["run_id"] for run in complete}
    again = program("resume", one["set_id"])
    assert again.code == 2
    assert "nothing to resume" in again.err


def test_a_killed_set_goes_on_as_it_was_begun(program: Program, tmp_path: Path) -> None:
    """After kill -9, from another directory, with other variables, the recorded options count."""
    controller = begin(program, 2, "--no-warm-up")
    wait_for_runs(program, 1)
    controller.kill()
    controller.communicate(timeout=30)
    _, (one,) = history(program)
    assert one["status"] == "killed"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = type(program)(elsewhere)(
        "resume", "-rd", str(program.home / "results"), "--json",
        env={"MLPSTORAGE_DATA_DIR": "/nowhere", "MLPSTORAGE_LOOPS": "9"},
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [run["role"] for run in done.json["runs"]] == ["measured", "measured"]
    assert not list(elsewhere.iterdir())


def put_back(program: Program, hours: float, runtime: float, **changes: Any) -> str:  # noqa: ANN401 (any field)
    """Make a complete set lack its last run, its others begun so long ago; its id."""
    runs, (one,) = history(program)
    shutil.rmtree(runs[-1]["directory"])
    began = datetime.now(timezone.utc) - timedelta(hours=hours)
    for run in runs[:-1]:
        (path,) = Path(run["directory"]).glob("*_metadata.json")
        record = json.loads(path.read_text())
        record |= {"start_time": began.isoformat(), "runtime": runtime}
        path.write_text(json.dumps(record))
    (path,) = Path(one["directory"]).glob("*_set.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"status": "interrupted", **changes}))
    return str(one["set_id"])


def test_a_set_warms_up_again_after_a_long_pause(program: Program) -> None:
    """A pause of more than a run needs a new warm-up, and a CLOSED set is refused then."""
    program.datagen(24)
    assert program.run(24, "--loops", "2", *SHORT).code == 0
    name = put_back(program, 3, 60, division="CLOSED")
    refused = program("resume", name)
    assert refused.code == 5
    assert "can no longer be CLOSED" in refused.err
    assert "history rerun" in refused.err
    (path,) = (program.home / "results").glob("training/tiny/set/*/*_set.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"division": "OPEN"}))
    done = program("resume", name, "--json")
    assert done.code == 0, done.err
    runs, _ = history(program)
    assert sorted(run["part"] for run in runs) == [
        "measured 1/2", "measured 2/2", "warm-up", "warm-up",
    ]  # fmt: skip
    assert len(done.json["runs"]) == 3
    put_back(program, 1, 3600)  # the runs took an hour each, and the last has just ended
    assert program("resume", name).code == 0
    runs, _ = history(program)
    assert [run["part"] for run in runs].count("measured 2/2") == 1
    assert [run["part"] for run in runs].count("warm-up") == 2


def test_a_failed_run_ends_the_set_and_says_how_to_go_on(program: Program) -> None:
    """A set whose ranks are killed is failed, with its cause, and is resumed."""
    controller = begin(program, 2, step=0.3)
    wait_for_runs(program, 2)
    time.sleep(1)
    children = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text().split()
    ranks = [
        int(word)
        for word in children
        if b"mlpstorage.rank" in Path(f"/proc/{word}/cmdline").read_bytes()
    ]
    os.kill(ranks[0], signal.SIGKILL)
    _, err = controller.communicate(timeout=30)
    assert controller.returncode == 6
    _, (one,) = history(program)
    assert one["status"] == "failed"
    assert f"mlpstorage resume {one['set_id']}" in err


def test_a_data_generation_is_resumed(program: Program) -> None:
    """`resume` of a killed data generation goes on where it stopped."""
    files = 3000
    controller = program.start(
        "training", "datagen", *program.workload(), "--data-dir", "data", "-np", "1",
        "--params", f"dataset.num_files_train={files}", "dataset.record_length_bytes=200000",
    )  # fmt: skip
    folder = program.home / "data/tiny/train"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and len(os.listdir(folder) if folder.is_dir() else ()) < 50:  # noqa: PTH208 (thousands of names)
        time.sleep(0.02)
    controller.kill()
    controller.communicate(timeout=30)
    (entry,) = program("history", "list", "--json").json["runs"]
    assert entry["status"] == "killed"
    done = program("resume", entry["run_id"], "--json")
    assert done.code == 0, done.err
    assert done.json["summary"]["files_kept"] > 0
    assert len(list(folder.iterdir())) == files


def test_there_is_nothing_to_resume(program: Program) -> None:
    """Without an unfinished run, or with an unknown id, resume says so."""
    assert program("resume").code == 3
    program.datagen(8)
    missing = program("resume", "training_set_tiny_20200101_000000")
    assert missing.code == 3
    assert "no run" in missing.err


def test_checkpoints_are_written_in_one_run_and_read_in_the_next(program: Program) -> None:
    """--split makes a set of a writing and a reading run, whose figures stand beside each other."""
    words = Words(program.home)
    done = program(*words("--split", "-aip"))
    assert done.code == 0, done.err
    document = done.json
    assert len(document["runs"]) == 2
    rules = {issue["rule"] for issue in document["verdict"]["issues"]}
    assert "4.7.1" not in rules
    assert "2.1.23" not in rules
    runs, (one,) = history(program)
    assert [run["part"] for run in runs] == ["write", "read"]
    assert one["status"] == "complete"
    summaries = [json.loads((Path(run["directory"]) / "summary.json").read_text()) for run in runs]
    assert [bool(s["save"]) for s in summaries] == [True, False]
    assert [bool(s["load"]) for s in summaries] == [False, True]
