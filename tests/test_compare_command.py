"""`mlpstorage compare` from the installed command, on real runs and on trees that are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.run import Status
from mlpstorage.store.codec import Metadata, write_json, write_metadata
from mlpstorage.store.sets import SetMember, SetRecord, write_set

if TYPE_CHECKING:
    from conftest import Program

EPOCHS = (100.0, 101.0, 99.0, 100.5, 99.5)


def add_run(root: Path, number: int, factor: float = 1.0, **facts: Any) -> str:  # noqa: ANN401 (any field)
    """Write a training run of these epochs into a results tree; its id."""
    stamp = f"20260101_1000{number:02d}"
    directory = root / "results/training/tiny/run" / stamp
    directory.mkdir(parents=True)
    name = f"training_run_tiny_{stamp}"
    known: dict[str, Any] = {
        "benchmark_type": "training",
        "model": "tiny",
        "command": "run",
        "accelerator": "h100",
        "num_processes": 1,
        "run_id": name,
        "status": Status.COMPLETE,
        "parameters": {"train": {"epochs": 5}, "reader": {"read_threads": 4}},
        "system_info": {"hosts": [{"hostname": "one", "cpu": {"num_cores": 8}}]},
    }
    write_metadata(directory / f"training_{stamp}_metadata.json", Metadata(**{**known, **facts}))
    rates = [value * factor for value in EPOCHS]
    metric = {
        "train_throughput_samples_per_second": rates,
        "train_throughput_mean_samples_per_second": sum(rates) / len(rates),
    }
    latency = {"p50": 1000 / factor, "p99": 9000 / factor}
    write_json(directory / "summary.json", {"metric": metric, "file_read_latency_us": latency})
    return name


def add_set(root: Path, number: int, rates: tuple[float, ...]) -> str:
    """Write a set of runs with these throughputs, after a warm-up at half of the first; its id."""
    name = f"training_set_tiny_20260101_1000{number:02d}"
    roles = ["warm-up", *["measured"] * len(rates)]
    for place, (role, rate) in enumerate(zip(roles, (rates[0] / 2, *rates), strict=True), start=1):
        facts = {"set_id": name, "set_role": role, "set_place": place, "set_size": len(roles)}
        add_run(root, number + place, rate / 100, **facts)
    path = root / f"results/training/tiny/set/20260101_1000{number:02d}/training_x_set.json"
    path.parent.mkdir(parents=True)
    members = tuple(SetMember(role=role) for role in roles)
    record = SetRecord(
        set_id=name, benchmark_type="training", status=Status.COMPLETE, members=members
    )
    write_set(path, record)
    return name


def judged(program: Program, *words: str) -> dict[str, Any]:
    """The comparison as JSON, its figures by name."""
    done = program("compare", *words, "--json")
    document = done.json
    assert document["exit_code"] == done.code
    return {**document, "by_name": {one["name"]: one for one in document["metrics"]}}


def test_real_runs_are_compared_with_themselves(program: Program) -> None:
    """A run does not differ from itself, by its id, its number, or its directory."""
    program.datagen(24)
    done = program.run(24, "train.epochs=3", "-aip", "--skip-timeseries")
    assert done.code == 0, done.err
    for other in ("2", done.json["result_dir"]):
        found = judged(program, done.json["run_id"], other, "--fail-if", "throughput<-5%")
        assert found["exit_code"] == 0
        assert {one["difference_percent"] for one in found["metrics"]} == {0.0}
        for name in ("throughput", "au", "read"):
            assert found["by_name"][name]["judgement"] == "no difference"
        assert found["differs"] == {"workload": [], "configuration": [], "hosts": []}
    shown = program("compare", "2", "2")
    assert shown.code == 0
    assert "3 and 3 epochs" in shown.out
    generated = program("compare", "1", "2")
    assert generated.code == 5
    assert "has no figures" in generated.err


def test_a_gate_fails_the_command(program: Program) -> None:
    """A throughput 10 % lower is worse, and --fail-if makes the exit code 1; higher latency too."""
    before, after = add_run(program.home, 1), add_run(program.home, 2, 0.9)
    plain = judged(program, before, after)
    assert plain["exit_code"] == 0
    assert plain["by_name"]["throughput"]["judgement"] == "worse"
    assert plain["by_name"]["throughput"]["difference_percent"] == pytest.approx(-10)
    assert plain["by_name"]["read_p99"]["judgement"] == "not decided"
    failed = program("compare", before, after, "--fail-if", "throughput<-5%", "read_p99>20%")
    assert failed.code == 1
    assert "throughput<-5%  FAILED" in " ".join(failed.out.split("\n"))
    assert "read_p99>20%" in failed.out
    assert program("compare", before, after, "--fail-if", "throughput<-15%").code == 0
    assert program("compare", after, before, "--fail-if", "throughput<-5%").code == 0
    assert judged(program, after, before)["by_name"]["throughput"]["judgement"] == "better"


def test_sets_are_compared_run_by_run(program: Program) -> None:
    """The samples of two sets are their measured runs; warm-ups do not count."""
    one = add_set(program.home, 1, (100.0, 100.5, 99.5, 100.2, 99.8))
    two = add_set(program.home, 21, (104.0, 104.5, 103.5, 104.2, 103.8))
    found = judged(program, one, two)["by_name"]["throughput"]
    assert found["basis"] == "5 and 5 runs"
    assert found["judgement"] == "better"
    assert found["baseline"] == pytest.approx(100)
    assert found["interval_low_percent"] < 4 < found["interval_high_percent"]
    place = program.home / "results/training/tiny/set/20260101_100021"
    assert judged(program, one, str(place))["by_name"]["throughput"] == found
    elsewhere = type(program)(program.home / "results")
    assert judged(elsewhere, str(place), str(place))["candidate"]["runs"] == 5


def test_other_work_is_refused(program: Program) -> None:
    """Runs of different work are refused with all that differs; --force compares them."""
    before = add_run(program.home, 1)
    after = add_run(
        program.home,
        2,
        accelerator="b200",
        parameters={"train": {"epochs": 2}, "reader": {"read_threads": 8}},
        system_info={"hosts": [{"hostname": "two", "cpu": {"num_cores": 16}}]},
    )
    refused = program("compare", before, after)
    assert refused.code == 5
    for text in ("h100 → b200", "train.epochs 5 → 2", "read_threads 4 → 8", "cores 8 → 16"):
        assert text in refused.err
    forced = program("compare", before, after, "--force")
    assert forced.code == 0, forced.err
    assert "different workloads" in forced.out
    assert "hosts that differ" in forced.out
    tuned = add_run(
        program.home, 3, parameters={"train": {"epochs": 5}, "reader": {"read_threads": 8}}
    )
    allowed = program("compare", before, tuned)
    assert allowed.code == 0, allowed.err
    assert "reader.read_threads" in allowed.out


def test_what_has_no_result_is_refused(program: Program) -> None:
    """A run that failed, a torn summary, an unknown id, another benchmark: each says why."""
    good, failed = add_run(program.home, 1), add_run(program.home, 2, status=Status.FAILED)
    assert "it is failed" in program("compare", good, failed).err
    torn = add_run(program.home, 3)
    (program.home / "results/training/tiny/run/20260101_100003/summary.json").write_text("{")
    done = program("compare", good, torn)
    assert done.code == 5
    assert "summary.json" in done.err
    missing = program("compare", good, "training_run_tiny_20260101_100009")
    assert missing.code == 3
    assert "did you mean" in missing.err
    empty = program.home / "empty"
    empty.mkdir()
    assert program("compare", good, str(empty)).code == 3
    other = add_run(program.home, 4, benchmark_type="checkpointing")
    assert program("compare", good, other).code in {2, 5}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--fail-if", "throughput"], "is not a condition"),
        (["--fail-if", "rate<1%"], "no figure 'rate'"),
        (["--confidence", "100%"], "50% to 99.9%"),
        (["--confidence", "sure"], "no percentage"),
        (["--least", "-1%"], "--least"),
    ],
)
def test_wrong_options_are_refused(program: Program, words: list[str], text: str) -> None:
    """Each wrong option is named, with exit code 2."""
    add_run(program.home, 1)
    done = program("compare", "1", "1", *words)
    assert done.code == 2
    assert text in done.err


def test_hostile_records_do_no_harm(program: Program) -> None:
    """Escape sequences in records are shown as text, and links are not followed."""
    before = add_run(program.home, 1)
    after = add_run(program.home, 2, args={"data_dir": "/a\x1b[2J", "\x1b[31m": 1})
    done = program("compare", before, after)
    assert done.code == 0, done.err
    assert "\x1b" not in done.out
    summary = program.home / "results/training/tiny/run/20260101_100002/summary.json"
    document = summary.read_text()
    summary.unlink()
    outside = program.home / "outside.json"
    outside.write_text(document)
    summary.symlink_to(outside)
    refused = program("compare", before, after)
    assert refused.code == 5
    assert "link" in refused.err
    assert json.loads(Path(outside).read_text())
