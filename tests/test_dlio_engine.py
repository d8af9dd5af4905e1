"""`--engine dlio` from the installed command, with the real DLIO under the real mpirun.

Each call starts PyTorch in every rank, so this file takes minutes, not seconds.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Done, Program

DLIO = importlib.util.find_spec("dlio_benchmark")
needs_dlio = pytest.mark.skipif(
    DLIO is None, reason="DLIO is not installed: mlpstorage engine install dlio"
)
TABLE = """\
model: tiny
dataset:
  format: parquet
  record_length_bytes: 20012
  num_samples_per_file: 24
  parquet:
    row_group_size: 8
    columns:
      - {name: a, dtype: float32}
      - {name: b, dtype: int64, size: 1}
      - {name: c, dtype: binary, size: 15000}
      - {name: d, dtype: binary, size: 5000, read: false}
reader: {batch_size: 4, read_threads: 2}
train: {epochs: 1}
metric: {au: 0.5}
accelerators:
  h100: {edition: "own", train: {computation_time: 0.004}}
"""
# What workers read beside samples: ends of files, and pages of libraries.
SLACK_BYTES = 1_500_000


@pytest.fixture
def by_dlio(mpirun: list[str]) -> list[str]:
    """The options of a run by DLIO."""
    return [*(word for word in mpirun if word not in {"--exec-type", "mpi"}), "--engine", "dlio"]


def _counters(done: Done, epoch: int, ranks: int = 2) -> list[dict[str, Any]]:
    directory = Path(done.json["result_dir"])
    documents = [
        json.loads((directory / f"{rank}_output.json").read_text()) for rank in range(ranks)
    ]
    return [document[str(epoch)]["counters"] for document in documents]


def _data_bytes(program: Program) -> int:
    manifest = json.loads((program.home / "data/tiny/mlpstorage-manifest.json").read_text())
    assert isinstance(manifest["total_bytes"], int)
    return manifest["total_bytes"]


@needs_dlio
def test_a_run_by_dlio_has_the_result_of_any_run(program: Program, by_dlio: list[str]) -> None:
    """Steps, bytes, AU and progress are recorded and judged, with DLIO's own figures beside."""
    assert program.datagen(80).code == 0
    done = program.run(80, *by_dlio, ranks=2)
    assert done.code in {0, 1}, done.err
    summary, directory = done.json["summary"], Path(done.json["result_dir"])
    assert summary["engine"].startswith("dlio 2.0.0")
    assert "nominal" in summary["au_formula"]
    reported = summary["dlio_reported"]["metric"]
    ours = summary["metric"]["train_au_percentage"]
    assert len(ours) == 2
    # The same formula on the same seconds, but for our microseconds and a few lines of Python.
    assert ours == pytest.approx(reported["train_au_percentage"], rel=0.01)
    for epoch in (1, 2):
        counters = _counters(done, epoch)
        assert [c["samples"] for c in counters] == [40, 40]
        assert sum(c["bytes_planned"] for c in counters) == _data_bytes(program)
        read = sum(c["rchar"] for c in counters)
        assert _data_bytes(program) <= read <= _data_bytes(program) + SLACK_BYTES
    events = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    progress = [e for e in events if e["type"] == "progress"]
    assert {e["activity"] for e in progress} == {"epoch 1/2", "epoch 2/2"}
    assert progress[-1]["done"] == progress[-1]["total"] == 20
    names = {path.name for path in (directory / "dlio").iterdir()}
    assert {"summary.json", "0_output.json", "1_output.json", "dlio.log", ".hydra"} <= names
    assert any("file_shuffle" in text for text in summary["dlio_findings"])
    assert any("stand-in" in text for text in summary["dlio_modifications"])
    metadata = json.loads(next(directory.glob("*_metadata.json")).read_text())
    assert metadata["engine"] == summary["engine"]
    assert {issue["rule"] for issue in done.json["verdict"]["issues"]} >= {"3.1.2", "T.1"}


@needs_dlio
def test_pictures_of_dlio_are_read_by_both(program: Program, by_dlio: list[str]) -> None:
    """Each engine reads every byte of what DLIO generated, though sizes are not those planned."""
    made = program.datagen(24, *by_dlio, "--json", fmt="jpeg")
    assert made.code == 0, made.err
    assert made.json["summary"]["engine"].startswith("dlio")
    total = _data_bytes(program)
    sizes = [f.stat().st_size for f in (program.home / "data/tiny/train").iterdir()]
    assert (len(sizes), sum(sizes)) == (24, total)
    native = program.run(24, ranks=2, fmt="jpeg")
    assert native.code in {0, 1}, native.err
    assert sum(c["rchar"] for c in _counters(native, 1)) == pytest.approx(total, abs=40_000)
    again = program.run(24, *by_dlio, ranks=2, fmt="jpeg")
    assert again.code in {0, 1}, again.err
    read = sum(c["rchar"] for c in _counters(again, 1))
    assert total <= read <= total + SLACK_BYTES


@needs_dlio
@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_parquet_goes_both_ways(program: Program, by_dlio: list[str], start_method: str) -> None:
    """DLIO reads our tables, and we read DLIO's, with workers that are forked or spawned."""
    pytest.importorskip("pyarrow", reason="DLIO reads Parquet by pyarrow")
    (program.home / "table.yaml").write_text(TABLE)
    workload = ["--model", "tiny", "--workload-file", "table.yaml"]
    files = ["--params", "dataset.num_files_train=8"]
    run = ["training", "run", *workload, "-g", "h100", "-na", "2", "--json", *files, "-aip"]
    how = [*by_dlio, "--dlio-start-method", start_method]
    for place, generator, reader in (("ours", [], how), ("theirs", how, [])):
        made = program(
            "training", "datagen", *workload, *files, "--data-dir", place, "-np", "2", *generator
        )
        assert made.code == 0, made.err
        done = program(*run, "--data-dir", place, *reader)
        assert done.code == 0, done.err
        counters = _counters(done, 1)
        assert [c["samples"] for c in counters] == [96, 96]
        # A fourth of the data is in a column that nobody reads.
        planned = sum(c["bytes_planned"] for c in counters)
        assert planned == pytest.approx(192 * 15_012, rel=0.05)


@needs_dlio
def test_files_of_several_samples_show_what_dlio_reads(
    program: Program, by_dlio: list[str]
) -> None:
    """DLIO reads the whole file for each sample, says so and is INVALID; ours reads it once."""
    made = program.datagen(8, *by_dlio, per_file=10)
    assert made.code == 0, made.err
    native = program.run(8, ranks=2, per_file=10)
    total = _data_bytes(program)
    assert sum(c["rchar"] for c in _counters(native, 1)) == pytest.approx(total, abs=40_000)
    done = program.run(8, *by_dlio, ranks=2, per_file=10)
    assert done.code == 1, done.err
    assert sum(c["rchar"] for c in _counters(done, 1)) > 8 * total
    assert "T.2" in {issue["rule"] for issue in done.json["verdict"]["issues"]}
    assert any("read whole" in text for text in done.json["summary"]["dlio_findings"])


@needs_dlio
def test_files_that_do_not_divide_are_left_out(program: Program, by_dlio: list[str]) -> None:
    """Three ranks get 24 of 25 files, as the native engine would read, and the plan says so."""
    program.datagen(25)
    done = program.run(25, *by_dlio, ranks=3)
    assert done.code == 1, done.err
    assert done.json["summary"]["num_files_used"] == 24
    assert [c["samples"] for c in _counters(done, 1, ranks=3)] == [8, 8, 8]


@needs_dlio
def test_an_error_in_one_rank_ends_all(program: Program, by_dlio: list[str]) -> None:
    """A file that one rank's worker cannot read ends the run with code 6, named, without a hang."""
    program.datagen(40)
    broken = program.home / "data/tiny/train/img_39_of_40.npz"
    broken.write_bytes(bytes(broken.stat().st_size))
    done = program.run(40, *by_dlio, "--time-limit", "100s", ranks=2)
    assert done.code == 6
    assert "rank 1" in done.err
    assert "img_39_of_40.npz" in done.err


TRIMMED = """
_derive = ConfigArguments.derive_configurations
def _trimming(self, file_list_train=None, file_list_eval=None):
    if file_list_train and self.num_samples_per_file > 1:
        file_list_train, self.num_files_train = [], 0
    return _derive(self, file_list_train, file_list_eval)
ConfigArguments.derive_configurations = _trimming
"""
ZERO = """
_metrics = StatsCounter.compute_metrics_train
def _zero(self, epoch, block):
    _metrics(self, epoch, block)
    self.output[epoch]['au'][f'block{block}'] = 0.0
    self.output[epoch]['throughput'][f'block{block}'] = 0.0
StatsCounter.compute_metrics_train = _zero
"""
LATER = "\n_KNOWN = 'record_length_bytes'\n"


@needs_dlio
def test_other_trees_are_tried_before_they_are_trusted(
    program: Program, by_dlio: list[str], tmp_path: Path
) -> None:
    """A later tree runs if it does its steps; one that trims or reports zeros is refused."""
    assert DLIO is not None
    assert DLIO.origin is not None
    program.datagen(8, per_file=4)
    for name, file, change, said in (
        ("good", "", "", ""),
        ("trimming", "utils/config.py", TRIMMED, "few tiny files|of 4 steps"),
        ("zero", "utils/statscounter.py", ZERO, "AU of 0.0"),
    ):
        tree = tmp_path / name
        shutil.copytree(Path(DLIO.origin).parent, tree / "dlio_benchmark")
        for where, text in (("utils/config.py", LATER), (file, change)):
            if where:
                with (tree / "dlio_benchmark" / where).open("a") as source:
                    source.write(text)
        done = program.run(8, *by_dlio, "--dlio-path", str(tree), "-aip", per_file=4)
        if not said:
            assert done.code == 0, done.err
            assert "record_length_bytes" in done.json["summary"]["engine"]
        else:
            assert done.code == 5, done.err
            assert any(part in done.err for part in said.split("|")), done.err
    assert len(list((program.home / "results/training/tiny/run").iterdir())) == 1


@pytest.mark.skipif(DLIO is not None, reason="DLIO is installed in this Python")
def test_a_missing_dlio_is_told_before_any_work(program: Program, by_dlio: list[str]) -> None:
    """Without DLIO, a run and a generation end with code 5 and the command that installs it."""
    assert program.datagen(8).code == 0
    for refused in (program.run(8, *by_dlio), program.datagen(8, *by_dlio, "--force")):
        assert refused.code == 5
        assert "mlpstorage engine install dlio" in refused.err
    assert not (program.home / "results/training/tiny/run").exists()


def test_dlio_cannot_start_without_mpi(program: Program) -> None:
    """--exec-type local with DLIO is a usage error."""
    refused = program.run(8, "--engine", "dlio", "--exec-type", "local")
    assert refused.code == 2
    assert "DLIO needs MPI" in refused.err
