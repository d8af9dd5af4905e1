"""Ctrl-C on `mlpstorage vectordb`: what is complete is kept, and `resume` goes on with it."""

from __future__ import annotations

import json
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from test_interrupts import Stopped
from vectordb_program import made, small

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence

    from conftest import Program

_WAIT_SECONDS = 90


@dataclass(frozen=True)
class OneStopped(Stopped):
    """A command that was interrupted, and the one run that it left."""

    @property
    def record(self) -> dict[str, Any]:
        """The metadata of the one run, which was interrupted."""
        (record,) = self.records
        assert (record["status"], record["exit_code"]) == ("interrupted", 130), self.err
        return record

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of the one run."""
        found = json.loads((Path(self.record["result_dir"]) / "summary.json").read_bytes())
        return dict(found)

    @property
    def incomplete(self) -> dict[str, Any]:
        """The finding that it was not complete; it comes before what the results tell."""
        issues = self.record["verification"]["issues"]
        return next(issue for issue in issues if issue["rule"] == "run.incomplete")


def events(results: Path) -> list[dict[str, Any]]:
    """Whatever the runs have told by now."""
    found: list[dict[str, Any]] = []
    for log in results.rglob("events.jsonl"):
        found += [json.loads(line) for line in log.read_text().split("\n")[:-1]]
    return found


def interrupt(
    program: Program,
    *words: str | Path,
    when: Callable[[], object],
    results: str = "r",
    params: Sequence[str] = (),
    signals: int = 1,
    number: signal.Signals = signal.SIGINT,
) -> OneStopped:
    """Start a command, wait until something is so, interrupt it, and wait for its end.

    The options of its data come last: those of a small data set, if none are given.
    """
    process = program.start(*words, "--results-dir", results, *(params or small()))
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, events(program.home / results)[-3:]
            time.sleep(0.005)
        process.send_signal(number)
        for level in range(1, signals):
            wait_for_level(program.home / results, level, process)
            process.send_signal(number)
        out, err = process.communicate(timeout=_WAIT_SECONDS)
    finally:
        process.kill()
        process.wait()
    return OneStopped(process.returncode, out, err, program.home / results)


def wait_for_level(results: Path, level: int, process: subprocess.Popen[str]) -> None:
    """Wait until the program has told of an interrupt, or has ended."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not tells(results, "interruption", level=level) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def tells(results: Path, kind: str, **fields: object) -> bool:
    """Whether an event of a type was told that has these fields; a text need only begin so."""
    for event in events(results):
        same = [
            str(event.get(name, "")).startswith(value)
            if isinstance(value, str)
            else event.get(name) == value
            for name, value in fields.items()
        ]
        if event["type"] == kind and all(same):
            return True
    return False


def working_in(home: Path) -> list[int]:
    """The processes of the program that work in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                own = b"mlpstorage" in (entry / "cmdline").read_bytes()
                if own and (entry / "cwd").readlink() == home:
                    found.append(int(entry.name))
            except OSError:  # it has ended
                continue
    return found


def search(*more: str, clients: str = "1,2", engine: str = "ivf-probe") -> list[str]:
    """A run of short points, whose figures on a busy machine are nobody's concern."""
    return [
        "vectordb", "run", "--vdb-engine", engine, "--runtime", "1", "--ramp", "0.2", "-aip",
        "--num-query-processes", clients, *more,
    ]  # fmt: skip


@pytest.mark.parametrize("way", ["local", "mpi"])
def test_ten_random_moments(program: Program, way: str, request: pytest.FixtureRequest) -> None:
    """Whenever it comes: 130, nothing left running, INVALID, usable reports and collection."""
    mpi = request.getfixturevalue("mpirun") if way == "mpi" else []
    made(program)
    seed = random.SystemRandom().randrange(1 << 30)
    moments = random.Random(seed)  # noqa: S311 - not a secret
    waits = [moments.uniform(0.5, 8.0) for _ in range(10)]

    def one(number: int) -> OneStopped:
        sends = signal.SIGTERM if number % 3 == 2 else signal.SIGINT
        begun = time.monotonic()
        return interrupt(
            program,
            *search(
                "--storage-root", f"index-{number}", "--load-batch-size", "2", *mpi,
                clients="1,1,1,1,1,1" if number % 2 else "3,1,2,3,1,2",
            ),
            when=lambda: time.monotonic() - begun > waits[number],
            results=f"r{number}",
            number=sends,
        )  # fmt: skip

    with ThreadPoolExecutor(3) as pool:
        stopped = list(pool.map(one, range(10)))
    for number, done in enumerate(stopped):
        told = f"seed {seed}, moment {number} of {waits}: {done.err}"
        assert done.code == 130, told
        assert "Traceback" not in done.err, told
        assert len(done.records) <= 1, told
        for record in done.records:
            assert record["status"] == "interrupted", told
            assert record["verification"]["category"] == "INVALID", told
            assert done.incomplete, told
            for words in (("reports", "reportgen"), ("history", "list"), ("history", "show",
                          "--id", record["run_id"])):  # fmt: skip
                page = program(*words, "--results-dir", f"r{number}")
                assert page.code in (0, 1), (told, page.err)
                assert "Traceback" not in page.err, (told, page.err)
    assert working_in(program.home) == []
    for number in (0, 5):
        again = program(*search("--storage-root", f"index-{number}", "--json", clients="1"),
                        *small())  # fmt: skip
        assert again.code == 0, again.err
        assert again.json["summary"]["inserted_vectors"] == 3000


@pytest.mark.parametrize("rebuild", [False, True])
def test_a_load_goes_on(program: Program, *, rebuild: bool) -> None:
    """Whole batches stay in the collection, and `resume` loads the others, by --rebuild too."""
    made(program)
    if rebuild:
        assert program(*search(clients="1"), *small()).code == 0
    staged = program.home / "vectors/tiny/collections/ivf-probe-ivf_flat/staged.f32"
    done = interrupt(
        program,
        *search("--load-batch-size", "1", *(["--rebuild"] if rebuild else [])),
        when=lambda: staged.exists() and staged.stat().st_size >= 50 * 64,
    )
    assert done.code == 130, done.err
    assert "finishing the batch, index or sweep point" in done.err
    loaded = done.summary["inserted_vectors"]
    assert 50 <= loaded < 3000
    assert staged.stat().st_size == loaded * 64
    assert done.incomplete["actual"] == f"0 of them; {loaded} of 3000 vectors are loaded"
    assert f"{loaded} of 3000 are loaded" in done.out
    resumed = program("resume", "--results-dir", "r", "--json")
    assert resumed.code == 0, resumed.err
    assert resumed.json["summary"]["load"]["resumed_from"] == loaded
    assert resumed.json["summary"]["recall"] >= 0.95
    assert f"goes on after the {loaded} vectors" in resumed.err


def test_a_rebuild_that_had_not_begun_is_still_one(program: Program) -> None:
    """A run that was ended before it removed anything is resumed as it was asked for."""
    made(program)
    assert program(*search(clients="1"), *small()).code == 0
    record = program.home / "vectors/tiny/collections/ivf-probe-ivf_flat/collection.json"
    before = json.loads(record.read_bytes())
    done = interrupt(
        program, *search("--rebuild", clients="1"),
        when=lambda: [*(program.home / "r").rglob("events.jsonl")],
    )  # fmt: skip
    assert done.code == 130, done.err
    worked = any(event["type"] == "progress" for event in events(program.home / "r"))
    resumed = program("resume", "--results-dir", "r", "--json")
    assert resumed.code == 0, resumed.err
    assert worked or resumed.json["summary"]["load"]["reused"] is False
    assert worked or json.loads(record.read_bytes()) != before


def test_what_cannot_be_gone_on_with_is_loaded_anew(program: Program) -> None:
    """Where the backend has lost what the record speaks of, the run says so and begins again."""
    made(program)
    staged = program.home / "vectors/tiny/collections/ivf-probe-ivf_flat/staged.f32"
    done = interrupt(
        program, *search("--load-batch-size", "1"),
        when=lambda: staged.exists() and staged.stat().st_size >= 50 * 64,
    )  # fmt: skip
    assert done.code == 130, done.err
    staged.unlink()
    resumed = program("resume", "--results-dir", "r", "--json")
    assert resumed.code == 0, resumed.err
    assert "the load begins anew" in resumed.err
    assert resumed.json["summary"]["load"]["resumed_from"] == 0


def test_points_that_are_complete_are_kept(program: Program) -> None:
    """The point at hand is finished, and the points so far are reported as a result."""
    made(program)
    results = program.home / "r"
    done = interrupt(
        program, *search(clients="2,1,2,1,2,1"),
        when=lambda: tells(results, "figure", name="QPS")
        and tells(results, "progress", activity="point 2/6"),
    )  # fmt: skip
    assert done.code == 130, done.err
    summary = done.summary
    complete = summary["points_complete"]
    assert 2 <= complete == len(summary["points"]) < 6
    assert summary["throughput_qps"] > 0
    assert summary["recall"] >= 0.95
    assert not any(point["ended_early"] for point in summary["points"])
    assert done.incomplete["actual"] == f"{complete} of them"
    assert done.incomplete["expected"] == "6 points of the sweep"
    assert "INVALID (interrupted)" in done.out
    whole = program(*search("--json", "--results-dir", "r2", clients="2,1"), *small())
    assert whole.json["summary"]["load"]["reused"] is True
    sides = [done.record["result_dir"], whole.json["result_dir"]]
    compared = program("compare", "--force", *sides)
    assert "Traceback" not in compared.err
    assert compared.code in (0, 5), compared.err


def test_a_long_window_is_ended_early(program: Program) -> None:
    """A window of hours ends with the answers at hand; its rate is that of the time it had."""
    made(program)
    results = program.home / "r"
    words = ("vectordb", "run", "--vdb-engine", "ivf-probe", "--runtime", "7200", "--ramp", "0.1",
             "--num-query-processes", "2,1")  # fmt: skip
    began = 0.0

    def for_two_seconds() -> bool:
        nonlocal began
        if not began and tells(results, "figure", name="QPS"):
            began = time.monotonic()
        return bool(began) and time.monotonic() - began > 2

    done = interrupt(program, *words, when=for_two_seconds)
    assert done.code == 130, done.err
    summary = done.summary
    (point,) = summary["points"]
    assert point["ended_early"]
    assert summary["points_complete"] == 0
    assert 2 < point["seconds"] < _WAIT_SECONDS
    outputs = [json.loads((Path(done.record["result_dir"]) / f"{rank}_output.json").read_bytes())
               for rank in (0, 1)]  # fmt: skip
    rates = [o["points"][0]["queries"] / o["points"][0]["window_seconds"] for o in outputs]
    assert point["qps"] == pytest.approx(sum(rates))
    assert done.incomplete["actual"].startswith("0 of them, and ")


def test_a_number_of_queries_is_ended_early_too(program: Program) -> None:
    """A point that ends by its queries may take long: it does not, when nobody wants it."""
    made(program)
    results = program.home / "r"
    words = ("vectordb", "run", "--vdb-engine", "ivf-probe", "--queries", "1000000000",
             "--ramp", "0", "--num-query-processes", "1")  # fmt: skip
    done = interrupt(
        program, *words,
        when=lambda: sum(e.get("name") == "QPS" for e in events(results)) >= 2,
    )  # fmt: skip
    assert done.code == 130, done.err
    (point,) = done.summary["points"]
    assert 0 < point["queries"] < 1_000_000_000
    assert any(e.get("unit") == "requests" for e in events(results))


def test_calibration_is_left_between_its_steps(program: Program) -> None:
    """What was tried is in the record, and the collection is there for the next run."""
    made(program)
    results = program.home / "r"
    done = interrupt(
        program, *search(),
        when=lambda: tells(results, "progress", activity="calibrating"),
    )  # fmt: skip
    assert done.code == 130, done.err
    assert done.summary["inserted_vectors"] == 3000
    record = program.home / "vectors/tiny/collections/ivf-probe-ivf_flat/collection.json"
    assert json.loads(record.read_bytes())["status"] == "built"


def test_what_is_measured_is_shown_meanwhile(program: Program) -> None:
    """Every stage tells how far it is and what it has found, with what is needed."""
    made(program)
    done = program(*search("--progress", "lines", clients="1,2"), *small())
    assert done.code == 0, done.err
    found = events(program.home / "results")
    figures = {(e["name"], e["unit"]): e for e in found if e["type"] == "figure"}
    assert figures["recall", "%"]["needed"] == 95
    assert figures["QPS", "queries/s"]["value"] > 0
    assert (figures["p99", "ms"]["needed"], figures["p99", "ms"]["better"]) == (20, "lower")
    assert figures["load", "vectors/s"]["value"] > 0
    points = [e for e in found if e["type"] == "progress" and e["activity"].startswith("point ")]
    assert {(e["activity"], e["part"], e["parts"]) for e in points} == {
        ("point 1/2, clients: 1", 1, 2), ("point 2/2, clients: 2", 2, 2),
    }  # fmt: skip
    for told in ("loading: 100 %", "building the index: 100 %", "calibrating, nprobe",
                 "measuring the recall, nprobe", "point 1/2, clients: 1: 100 %", "QPS ",
                 "(needs at most 20 ms)", "(needs 95 %)"):  # fmt: skip
        assert told in done.err


GENERATE = ("vectordb", "datagen", "-np", "1")
# Vectors that take a while to make, and to compare.
MANY = [
    "--num-vectors", "600000", "--dimension", "16", "--params", "dataset.query_pool=2000",
    "dataset.gt_neighbours=20", "dataset.gt_queries=2000",
]  # fmt: skip


def journalled(program: Program) -> int:
    """The blocks of the base that are whole."""
    journals = (program.home / "vectors/tiny").glob(".base.fbin-*.blocks")
    return sum(path.read_text().count("\n") - 1 for path in journals)


@pytest.mark.parametrize("force", [False, True])
def test_vectors_that_are_made_stay(program: Program, *, force: bool) -> None:
    """An interrupted generation ends after the block, and `resume` makes the other ones alone."""
    if force:
        made(program)
    done = interrupt(
        program, *GENERATE, *(["--force"] if force else []), params=MANY,
        when=lambda: journalled(program) >= 3,
    )  # fmt: skip
    assert done.code == 130, done.err
    assert "finishing the blocks that are being made" in done.err
    summary = done.summary
    assert 3 <= summary["blocks_whole"] < summary["blocks"] == 38
    assert not (program.home / "vectors/tiny/mlpstorage-vectors.json").exists()
    assert "mlpstorage resume" in done.out
    resumed = program("resume", "--results-dir", "r", "--json")
    assert resumed.code == 0, resumed.err
    again = resumed.json["summary"]
    assert again["blocks_kept"] == summary["blocks_whole"]
    assert again["blocks_written"] == 38 - summary["blocks_whole"]
    assert not [*(program.home / "vectors/tiny").glob(".*.blocks")]


def test_neighbours_that_are_found_stay(program: Program) -> None:
    """Blocks that were compared are not compared again, nor vectors made again."""
    results = program.home / "r"
    done = interrupt(
        program, *GENERATE, params=MANY,
        when=lambda: any(
            e.get("activity") == "ground truth" and e["done"] for e in events(results)
        ),
    )  # fmt: skip
    assert done.code == 130, done.err
    compared = done.summary["truth_blocks_compared"]
    assert 1 <= compared <= done.summary["truth_blocks"] == 37
    again = program(*GENERATE, "--json", *MANY)
    assert again.code == 0, again.err
    assert again.json["summary"]["blocks_written"] == 0
    assert again.json["summary"]["truth_blocks_kept"] == compared


# Vectors whose graph takes some seconds.
GRAPH = {"vectors": 20_000, "dimension": 64}


def test_an_index_is_finished_first(program: Program) -> None:
    """While zvec builds, one interrupt waits for the graph, says so, and the graph stays."""
    pytest.importorskip("zvec")
    made(program, **GRAPH)
    size, results = small(**GRAPH), program.home / "r"
    done = interrupt(
        program, *search(engine="zvec"), params=size,
        when=lambda: tells(results, "progress", activity="building the index"),
    )  # fmt: skip
    assert done.code == 130, done.err
    assert "the index is finished first" in done.err
    assert done.incomplete["actual"] == "0 of them; the index is there"
    again = program(*search("--json", engine="zvec", clients="1"), *size)
    assert again.code == 0, again.err
    assert again.json["summary"]["load"]["reused"] is True


def test_a_second_interrupt_leaves_the_vectors(program: Program) -> None:
    """Ended within the build, the next run builds over the vectors that are loaded."""
    pytest.importorskip("zvec")
    made(program, **GRAPH)
    size, results = small(**GRAPH), program.home / "r"
    done = interrupt(
        program, *search(engine="zvec"), params=size,
        when=lambda: tells(results, "progress", activity="building the index"), signals=2,
    )  # fmt: skip
    assert done.code == 130, done.err
    assert done.record["verification"]["category"] == "INVALID"
    resumed = program("resume", "--results-dir", "r", "--json")
    assert resumed.code == 0, resumed.err
    assert "builds the index over the 20000 vectors" in resumed.err
    assert resumed.json["summary"]["load"]["vectors_per_second"] > 0
    assert resumed.json["summary"]["recall"] >= 0.95
