"""Ctrl-C on `mlpstorage kvcache run`: in every mode, at any moment, with one rank or several."""

from __future__ import annotations

import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from test_interrupts import interrupt, ranks_in
from test_kvcache_command import blocks_below, write_trace

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from conftest import Program
    from test_interrupts import Stopped

# Blocks of 768 KiB: plans of a minute of peak speed are made within a second or two.
_SMALL = {"--model": "tiny-1b", "--kv-dtype": "fp8", "--block-tokens": "64"}
# Each runs for minutes if nobody stops it; the trace is slowed down to do so.
_MODES = {
    "serve": {"--num-users": "6", "-d": "300"},
    "search": {"-d": "120", "--capacity": "1GiB"},
    "restore": {"--mode": "restore", "-d": "300"},
    "store": {"--mode": "store", "-d": "300"},
    "replay": {"--trace": "trace.jsonl", "--speed": "0.01"},
    "raw": {"--mode": "raw", "-d": "300"},
    "option": {"--mode": "mlperf-v3", "--num-users": "9", "-d": "300", "--capacity": "1GiB"},
}


def stop(
    program: Program,
    name: str,
    mode: str,
    wait: Callable[[subprocess.Popen[str]], None],
    changes: dict[str, str] | None = None,
    flags: Sequence[str] = (),
    number: signal.Signals = signal.SIGINT,
) -> Stopped:
    """Start a run, wait, interrupt it once, and wait for its end; its cache is its own."""
    options = {"--capacity": "64MiB", **({} if mode == "option" else _SMALL), **_MODES[mode]}
    pairs = {**options, **(changes or {})}.items()
    words = program.argv(
        "kvcache", "run", *(word for pair in pairs for word in pair), *flags, "-aip",
        "--cache-dir", f"{name}-cache", "--results-dir", f"{name}-results",
    )  # fmt: skip
    return interrupt(program, words, f"{name}-results", wait, number)


def events_of(results: Path) -> list[dict[str, Any]]:
    """What the run has told so far; its last line may not be whole yet."""
    lines = [
        line for log in results.rglob("events.jsonl") for line in log.read_text().splitlines(True)
    ]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def until(results: Path, activity: str, done: int) -> Callable[[subprocess.Popen[str]], None]:
    """Wait until an activity of this name has come so far."""

    def wait(process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            for event in events_of(results):
                if (
                    event["type"] == "progress"
                    and event["activity"].startswith(activity)
                    and event["done"] >= done
                ):
                    return
            time.sleep(0.05)

    return wait


def judged(program: Program, name: str, done: Stopped) -> tuple[dict[str, Any], dict[str, Any]]:
    """The summary and the issues by rule, of a run that ended in order and left nothing."""
    assert done.code == 130, done.err
    assert "Traceback" not in done.err
    (record,) = done.records
    assert (record["status"], record["exit_code"]) == ("interrupted", 130), done.err
    assert record["verification"]["category"] == "INVALID"
    issues = record["verification"]["issues"]
    # What the plan lacks is known before; of what the result says, the interrupt comes first.
    assert "run.incomplete" in [issue["rule"] for issue in issues]
    assert blocks_below(program.home / f"{name}-cache") == []
    assert ranks_in(program.home) == []
    summary = json.loads((Path(record["result_dir"]) / "summary.json").read_bytes())
    return summary, {issue["rule"]: issue for issue in issues}


def pages(program: Program, name: str) -> str:
    """Every page on the results works; what reportgen shows."""
    results = f"{name}-results"
    for page in (
        ("history", "list", "--results-dir", results),
        ("history", "show", "--id", "1", "--results-dir", results),
    ):
        shown = program(*page)
        assert shown.code == 0, shown.err
        assert "interrupted" in shown.out
    identity = json.loads(next((program.home / results).rglob("*_metadata.json")).read_bytes())
    compared = program("compare", identity["run_id"], identity["run_id"], "--results-dir", results)
    assert compared.code in {0, 1, 3, 5}, compared.err
    assert "Traceback" not in compared.err
    report = program("reports", "reportgen", "--results-dir", results)
    assert report.code in {0, 1}, report.err
    return report.out


def test_ten_random_moments(program: Program) -> None:
    """Whenever it comes, in any mode: exit code 130, INVALID, no process and no block left."""
    write_trace(program)
    seed = random.SystemRandom().randrange(1 << 30)
    moments = random.Random(seed)  # noqa: S311 - not a secret
    waits = [moments.uniform(0.5, 9.0) for _ in range(10)]
    modes = moments.sample([*_MODES, "serve", "store", "replay"], 10)

    def one(number: int) -> Stopped:
        ranks = {"-np": "3"} if number % 2 else {}
        sends = signal.SIGTERM if number % 3 == 2 else signal.SIGINT
        sleep = waits[number]
        return stop(
            program, str(number), modes[number], lambda _: time.sleep(sleep), ranks, number=sends
        )

    with ThreadPoolExecutor(3) as pool:
        stopped = list(pool.map(one, range(10)))
    for number, done in enumerate(stopped):
        told = f"seed {seed}, moment {number} of {modes[number]}: {done.err}"
        assert done.code == 130, told
        assert "Traceback" not in done.err, told
        assert len(done.records) <= 1, told
        for record in done.records:
            assert (record["status"], record["exit_code"]) == ("interrupted", 130), told
            assert record["verification"]["category"] == "INVALID", told
            rules = [issue["rule"] for issue in record["verification"]["issues"]]
            assert "run.incomplete" in rules, told
        assert blocks_below(program.home / f"{number}-cache") == [], told
    assert ranks_in(program.home) == []


@pytest.mark.parametrize(
    ("mode", "activity", "ranks"),
    [
        ("store", "storing", 3),
        ("restore", "restoring", 1),
        ("replay", "replaying", 3),
        ("serve", "6 users", 1),
        ("option", "mlperf-v3", 1),
    ],
)
def test_a_long_window_ends_early_and_is_recorded(
    program: Program, mode: str, activity: str, ranks: int
) -> None:
    """Nobody waits for minutes: what was measured counts, over the window that was measured."""
    write_trace(program)
    # Windows begin after a sixth or a fifth of the time, the last two at once.
    more = {
        "store": {"-d": "30"},
        "restore": {"-d": "30"},
        "serve": {"-d": "30"},
        "replay": {"--speed": "0.1"},
    }.get(mode, {})
    # Of the trace, requests are counted, one every half second; otherwise seconds.
    wait = until(program.home / "r-results", activity, 9)
    done = stop(program, "r", mode, wait, {"-np": str(ranks), **more})
    assert "finishing the blocks under way and deleting the cache" in done.err
    summary, issues = judged(program, "r", done)
    metric, (trial,) = summary["metric"], summary["trials"]
    assert 1 <= metric["window_seconds"] == trial["cut_after_seconds"] < 25
    # Ranks end their windows at the same look, of four a second.
    assert round(metric["window_seconds"] * 1e9) % 250_000_000 == 0
    assert metric["reads"] + metric["writes"] > 0
    assert sum(metric["series"]["read_bytes"]) == metric["read_bytes"]
    assert sum(metric["series"]["written_bytes"]) == metric["written_bytes"]
    assert metric["verification"]["bad"] == 0
    assert not {"K.20", "K.22", "K.28"} & set(issues)  # all bytes are accounted for
    assert "mlperf_v3" not in summary
    trials = "3 trials" if mode == "option" else "1 trial"
    assert issues["run.incomplete"]["expected"] == trials
    assert f"{metric['window_seconds']:.1f} s of its window" in issues["run.incomplete"]["actual"]
    assert "cut short: the run was interrupted" in done.out
    assert "INVALID (interrupted)" in done.out
    assert "interrupted" in pages(program, "r")


def test_a_search_that_is_left_has_no_score(program: Program) -> None:
    """Load points that are complete are shown as the curve; none of them is the result."""
    wait = until(program.home / "r-results", "resetting the cache", 0)
    done = stop(program, "r", "search", wait, {"-np": "2", "-d": "30"})
    summary, issues = judged(program, "r", done)
    assert issues["run.incomplete"]["expected"] == "a search, 1 trial"
    assert issues["run.incomplete"]["actual"].startswith("search, load point ")
    assert summary["search"]
    assert all("cut_after_seconds" not in point for point in summary["search"])
    assert not {"metric", "trials", "users", "max_users_at_slo", "slo_confirmed"} & set(summary)
    assert "load curve" in done.out
    assert "users at SLO" not in done.out
    pages(program, "r")


def test_trials_that_are_complete_are_the_score(program: Program) -> None:
    """An interrupt in the second trial leaves the first one, and no half trial beside it."""
    wait = until(program.home / "r-results", "storing, trial 2/3", 1)
    done = stop(program, "r", "store", wait, {"--trials": "3", "-d": "12"})
    summary, issues = judged(program, "r", done)
    (trial,) = summary["trials"]
    assert "cut_after_seconds" not in trial
    assert summary["metric"]["window_seconds"] == pytest.approx(12 / 3 * 5 / 6)
    assert issues["run.incomplete"]["expected"] == "3 trials"
    assert issues["run.incomplete"]["actual"].startswith("trial 2/3")


def test_filling_stops_in_order(program: Program) -> None:
    """Before anything is measured there is a record without figures, and reports that show it."""
    wait = until(program.home / "r-results", "filling the cache", 1)
    done = stop(program, "r", "serve", wait, {"--capacity": "8GiB", "-np": "2"})
    summary, issues = judged(program, "r", done)
    assert issues["run.incomplete"]["actual"] == "filling the cache"
    assert "metric" not in summary
    assert "populate" not in summary
    pages(program, "r")


def test_raw_speeds_keep_what_is_complete(program: Program) -> None:
    """The points of the table that were measured stay, and the files of the others are gone."""
    wait = until(program.home / "r-results", "raw speeds", 1)
    done = stop(program, "r", "raw", wait, {"-np": "2", "-d": "20"})
    summary, issues = judged(program, "r", done)
    assert 1 <= len(summary["raw"]) < 20
    assert issues["run.incomplete"]["expected"] == "all points of raw speeds"
    actual = issues["run.incomplete"]["actual"]
    assert actual.startswith(f"{len(summary['raw'])} of ")
    assert not [path for path in (program.home / "r-cache").rglob("*") if path.is_dir()]
    pages(program, "r")


def test_the_cache_is_kept_where_that_was_asked_for(program: Program) -> None:
    """--keep-cache keeps the blocks of an interrupted run, too; the message says nothing else."""
    wait = until(program.home / "r-results", "6 users", 1)
    done = stop(program, "r", "serve", wait, flags=["--keep-cache"])
    assert done.code == 130, done.err
    assert "finishing the blocks under way; interrupt again" in done.err
    assert blocks_below(program.home / "r-cache")


@pytest.mark.mpi
def test_ranks_under_mpirun_end_their_windows_together(program: Program, mpirun: list[str]) -> None:
    """The launcher's word reaches ranks of MPI, which close one window at one moment."""
    # One rank speaks for both, so a second counts as two.
    wait = until(program.home / "r-results", "storing", 20)
    done = stop(program, "r", "store", wait, {"-np": "2", "-d": "30"}, mpirun)
    summary, _ = judged(program, "r", done)
    assert 1 <= summary["trials"][0]["cut_after_seconds"] < 25
    (record,) = done.records
    outputs = [json.loads(p.read_bytes()) for p in Path(record["result_dir"]).glob("*_output.json")]
    assert len(outputs) == 2
    windows = {phase["record"]["window_ns"] for found in outputs for phase in found["phases"]}
    assert windows == {round(summary["metric"]["window_seconds"] * 1e9)}


def test_what_is_shown_of_a_window_while_it_goes_on(program: Program) -> None:
    """Restores against the SLO at most once a second, in the window only, and the trials as parts.

    The last figures of a window are those of its record.
    """
    done = program(
        "kvcache", "run", *(word for pair in _SMALL.items() for word in pair), "--num-users", "24",
        "-d", "12", "--trials", "2", "--capacity", "512MiB", "--cache-dir", "cache",
        "--results-dir", "r", "-aip",
    )  # fmt: skip
    assert done.code == 0, done.err
    events = events_of(program.home / "r")
    parts = {
        (event["activity"], event["part"], event["parts"])
        for event in events
        if event["type"] == "progress" and "users" in event["activity"]
    }
    assert parts == {("24 users, trial 1/2", 1, 2), ("24 users, trial 2/2", 2, 2)}
    figures = [event for event in events if event["type"] == "figure"]
    assert {figure["name"] for figure in figures} == {"restore p95", "restores within the SLO"}
    restores = [figure for figure in figures if figure["name"] == "restore p95"]
    # Two windows of six seconds, and one more word at the end of each.
    assert 2 <= len(restores) <= 2 * 7
    assert {figure["better"] for figure in restores} == {"lower"}
    shares = [figure for figure in figures if figure["name"] == "restores within the SLO"]
    assert {figure["needed"] for figure in shares} == {95.0}
    summary = json.loads(next((program.home / "r").rglob("summary.json")).read_bytes())
    last = summary["trials"][-1]["restore_p95_ms"]
    assert restores[-1]["value"] == pytest.approx(last)
    assert "restore p95" in done.err
    assert "(needs 95 %)" in done.err
