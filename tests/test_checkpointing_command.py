"""`mlpstorage checkpointing` from the installed command, on real files."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from checkpointing_tiny import Words

if TYPE_CHECKING:
    from conftest import Done, Program


@pytest.fixture
def words(program: Program) -> Words:
    """The words of runs of the tiny model in the program's directory."""
    return Words(program.home)


def _rules(done: Done) -> set[str]:
    return {issue["rule"] for issue in done.json["verdict"]["issues"]}


@pytest.mark.parametrize(
    ("stage", "pipeline", "ranks", "launch"),
    [(3, 1, 2, "local"), (1, 2, 4, "local"), (1, 1, 3, "local"), (3, 1, 3, "mpi")],
)
def test_checkpoints_are_written_and_read_whole(
    program: Program,
    words: Words,
    request: pytest.FixtureRequest,
    stage: int,
    pipeline: int,
    ranks: int,
    launch: str,
) -> None:
    """The files are those of the layout, all bytes are moved once, verified, and accounted for."""
    how = request.getfixturevalue("mpirun") if launch == "mpi" else []
    done = program(*words(*how, ranks=ranks, stage=stage, pipeline=pipeline))
    assert done.code == 1, done.err  # the model is none of the four
    summary = done.json["summary"]
    total = summary["checkpoint_bytes"]
    files = words.files()
    assert sum(files.values()) == 2 * total
    assert not [name for name in files if name.endswith(".part")]
    assert {name.partition("/")[0] for name in files} == {
        "global_epoch1_step1",
        "global_epoch1_step2",
    }
    assert summary["verification"]["sectors"] == 2 * total // 4096
    assert summary["verification"]["mismatches"] == 0
    assert not _rules(done) & {"C.2", "C.4"}
    directory = Path(done.json["result_dir"])
    outputs = [json.loads((directory / f"{rank}_output.json").read_text()) for rank in range(ranks)]
    for number in range(4):
        parts = [output["checkpoints"][number] for output in outputs]
        assert sum(part["bytes"] for part in parts) == total
        assert sum(part["char_bytes"] for part in parts) == pytest.approx(total, rel=0.01)


def test_figures_of_a_run(program: Program, words: Words) -> None:
    """Durations, rates in both units, shares of time, and the reference engine's keys agree."""
    done = program(*words())
    summary = done.json["summary"]
    first, *_, last = summary["checkpoints"]
    assert [c["phase"] for c in summary["checkpoints"]] == ["save", "save", "load", "load"]
    assert 0 < first["first_done_seconds"] <= first["last_done_seconds"]
    assert first["duration_seconds"] == first["last_done_seconds"]
    assert first["aggregate_GB_per_second"] == pytest.approx(
        first["bytes"] / first["duration_seconds"] / 1e9
    )
    assert first["aggregate_GiB_per_second"] == pytest.approx(
        first["aggregate_GB_per_second"] * 1e9 / 2**30
    )
    assert sum(first["time_shares"].values()) == pytest.approx(1)
    assert first["time_shares"]["fsync"] > 0
    assert last["time_shares"]["fsync"] == 0
    saves = summary["checkpoints"][:2]
    metric = summary["metric"]
    assert metric["save_checkpoint_duration_mean_seconds"] == pytest.approx(
        sum(c["duration_seconds"] for c in saves) / 2
    )
    assert metric["save_checkpoint_io_mean_GB_per_second"] == pytest.approx(
        summary["save"]["aggregate_mean_GiB_per_second"]
    )
    assert metric["checkpoint_size_GB"] == pytest.approx(summary["checkpoint_bytes"] / 2**30)
    assert "load_checkpoint_io_mean_GB_per_second" in metric
    assert summary["total_seconds"] > sum(c["duration_seconds"] for c in summary["checkpoints"])
    assert {told["verdict"] for told in summary["bottleneck"].values()}


def test_run_directory_and_history(program: Program, words: Words) -> None:
    """The record lies without a command's folder, with the files of the field, and is listed."""
    done = program(*words())
    directory = Path(done.json["result_dir"])
    assert directory.parent == program.home / "results/checkpointing/tiny"
    names = {path.name for path in directory.iterdir()}
    assert {
        "checkpointing_run.stdout.log",
        f"checkpointing_{directory.name}_metadata.json",
        "summary.json",
        "0_output.json",
        "1_per_epoch_stats.json",
    } <= names
    stats = json.loads((directory / "0_per_epoch_stats.json").read_text())
    assert set(stats["1"]) == {"save_ckpt1", "save_ckpt2", "load_ckpt1", "load_ckpt2"}
    (entry,) = program("history", "list", "--json").json["runs"]
    assert (entry["kind"], entry["status"], entry["verdict"]) == (
        "checkpointing",
        "complete",
        "INVALID",
    )


def test_write_then_read_in_two_runs(program: Program, words: Words) -> None:
    """A run that only reads finds what another wrote; other processes or parameters are refused."""
    assert program(*words("-ncr", "0", "-aip")).code == 0
    stamps = {p: p.stat().st_mtime_ns for p in (program.home / "ck").rglob("*.pt")}
    read = program(*words("-ncw", "0", "-ncr", "3", "-aip"))
    assert read.code == 0, read.err
    assert "save_checkpoint_io_mean_GB_per_second" not in read.json["summary"]["metric"]
    assert read.json["summary"]["load"]["checkpoints"] == 3
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    other = program(*words("-ncw", "0", "-aip", ranks=3))
    assert other.code == 5
    assert "data 2, not 3" in other.err
    nothing = program(*words("-ncw", "0", "-ncr", "0"))
    assert nothing.code == 2


def test_reading_needs_checkpoints(program: Program, words: Words) -> None:
    """Without any, a run that only reads ends before it began, with what to do."""
    done = program(*words("-ncw", "0", "-aip"))
    assert done.code == 3
    assert "does not exist" in done.err
    (program.home / "ck/tiny").mkdir(parents=True)
    done = program(*words("-ncw", "0", "-aip"))
    assert done.code == 3
    assert "holds no checkpoints of this program" in done.err


def test_checkpoints_of_others_are_left_alone(program: Program, words: Words) -> None:
    """A folder with a training's own checkpoints is refused; our own are replaced."""
    real = program.home / "ck/tiny/global_epoch1_step1/zero_pp_rank_0_mp_rank_0_optim_states.pt"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"weeks of training")
    done = program(*words("-aip"))
    assert done.code == 5
    assert "this program has not written" in done.err
    assert real.read_bytes() == b"weeks of training"
    shutil.rmtree(real.parent)
    assert program(*words("-aip")).code == 0
    (real.parent / "notes.txt").write_text("keep")
    assert program(*words("-aip", "-ncw", "1")).code == 0
    assert (real.parent / "notes.txt").read_text() == "keep"
    assert len([name for name in words.files() if "step2" in name]) == 0


def test_the_page_cache_is_dropped_or_detected(program: Program, words: Words) -> None:
    """Buffered reads come from the device after a drop; without one the run is INVALID by C.3."""
    buffered = ["--params", "checkpoint.odirect=false"]
    done = program(*words(*buffered, "--drop-caches", "files"))
    assert done.code == 1, done.err
    if done.json["summary"]["filesystem"] not in {"ext4", "xfs"}:
        pytest.skip(f"reads are not counted on {done.json['summary']['filesystem']}")
    assert done.json["summary"]["cached_share"] < 0.05
    kept = program(*words(*buffered, "--drop-caches", "off"))
    assert kept.code == 5
    assert "4.3.1" in kept.err
    for _ in range(3):  # whoever is root on this machine may drop its cache at any moment
        kept = program(*words(*buffered, "--drop-caches", "off", "-aip"))
        if kept.json["summary"]["cached_share"] > 0.4:
            break
    assert kept.json["summary"]["cached_share"] > 0.4
    assert "C.3" in _rules(kept)


def test_memory_does_not_grow_with_the_checkpoint(program: Program, words: Words) -> None:
    """A rank that writes and reads a file of 600 MiB stays below 150 MiB, and so below 256."""
    larger = ["--params", "model.transformer.vocab_size=100000", "checkpoint.block_size=4194304"]
    done = program(*words("-ncw", "1", "-ncr", "1", *larger, ranks=1))
    assert done.code == 1, done.err
    largest = max(words.files().values())
    peak = done.json["summary"]["peak_rank_memory_bytes"]
    assert largest > 590 << 20
    assert peak < 150 << 20
    assert largest > 4 * peak


def test_datasize_prints_a_command_that_runs(program: Program, words: Words) -> None:
    """What datasize prints next is understood, word for word."""
    options = words()[2:]
    sized = program("checkpointing", "datasize", *options[:-1], "-cm", "1GiB")
    assert sized.code == 0, sized.err
    assert sized.json["total_disk_bytes"] == 2 * sized.json["checkpoint_bytes"]
    (command,) = (shlex.split(line) for line in sized.json["commands"])
    done = program(*command[1:], "-aip", "--json")
    assert done.code == 0, done.err
    assert done.json["summary"]["checkpoint_bytes"] == sized.json["checkpoint_bytes"]


def test_datasize_of_the_published_models(program: Program) -> None:
    """The size of 1t differs from the published one, and the reason is given."""
    sized = program("checkpointing", "datasize", "-m", "llama3-1t", "-np", "1024", "--json")
    assert sized.json["checkpoint_GiB"] == pytest.approx(15426.5, abs=0.05)
    assert "+17 %" in sized.json["published_note"]
    wrong = program("checkpointing", "datasize", "-m", "llama3-405b", "-np", "408")
    assert wrong.code == 2
    assert "multiple of 256" in wrong.err


def test_closed_refuses_before_any_work(program: Program) -> None:
    """A wrong number of processes, or a changed model, stops at the plan; nothing is made."""
    eight = ["checkpointing", "run", "-m", "llama3-8b", "-cf", "ck", "--closed"]
    for more in (
        ["-np", "16"],
        ["-np", "8", "-p", "model.num_layers=2"],
        ["-np", "8", "-ncw", "1"],
    ):
        done = program(*eight, *more)
        assert done.code == 5, done.err
        assert "can never be CLOSED" in done.err
    assert not (program.home / "ck").exists()
    assert not (program.home / "results").exists()


def test_what_if_shows_the_plan(program: Program) -> None:
    """--what-if shows sizes and verdict so far of a run that this disk could not hold."""
    whole = ["checkpointing", "run", "-m", "llama3-405b", "-np", "512", "-cf", "ck"]
    done = program(*whole, "--what-if", "--json")
    assert done.code == 0, done.err
    assert done.json["parameters"]["model"]["num_layers"] == 126
    assert done.json["verdict_so_far"]["category"] in {"CLOSED", "OPEN"}


def test_dlio_is_refused_with_the_reason(program: Program, words: Words) -> None:
    """DLIO 2.0.0 has no workload of checkpoints alone, and a tree cannot be launched yet."""
    done = program(*words("--engine", "dlio"))
    assert done.code == 5
    assert "2.0.0" in done.err
    assert "--dlio-path" in done.err
    named = program(*words("--engine", "dlio", "--dlio-path", "tree"))
    assert named.code == 5
    assert "tree" in named.err
    alone = program(*words("--dlio-path", "tree"))
    assert alone.code == 2


def test_configview_names_the_layers(program: Program) -> None:
    """Every value of the workload with file and line, parameter or flag."""
    view = program(
        "checkpointing", "configview", "-m", "llama3-8b", "-np", "8", "-ncw", "3", "--json",
        "-p", "checkpoint.block_size=4096",
        env={"MLPSTORAGE_CHECKPOINT_FOLDER": "from-env"},
    )  # fmt: skip
    assert view.code == 0, view.err
    sources = view.json["sources"]
    assert sources["model.num_layers"] == "llama3-8b.yaml:5"
    assert sources["checkpoint.num_checkpoints_write"] == "--num-checkpoints-write"
    assert sources["checkpoint.block_size"] == "--params"
    assert sources["checkpoint.write_threads"] == "default"
    folder = view.json["options"]["checkpoint_folder"]
    assert folder == {"value": "from-env", "source": "env MLPSTORAGE_CHECKPOINT_FOLDER"}
