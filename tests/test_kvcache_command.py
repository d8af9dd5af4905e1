"""`mlpstorage kvcache` from the installed command, on real files."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Done, Program

# Blocks of 192 KiB, 340 of them: a run is over in seconds.
SMALL = {
    "--model": "tiny-1b",
    "--kv-dtype": "fp8",
    "--block-tokens": "16",
    "--capacity": "64MiB",
    "--cache-dir": "cache",
}


def small(*more: str) -> list[str]:
    """The options of a small cache, but for those that are given."""
    return [*more, *(w for pair in SMALL.items() if pair[0] not in more for w in pair)]


def run(program: Program, *more: str, env: dict[str, str] | None = None) -> Done:
    """A small run; the result as JSON."""
    return program("kvcache", "run", *small(*more), "--json", "-aip", env=env)


def metadata_of(done: Done) -> dict[str, Any]:
    """The record of a finished run."""
    path = next(Path(done.json["result_dir"]).glob("*_metadata.json"))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def blocks_below(folder: Path) -> list[str]:
    """The files of blocks, in a directory that changes meanwhile."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".kv")]


def write_trace(program: Program, requests: int = 60) -> str:
    """A trace of conversations that go on, twenty requests per second."""
    lines = []
    for number in range(requests):
        conversation, turn = number % 12, number // 12
        ids = [0, *(1000 * (conversation + 1) + k for k in range(turn + 2))]
        lines.append(
            {
                "timestamp": 50 * number,
                "input_length": 512 * len(ids),
                "output_length": 9,
                "hash_ids": ids,
            }
        )
    path = program.home / "trace.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return str(path)


def replay(program: Program, *more: str) -> Done:
    """Replay the small trace."""
    return run(program, "--trace", "trace.jsonl", *more)


def test_serving_users(program: Program) -> None:
    """A number of users is served, every byte verified; the run leaves its record and no blocks."""
    done = run(program, "--num-users", "6", "--duration", "3")
    assert done.code == 0, done.err
    summary = done.json["summary"]
    metric = summary["metric"]
    assert metric["reads"] > 0
    assert metric["requests"] > 5
    assert metric["verification"]["bad"] == 0
    assert metric["verification"]["blocks"] >= metric["reads"]
    assert metric["read_gbps"] == pytest.approx(metric["read_bytes"] / 3e9, rel=0.2)
    assert sum(metric["series"]["read_bytes"]) == metric["read_bytes"]
    assert metric["ttft_storage_ms"]["all"]["n"] > 0
    assert not list((program.home / "cache").iterdir())
    metadata = metadata_of(done)
    assert metadata["status"] == "complete"
    assert metadata["benchmark_type"] == "kv_cache"
    assert metadata["parameters"]["shape"]["block_bytes"] == 192 << 10
    assert metadata["cluster_snapshots"]["end"]["hosts"]
    directory = Path(done.json["result_dir"])
    assert directory.parent == program.home / "results/kv_cache/run"
    assert "restored" in (directory / "kv_cache_run.stdout.log").read_text()
    listed = program("history", "list", "--json").json["runs"]
    assert [(entry["status"], entry["verdict"]) for entry in listed] == [("complete", "INVALID")]


def test_a_search_finds_the_most_users(program: Program) -> None:
    """Ranks search together: the score is of the best load point, or of the next below it."""
    done = run(program, "--duration", "6", "--num-processes", "2")
    assert done.code == 0, done.err
    summary = done.json["summary"]
    met = [point["users"] for point in summary["search"] if point["met"]]
    assert summary["users"] <= max(met, default=1)
    assert summary["slo_confirmed"] is all(trial["met"] for trial in summary["trials"])
    best = summary["users"] if summary["slo_confirmed"] else 0
    assert summary["max_users_at_slo"] == best
    failed = [point["users"] for point in summary["search"] if not point["met"]]
    assert summary["search_bounded"] is any(users > best for users in failed)
    assert summary["num_ranks"] == 2


def test_a_replay_hits_what_its_plan_says(program: Program) -> None:
    """All of a trace is replayed, and storage delivers exactly the plan's hits."""
    write_trace(program)
    sized = program("kvcache", "datasize", *small("--trace", "trace.jsonl"), "--json")
    assert sized.code == 0, sized.err
    plan = sized.json["plan"]
    done = replay(program)
    assert done.code == 0, done.err
    summary, metric = done.json["summary"], done.json["summary"]["metric"]
    assert summary["plan"]["hash"] == sized.json["plan_hash"]
    assert metric["hit_rate_tokens_storage"] == pytest.approx(plan["hit_storage"])
    assert (metric["reads"], metric["writes"], metric["deletes"]) == (
        plan["read_blocks"],
        plan["written_blocks"],
        plan["deleted_blocks"],
    )
    assert plan["deleted_blocks"] > 0
    assert metric["window_seconds"] >= 59 * 0.05


def test_ranks_together_replay_the_same_operations(program: Program, mpirun: list[str]) -> None:
    """Two ranks under mpirun, or three local ones, have one rank's hash, and do its operations."""
    write_trace(program)
    found = []
    for how in ([], ["--num-processes", "3"], [*mpirun, "--num-processes", "2"]):
        done = replay(program, "--capacity", "1GiB", *how)
        assert done.code == 0, done.err
        metric = done.json["summary"]["metric"]
        missed = metric["reads_missed"]["absent"]
        found.append(
            (done.json["summary"]["plan"]["hash"], metric["reads"] + missed, metric["writes"])
        )
    assert len(set(found)) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--mode", "restore"],
        ["--mode", "store"],
        ["--mode", "restore", "--num-processes", "2", "--num-users", "3"],
        ["--mode", "store", "--num-processes", "2"],
        ["--num-users", "4", "--layout", "slab", "--trials", "2"],
        ["--num-users", "12", "--key-space", "private", "-np", "2", "--trials", "2", "-d", "3"],
        ["--num-users", "4", "--cpu-mem-gb", "8MiB", "--write-policy", "exclusive"],
        ["--num-users", "4", "--durable", "--verify", "full", "--enable-rag"],
        ["--num-users", "4", "--disable-multi-turn", "--disable-prefix-caching"],
    ],
    ids=" ".join,
)
def test_modes_and_options(program: Program, options: list[str]) -> None:
    """Every mode, layout and policy moves bytes, verifies them, and cleans up."""
    done = run(program, *options, *([] if "-d" in options else ["-d", "1"]))
    assert done.code == 0, done.err
    metric = done.json["summary"]["metric"]
    assert metric["reads"] + metric["writes"] > 0
    assert metric["verification"]["bad"] == 0
    assert not list((program.home / "cache").iterdir())


def test_the_published_options(program: Program) -> None:
    """mlperf-v3 runs with fewer users, says what is not as published, and adds its score."""
    done = program(
        "kvcache", "run", "--mode", "mlperf-v3", "--option", "1", "--num-users", "2", "-d", "2",
        "--trials", "1", "--capacity", "2GiB", "--cache-dir", "cache", "--json", "-aip",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["summary"]["mlperf_v3"]["write_gbps"] > 0
    fixed = [i for i in done.json["verdict"]["issues"] if i["rule"] == "6.3.1.1"]
    assert {issue["parameter"] for issue in fixed} == {"--num-users", "--duration", "--trials"}


def test_the_printed_command_runs(program: Program) -> None:
    """What datasize prints next is understood, word for word."""
    sized = program("kvcache", "datasize", *small("--mode", "restore", "-d", "1"), "--json")
    assert sized.code == 0, sized.err
    (command,) = (shlex.split(text) for text in sized.json["commands"])
    done = program(*command[1:], "--json", "-aip")
    assert done.code == 0, done.err
    assert done.json["summary"]["block_bytes"] == sized.json["block_bytes"]


def test_the_page_cache_is_detected(program: Program) -> None:
    """Buffered blocks come from memory: the run says so and is INVALID."""
    done = run(program, "--mode", "restore", "--duration", "1", "--buffered")
    if done.json["summary"]["filesystem"] not in {"ext4", "xfs", "tmpfs"}:
        pytest.skip("reads are not counted on this filesystem")
    assert "K.23" in {issue["rule"] for issue in done.json["verdict"]["issues"]}


def test_a_preloaded_library_is_named(program: Program) -> None:
    """LD_PRELOAD in the ranks' environment makes a run INVALID, and names the library."""
    library = next(
        line.split()[-1]
        for line in Path("/proc/self/maps").read_text().splitlines()
        if "libc.so" in line
    )
    done = run(program, "--num-users", "1", "-d", "1", env={"LD_PRELOAD": library})
    (issue,) = [i for i in done.json["verdict"]["issues"] if i["rule"] == "K.21"]
    assert library in issue["actual"]


def test_closed_refuses_before_any_work(program: Program) -> None:
    """CLOSED stops at the plan with exit code 5, and names every rule at once."""
    words = ("--closed", "--capacity", "1GiB", "--block-tokens", "128", "--cache-dir", "cache")
    refused = program("kvcache", "run", *words)
    assert refused.code == 5
    for rule in ("K.1", "K.2", "K.5", "K.6", "K.8"):
        assert f"by rule {rule}:" in refused.err
    assert not (program.home / "results").exists()


def test_a_profile_need_not_be_named(program: Program) -> None:
    """The default model and blocks are those of K1, whether or not somebody says so."""
    plain = program("kvcache", "run", "--what-if", "--json", "--cache-dir", "cache")
    named = program("kvcache", "run", "--what-if", "--json", "--profile", "K1", "--cache-dir", "c")
    assert plain.json["parameters"]["profile"] == named.json["parameters"]["profile"] == "K1"
    issues = [issue["rule"] for issue in plain.json["verdict_so_far"]["issues"]]
    assert "K.1" not in issues


def test_what_if_shows_the_plan(program: Program) -> None:
    """--what-if prints plan and verdict so far, and starts nothing."""
    done = run(program, "--what-if", "--enable-autoscaling", "--kvcache-bin-path", "/usr/bin")
    assert done.code == 0, done.err
    assert done.json["verdict_so_far"]["category"] == "OPEN"
    shown = program("kvcache", "run", *small("--what-if", "--kvcache-bin-path", "/usr/bin")).out
    assert "--kvcache-bin-path has no effect" in shown
    assert not (program.home / "results").exists()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--trace", "none.jsonl"], 3, "none.jsonl"),
        (["--trace", "bad.jsonl"], 5, "bad.jsonl:2"),
        (["--layout", "slab", "--num-processes", "2"], 2, "cannot share slabs"),
        (["--write-policy", "exclusive", "--num-processes", "2"], 2, "exclusive"),
        (["--capacity", "900TiB"], 5, "are free for a cache"),
        (["--model", "tiny-2b"], 2, "tiny-1b"),
        (["--slo", "fast"], 2, "--slo"),
        (["--cache-dir", "file"], 5, "is not a directory"),
    ],
)
def test_mistakes_are_refused_before_the_run(
    program: Program, options: list[str], code: int, message: str
) -> None:
    """A wrong option, trace or place ends with its own exit code and no run."""
    (program.home / "bad.jsonl").write_text(
        '{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}\n{"oops": 1}\n'
    )
    (program.home / "file").write_text("")
    done = run(program, *options)
    assert done.code == code, done.err
    assert message in done.err
    assert not list((program.home / "results").rglob("*_metadata.json"))


def test_a_killed_run_is_cleaned_up_by_the_next(program: Program) -> None:
    """A second run at the same time is refused; after a kill, the next one removes what is left."""
    first = program.start("kvcache", "run", *small("--num-users", "2", "--duration", "60"))
    left = program.home / "cache/kvcache_data/blocks"
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not blocks_below(left):
        time.sleep(0.05)
    assert blocks_below(left)
    refused = run(program, "--num-users", "2")
    assert refused.code == 5
    assert "is using the cache in" in refused.err
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=30)
    done = run(program, "--num-users", "2", "--duration", "1")
    assert done.code == 0, done.err
    assert not [path for path in (program.home / "cache").iterdir() if path.is_dir()]
