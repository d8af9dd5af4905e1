"""Bad input and bad luck, as users meet them: one clear message, the right exit code, no mess."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.__main__ import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Done, Program

SIZE = ("training", "datasize", "-g", "h100", "-ma", "1")
VIEW = ("training", "configview", "-g", "h100", "-na", "1")
RUN = ("training", "run", "-g", "h100", "-na", "1", "-dd", "data")
MAKE = ("training", "datagen", "-dd", "data")
SOME = ("-p", "dataset.num_files_train=24")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Said:
    """The exit code and the output of a command that ran in this process."""

    code: int
    out: str
    err: str


def refused(done: Done | Said, code: int, *says: str) -> None:
    """Check that a command was refused with one error that names things and a remedy."""
    assert done.code == code, (done.code, done.err)
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "defect" not in done.err
    assert not CONTROL.search(done.err)
    lines = done.err.splitlines()
    assert len([line for line in lines if line.startswith("error: ")]) == 1, done.err
    assert [line for line in lines if line.startswith("  fix: ")], done.err
    for text in says:
        assert text in done.err


@pytest.fixture
def inside(
    program: Program, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Said]:
    """The program called in this process, in the same directory: for what is decided early."""

    def call(*words: str, env: dict[str, str] | None = None) -> Said:
        monkeypatch.chdir(program.home)
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        code = run(list(words))
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


def no_run(program: Program) -> bool:
    """Whether there is no run directory."""
    return not list((program.home / "results").glob("training/*/*/*"))


def statuses(program: Program) -> list[str]:
    """The status of every run in the history."""
    return [run["status"] for run in program("history", "list", "--json").json["runs"]]


def settle(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and the standard error of a process that ends in time."""
    _, err = process.communicate(timeout=30)
    assert "Traceback" not in err
    return process.returncode, err


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(word) for word in found if _is_rank(Path("/proc") / word)]


def _is_rank(process: Path) -> bool:
    """Whether it runs a rank, and not the collector of the hosts' samples."""
    try:
        return b"mlpstorage.rank" in (process / "cmdline").read_bytes()
    except FileNotFoundError:
        return False


def ranks(process: subprocess.Popen[str], count: int) -> list[int]:
    """The ranks of a launcher, once they work."""
    wait_for(lambda: len(children(process.pid)) == count)
    time.sleep(0.5)
    return children(process.pid)


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something has happened."""
    deadline = time.monotonic() + 20
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nosuch"], ["unknown command 'nosuch'"]),
        (["trainin", "run"], ["did you mean training?"]),
        (["training", "datasiz"], ["'training datasiz'", "did you mean datasize?"]),
        (["--debugg", "training", "run"], ["'--debugg' stands before the command"]),
        (["training", "--json"], ["'--json' stands before the command"]),
        ([*SIZE[:2]], ["--model is missing", "MLPSTORAGE_MODEL"]),
        ([*SIZE, "--modle", "unet3d"], ["unknown option '--modle'", "did you mean --model?"]),
        ([*SIZE, "--model"], ["--model needs a value"]),
        ([*SIZE, "-m", "unet3"], ["unknown model 'unet3'", "did you mean unet3d?"]),
        ([*SIZE, "-m", "../x"], ["unknown model '../x'", "unet3d"]),
        ([*SIZE, "-m", ""], ["-m is empty"]),
        ([*SIZE, "-m", "unet3d", "-m", "resnet50"], ["-m is given twice"]),
        (["training", "datasize", "-m", "unet3d", "-g", "h10", "-ma", "1"], ["mean h100?"]),
        ([*SIZE, "-m", "unet3d", "stray"], ["'stray' belongs to no option"]),
        ([*SIZE, "-m", "unet3d", "reader.batch_size=2"], ["--params reader.batch_size=2"]),
        ([*SIZE, "-m", "unet3d", "-dd", "a\x1b[31m"], [r"'a\x1b[31m'", "control characters"]),
        ([*SIZE, "-m", "unet3d", "-dd", "a\nb"], [r"'a\nb'"]),
        ([*SIZE, "-m", "unet3d", "-dd", "~nobody-here/x"], ["home directory of ~nobody-here"]),
        ([*VIEW, "-m", "unet3d", "--json=maybe"], ["--json"]),
        ([*VIEW, "-m", "unet3d", "--loops", "2.5"], ["--loops is '2.5'", "whole number"]),
    ],
)
def test_a_wrong_command_line_is_refused(
    inside: Callable[..., Said], words: list[str], says: list[str]
) -> None:
    """Unknown, missing, repeated and malformed words end with code 2 and name the right one."""
    refused(inside(*words), 2, *says)


def test_the_installed_command_refuses_in_the_same_words(program: Program) -> None:
    """What is checked in one process elsewhere in this file is what the command does."""
    refused(program("trainin", "run"), 2, "did you mean training?")
    refused(program(*SIZE, "-m", "unet3"), 2, "did you mean unet3d?")
    refused(program(*SIZE, "-m", "unet3d", "-c", "none.yaml"), 3, "there is no file none.yaml")
    refused(program(*SIZE, "-m", "unet3d", "--hosts", "-oProxyCommand=x"), 2, "--hosts")
    refused(program(*RUN, *program.workload(), "-q", *SOME), 3, "there is no data set")


@pytest.mark.parametrize("value", ["-3", "0", "x", "1.5", "0x10", "٣", "1e3", "9" * 9, "9" * 40])
def test_a_number_is_a_whole_number_in_range(inside: Callable[..., Said], value: str) -> None:
    """Negative, fractional, foreign and huge numbers of accelerators are refused, none rounded."""
    size = ("training", "datasize", "-m", "unet3d", "-g", "h100", f"-ma={value}")
    refused(inside(*size), 2, value, "number")


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("reader.batch_sise=3", ["reader.batch_sise", "did you mean batch_size?"]),
        ("readr.batch_size=3", ["'readr'", "did you mean reader?"]),
        ("nonsense", ["'nonsense'", "section.key=value"]),
        ("reader.batch_size=", ["is empty", "whole number >= 1"]),
        ("reader.batch_size=0", ["reader.batch_size is 0", ">= 1"]),
        ("reader=3", ["--params: reader is 3", "section"]),
        ("reader.batch_size.x=3", ["--params: reader.batch_size is a section"]),
        ("train.computation_time=.nan", ["is nan", ">= 0"]),
        ("train.computation_time=1e400", ["is inf", "<= 86400"]),
        ("dataset.record_length_bytes=.inf", ["is inf"]),
        ("dataset.record_length_bytes=1e300", ["is 1e+300"]),
        ("dataset.format=NPZ", ["npz, parquet, png, tfrecord"]),
        ("dataset.num_files_train=1000000000000", ["1000000000000", "<= 100000000"]),
        (f"reader.batch_size={'9' * 5000}", ["reader.batch_size"]),
        ("reader.odirect=yes", ["true or false"]),
        ("reader.b\nx=1", [r"\n"]),
    ],
)
def test_a_wrong_parameter_is_refused(
    inside: Callable[..., Said], word: str, says: list[str]
) -> None:
    """A parameter that is unknown, of a wrong type or beyond all reason is refused by name."""
    refused(inside(*SIZE, "-m", "unet3d", "-p", word), 2, *says)


def test_a_data_set_beyond_all_reason_is_explained(
    program: Program, inside: Callable[..., Said]
) -> None:
    """Sizes that would fill memory are refused in words, at once."""
    tiny = program.workload()
    many = ("training", "datasize", *tiny, "-g", "h100", "-ma", "1000000")
    refused(inside(*many), 2, "2000000000 files", "num_samples_per_file")
    huge = [*SIZE, *tiny, "-p", "dataset.num_samples_per_file=1000000000"]
    huge += ["dataset.record_length_bytes=1e9"]
    refused(inside(*huge), 5, "PiB", "num_samples_per_file")


@pytest.mark.parametrize("size", ["-5", "=-5GiB", "0", "abc", "", "nan", "1e400", "9" * 400])
def test_a_client_memory_is_a_size(inside: Callable[..., Said], size: str) -> None:
    """What is no memory size is refused under the option's name."""
    given = [f"-cm{size}"] if size.startswith("=") else ["-cm", size]
    refused(inside(*SIZE, "-m", "unet3d", *given), 2, "-cm" if not size else "memory")


@pytest.mark.parametrize(
    ("hosts", "code", "says"),
    [
        ("-oProxyCommand=x", 2, "--hosts needs a value"),
        ("=-oProxyCommand=x", 2, "'-oProxyCommand=x' is not a host name"),
        ("h1,h1", 2, "h1 is named twice"),
        ("h1:0", 2, "0 slots"),
        ("h1;reboot", 2, "'h1;reboot'"),
        (",", 2, "names no host"),
        ("", 2, "--hosts is empty"),
        ("@missing", 3, "missing"),
        ("@comments", 2, "names no host"),
    ],
)
def test_hosts_are_host_names(
    program: Program, inside: Callable[..., Said], hosts: str, code: int, says: str
) -> None:
    """Whatever is no list of hosts is refused; an empty list is never taken for this host."""
    (program.home / "comments").write_text("# nobody\n")
    given = [f"--hosts{hosts}"] if hosts.startswith("=") else ["--hosts", hosts]
    refused(inside(*SIZE, "-m", "unet3d", *given), code, says)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hosts", "localhost:2", "-na=4"], "4 ranks do not fit in 2 slots"),
        (["--hosts", "h1,h2", "-na=2", "--exec-type", "local"], "--exec-type local"),
        (["--exec-type", "ssh"], "--exec-type 'ssh'"),
        (["--mpi-params", "'open", "--exec-type", "mpi"], "--mpi-params"),
        (["--time-limit", "abc"], "--time-limit: 'abc'"),
        (["--time-limit", "0"], "--time-limit is 0"),
        (["--closed", "--open"], "--closed and --open"),
        (["--closed", "--trial"], "--trial is never CLOSED"),
        (["--drop-caches", "sys"], "did you mean system?"),
        (["--loops", "0"], "--loops is 0"),
        (["-na=0"], "--num-accelerators is 0"),
        (["-na=1000000000"], "--num-accelerators is 1000000000"),
    ],
)
def test_options_that_contradict_are_refused_first(
    program: Program, inside: Callable[..., Said], words: list[str], says: str
) -> None:
    """Wrong options of a run end with code 2 before its data is looked at, in --what-if too."""
    number = [] if any(word.startswith("-na") for word in words) else ["-na=1"]
    run = ("training", "run", *program.workload(), "-g", "h100", *number, "-dd", "data", *words)
    refused(inside(*run, "-q", *SOME, "--what-if"), 2, says)
    assert no_run(program)


def test_datagen_refuses_what_it_cannot_make(program: Program, inside: Callable[..., Said]) -> None:
    """No number of files, no directory, and nonsense numbers are refused with code 2."""
    make = ("training", "datagen", *program.workload())
    refused(inside(*MAKE, *program.workload()), 2, "number of files", "datasize")
    refused(inside(*make, *SOME), 2, "no data directory", "MLPSTORAGE_DATA_DIR")
    refused(inside(*make, "-dd", "data", *SOME, "-np", "-1"), 2, "--num-processes is -1")
    refused(inside(*make, "-dd", "data", "--trial", "-na", "0"), 2, "--num-accelerators is 0")
    plan = inside(*make, "-dd", "data", *SOME, "-np", "1000000000", "--what-if")
    assert "processes  24" in plan.out
    assert no_run(program)


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (None, 3, ["there is no file c.yaml"]),
        (b"\x7fELF\x00\x01", 5, ["c.yaml is not a text file"]),
        (b"\xff\xfe", 5, ["c.yaml:1", "not UTF-8"]),
        (b"- a\n", 5, ["c.yaml is not a mapping"]),
        (b"data_dri: x\n", 5, ["c.yaml:1", "did you mean data_dir?"]),
        (b"json: true\nloops: x\n", 5, ["c.yaml:2: loops is 'x'", "whole number"]),
        (b"loops: 2.5\n", 5, ["c.yaml:1: loops is '2.5'"]),
        (b"loops: [1, 2]\n", 5, ["loops is a list"]),
        (b"data_dir: {a: b}\n", 5, ["data_dir is a section"]),
        (b"data_dir:\n", 5, ["data_dir is empty"]),
        (b"data_dir: a\ndata-dir: b\n", 5, ["c.yaml:2", "stands twice"]),
        (b"x: 1\n<<<<<<< HEAD\n", 5, ["c.yaml:2", "merge conflict"]),
        (b'data_dir: "\\e[31m"\n', 5, [r"\x1b", "control characters"]),
        (b'data_dir: "a\\0b"\n', 5, [r"a\x00b"]),
        (b"x" * 10_000_000, 5, ["larger than 1.00 MiB"]),
        (b"data_dir: " + b"[" * 5000, 5, ["nested too deeply"]),
        (b"data_dir: &a [*a]\n", 5, ["c.yaml:1", "anchors"]),
        (b"loops: " + b"9" * 5000, 5, ["loops", "number"]),
    ],
)
def test_a_broken_config_file_is_refused(
    program: Program, inside: Callable[..., Said], content: bytes | None, code: int, says: list[str]
) -> None:
    """Whatever is wrong with a config file is told with its name, its line and the remedy."""
    if content is not None:
        (program.home / "c.yaml").write_bytes(content)
    refused(inside(*VIEW, "-m", "unet3d", "-c", "c.yaml"), code, *says)


def test_a_variable_is_named_when_its_value_is_wrong(program: Program) -> None:
    """A nonsense value of the environment is refused under the variable's name; none is lost."""
    view = ("training", "configview", "-m", "unet3d", "-g", "h100")
    wrong = {"MLPSTORAGE_NUM_ACCELERATORS": "x"}
    refused(program(*view, env=wrong), 5, "MLPSTORAGE_NUM_ACCELERATORS is 'x'")
    steering = {"MLPSTORAGE_DATA_DIR": "\x1b[31m"}
    refused(program(*VIEW, "-m", "unet3d", env=steering), 5, "MLPSTORAGE_DATA_DIR")
    slipped = {"MLPSTORAGE_RESULTS_DRI": "x"}
    done = program(*VIEW, "-m", "unet3d", env=slipped)
    assert done.code == 0
    assert "MLPSTORAGE_RESULTS_DRI is not read; did you mean MLPSTORAGE_RESULTS_DIR?" in done.err


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("model: tiny", "model: [tiny]", 5, "does not say which model"),
        ("model: tiny", "model: other", 2, "describes other, not tiny"),
        ("batch_size: 4", "batch_size: four", 5, "tiny_npz_1.yaml:7: reader.batch_size is 'four'"),
        ("reader: ", "reder: ", 5, "did you mean reader?"),
        ('edition: "own"', 'edition: "\\e[31m"', 5, "edition"),
        ("h100:", '"h1\\e[31m":', 2, "no figures"),
        ("  h100: {", "  h100: 3 #", 5, "no accelerators"),
        ("au: 0.5", "au: .nan", 5, "metric.au is nan"),
    ],
)
def test_a_broken_workload_file_is_refused(
    program: Program, inside: Callable[..., Said], old: str, new: str, code: int, says: str
) -> None:
    """A user's workload file is as strict as a packaged one, and cannot steer the terminal."""
    words = program.workload()
    path = Path(words[-1])
    path.write_text(path.read_text().replace(old, new))
    refused(inside(*VIEW, *words), code, says)


def test_a_model_name_cannot_leave_the_data_directory(program: Program) -> None:
    """A workload file whose model is `..` or holds a newline is refused."""
    path = Path(program.workload()[-1])
    text = path.read_text()
    path.write_text(text.replace("model: tiny", "model: .."))
    refused(program(*MAKE, "-m", "..", "--workload-file", str(path), *SOME), 5, "model is '..'")


def data(program: Program, files: int = 24) -> Path:
    """Generate a tiny data set; its folder."""
    made = program.datagen(files)
    assert made.code == 0, made.err
    return program.home / "data/tiny"


@pytest.fixture
def runs_nothing(program: Program, inside: Callable[..., Said]) -> Callable[..., None]:
    """Check that a run on `data` is refused before it has a directory."""

    def check(code: int, *says: str, more: tuple[str, ...] = ()) -> None:
        refused(inside(*RUN, *program.workload(), "-q", *SOME, *more), code, *says)
        assert not (program.home / "results/training/tiny/run").exists()

    return check


def test_a_data_directory_that_holds_no_data_is_refused(
    program: Program, runs_nothing: Callable[..., None]
) -> None:
    """A missing, wrong or empty data directory is named, with the command that makes the data."""
    runs_nothing(3, "there is no data set", "mlpstorage training datagen --model tiny")
    (program.home / "data").mkdir()
    (program.home / "data/tiny").touch()
    runs_nothing(5, "data/tiny is not a directory")
    made = program(*MAKE, *program.workload(), "-q", *SOME)
    refused(made, 5, "data/tiny is not a directory")
    (program.home / "data/tiny").unlink()
    (program.home / "data/tiny").symlink_to("/nowhere")
    runs_nothing(5, "is a link to nowhere (/nowhere)")
    (program.home / "data/tiny").unlink()
    (program.home / "data/tiny").symlink_to("tiny")
    runs_nothing(5, "is a link to nowhere (tiny)")
    assert no_run(program)


def test_a_manifest_that_cannot_be_trusted_is_refused(
    program: Program, runs_nothing: Callable[..., None]
) -> None:
    """Absent, torn, foreign, newer or tampered manifests are refused with the remedy."""
    manifest = data(program) / "mlpstorage-manifest.json"
    whole = json.loads(manifest.read_text())
    manifest.write_text(manifest.read_text()[:50])
    runs_nothing(5, "not a usable description", "datagen --force")
    manifest.write_text(json.dumps({**whole, "generator_version": 99}))
    runs_nothing(5, "data generator 99")
    manifest.write_text(json.dumps({**whole, "file_bytes": 10**30}))
    runs_nothing(5, "not a usable description")
    manifest.write_text(json.dumps({**whole, "file_bytes": 5}))
    runs_nothing(5, "digest")
    manifest.unlink()
    os.mkfifo(manifest)
    runs_nothing(5, "is not a file")
    manifest.unlink()
    runs_nothing(3, "holds no finished data set", "num_files_train=24")


def test_sizes_of_a_data_set_must_be_whole(program: Program) -> None:
    """A data set whose list of sizes is lost or torn is refused."""
    words = program.workload(stdev=3000)
    program(*MAKE, *words, *SOME)
    sizes = program.home / "data/tiny/mlpstorage-manifest.sizes.npy"
    sizes.write_bytes(sizes.read_bytes()[:150])
    refused(program(*RUN, *words, "-q", *SOME), 5, "sizes.npy", "--force")
    sizes.unlink()
    refused(program(*RUN, *words, "-q", *SOME), 5, "sizes are missing")


def test_another_data_set_is_not_taken_for_this_one(program: Program) -> None:
    """Data of another record size or of fewer files are refused, and say what they are."""
    data(program)
    other = ("-p", "dataset.record_length_bytes=10000", "dataset.num_files_train=24")
    done = program(*RUN, *program.workload(), "-q", "-aip", *other)
    refused(done, 5, "record_bytes 20000, not 10000")
    more = ("-p", "dataset.num_files_train=48")
    done = program(*RUN, *program.workload(), "-q", *more)
    refused(done, 3, "holds 24 files; this run needs 48", "num_files_train=24")
    few = program(*RUN, *program.workload(), "-q", "-p", "dataset.num_files_train=3")
    refused(few, 5, "3 files are not enough for one step", "takes 4 samples")


def test_a_data_file_that_is_not_as_promised_is_named(
    program: Program, runs_nothing: Callable[..., None]
) -> None:
    """A file that is missing, short, long, a directory or a dangling link stops the run early."""
    file = sorted((data(program) / "train").iterdir())[3]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    runs_nothing(5, file.name, "20378 bytes, not 20379", "run datagen again")
    file.write_bytes(whole + b"x")
    runs_nothing(5, file.name, "20380 bytes")
    file.unlink()
    runs_nothing(3, file.name, "is missing")
    file.mkdir()
    runs_nothing(5, file.name, "is not a file")
    file.rmdir()
    file.symlink_to("/nowhere")
    runs_nothing(3, file.name, "a link to /nowhere")
    file.unlink()
    assert data(program)
    assert file.read_bytes() == whole


@pytest.mark.parametrize("loss", ["unlink", "truncate", "folder"])
def test_data_lost_during_a_run_fails_it(program: Program, loss: str) -> None:
    """Files that vanish or shrink under a run end it with code 6, named, and a failed record."""
    folder = data(program, 400)
    words = ["-p", "dataset.num_files_train=400", "train.computation_time=0.3"]
    words += ["reader.read_threads=1", "reader.prefetch_size=1", "-aip", "-q"]
    process = program.start(*RUN, *program.workload(), *words)
    pids = ranks(process, 1)
    if loss == "folder":
        shutil.rmtree(folder)
    for file in sorted(folder.glob("train/*"))[100:]:
        if loss == "unlink":
            file.unlink()
        else:
            os.truncate(file, 100)
    code, err = settle(process)
    assert code == 6
    assert ("truncated" if loss == "truncate" else "missing") in err
    assert "img_" in err
    assert statuses(program)[-1] == "failed"
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_results_are_kept_out_of_what_is_measured(
    program: Program, runs_nothing: Callable[..., None]
) -> None:
    """Results below the data, directly, by `..` or by a link, are refused; so is the reverse."""
    data(program)
    (program.home / "link").symlink_to("data/tiny")
    for place in ("data", "data/tiny/r", "data/../data/tiny/r", "link/r"):
        runs_nothing(5, "lies in the data directory", more=("-rd", place))
    inside = ("-dd", "results/training/x", "-rd", "results")
    done = program("training", "datagen", *program.workload(), "-q", *inside, *SOME)
    refused(done, 5, "lies among the results")


def test_results_directories_that_cannot_be_written_are_refused(
    program: Program, runs_nothing: Callable[..., None]
) -> None:
    """A file, a dangling link, a pseudo file system or a name too long stops the run early."""
    data(program)
    (program.home / "file").touch()
    (program.home / "dangling").symlink_to("/nowhere/at/all")
    runs_nothing(5, "file is not a directory", more=("-rd", "file/x"))
    runs_nothing(5, "link to nowhere", more=("-rd", "dangling"))
    runs_nothing(4, "cannot create anything in /proc", more=("-rd", "/proc/x"))
    runs_nothing(5, "a name of more than", more=("-rd", "x" * 300))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory at `mnt`; unmounted at the end."""
    place = tmp_path / "mnt"
    place.mkdir()

    def mount(kind: str, options: str = "size=8m") -> Path:
        words = ["mount", "-t", kind, "-o", options, "none", str(place)]
        if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
            pytest.skip("mounting is not permitted here")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_noticed_before_the_first_byte(
    program: Program, mounted: Callable[..., Path]
) -> None:
    """Datagen says how much is missing, and writes no file."""
    place = mounted("tmpfs", "size=1m")
    make = ("training", "datagen", "-dd", "mnt", "-q", *program.workload())
    made = program(*make, "-p", "dataset.num_files_train=400")
    refused(made, 5, "7.77 MiB needed", "available", "short")
    assert not [path for path in place.rglob("*") if path.is_file()]
    assert statuses(program) in ([], ["failed"])


def test_a_disk_that_fills_up_ends_datagen_which_then_resumes(
    program: Program, mounted: Callable[..., Path]
) -> None:
    """Somebody else fills the disk: code 6, named files are whole, the same command goes on."""
    place = mounted("tmpfs", "size=44m")
    make = ("training", "datagen", "-dd", "mnt", "-q", *program.workload(), "-np", "2")
    make += ("-p", "dataset.num_files_train=2000")
    process = program.start(*make)
    train = place / "tiny/train"
    wait_for(lambda: train.exists() and len(list(train.glob("img*"))) > 5)
    with pytest.raises(OSError, match="No space"):
        (place / "filler").write_bytes(bytes(64 << 20))
    code, err = settle(process)
    assert code == 6
    assert "full" in err
    assert "resumes" in err
    # A rank that is ended while it writes leaves a file under another name.
    assert len({path.stat().st_size for path in train.glob("img*")}) == 1
    (place / "filler").unlink()
    assert program(*make).code == 0
    assert not list(train.glob(".*"))
    assert statuses(program) == ["failed", "complete"]


def test_places_that_are_read_only_or_full_are_refused(
    program: Program, mounted: Callable[..., Path], runs_nothing: Callable[..., None]
) -> None:
    """Read-only: code 4. No room for the record: code 5 and no empty run directory."""
    data(program)
    place = mounted("tmpfs", "size=64k")
    (place / "filler").write_bytes(bytes(57000))
    done = program(*RUN, *program.workload(), "-q", *SOME, "-rd", "mnt")
    refused(done, 5, "no space left")
    assert not list(place.glob("training/tiny/run/*"))
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    runs_nothing(4, "mnt: read-only file system", more=("-rd", "mnt"))
    make = ("training", "datagen", *program.workload(), "-q", *SOME, "-dd", "mnt")
    refused(program(*make), 4, "mnt: read-only file system")


def test_a_file_system_without_direct_io_is_named(
    program: Program, mounted: Callable[..., Path]
) -> None:
    """reader.odirect=true never falls back to buffered reads in silence."""
    place = mounted("ramfs", "mode=755")
    shutil.copytree(data(program), place / "tiny")
    words = ("-dd", "mnt", *SOME, "reader.odirect=true", "-q", "-aip")
    run = ("training", "run", "-g", "h100", "-na", "1", *program.workload(), *words)
    done = program(*run)
    if done.code == 0:
        pytest.skip("ramfs of this kernel takes O_DIRECT")
    assert done.code == 5, done.err
    assert "O_DIRECT does not work in the data directory" in done.err
    assert "reader.odirect=false" in done.err


def test_a_killed_datagen_is_resumed(program: Program, runs_nothing: Callable[..., None]) -> None:
    """SIGKILL leaves no process and no manifest; the same command finishes the data set."""
    make = (*MAKE, *program.workload(), "-q", "-np", "2", "-p", "dataset.num_files_train=3000")
    process = program.start(*make)
    train = program.home / "data/tiny/train"
    wait_for(lambda: train.exists() and len(list(train.glob("img*"))) > 20)
    pids = children(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])
    runs_nothing(3, "holds no finished data set")
    made = program(*make, "--json")
    assert made.code == 0, made.err
    assert made.json["summary"]["files_kept"] > 20
    assert {p.name for p in train.parent.iterdir()} == {"train", "mlpstorage-manifest.json"}
    assert len(list(train.iterdir())) == 3000


@pytest.mark.parametrize("more", [(), ("--force",)])
def test_two_generations_do_not_disturb_each_other(program: Program, more: tuple[str, ...]) -> None:
    """The second datagen into a folder is refused while the first works, --force or not."""
    make = (*MAKE, *program.workload(), "-q", "-np", "2")
    first = program.start(*make, "-p", "dataset.num_files_train=3000")
    train = program.home / "data/tiny/train"
    wait_for(lambda: train.exists() and len(list(train.glob("img*"))) > 5)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second one looks
    try:
        second = program(*make, *SOME, *more)
    finally:
        first.send_signal(signal.SIGCONT)
    refused(second, 5, f"process {first.pid} on", "is generating data in")
    assert settle(first)[0] == 0
    assert len(list(train.iterdir())) == 3000
    assert statuses(program) == ["complete"]


def test_force_deletes_only_what_is_ours(program: Program) -> None:
    """Files that no data set names survive --force; unknown data files are not mixed without it."""
    folder = data(program)
    mine = [folder / "notes", folder / "train/mine.txt", folder / "train/sub/img_1_of_3.npz"]
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("precious")
    make = (*MAKE, *program.workload(), "-q", "-p", "dataset.num_files_train=30")
    refused(program(*make), 5, "num_files 24, not 30", "--force")
    assert program(*make, "--force").code == 0
    assert [file.read_text() for file in mine] == ["precious"] * 3
    assert len(list(folder.glob("train/img*"))) == 30
    (folder / "mlpstorage-manifest.json").unlink()
    refused(program(*make), 5, "no manifest describes", "--force")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("command", ["run", "datagen"])
def test_a_signal_ends_everything_in_order(
    program: Program, number: signal.Signals, command: str
) -> None:
    """One signal or two: code 130, the record says interrupted, and no process is left."""
    if command == "run":
        data(program, 400)
        words = ("-p", "dataset.num_files_train=400", "train.computation_time=0.3", "-aip")
        process = program.start(*RUN, *program.workload(), "-q", *words)
    else:
        words = ("-p", "dataset.num_files_train=90000", "-np", "1")
        process = program.start(*MAKE, *program.workload(), "-q", *words)
    pids = ranks(process, 1)
    process.send_signal(number)
    process.send_signal(number)
    code, err = settle(process)
    assert code == 130
    assert number.name in err
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert statuses(program)[-1] == "interrupted"
    assert not (program.home / "data/tiny/.mlpstorage.lock").exists()


def test_a_signal_before_the_ranks_is_no_silent_death(program: Program) -> None:
    """SIGTERM while a run is still being prepared ends it with 130 and a word."""
    program.workload()
    pipe = program.home / "slow.yaml"
    os.mkfifo(pipe)
    process = program.start(*VIEW, "-m", "tiny", "--workload-file", str(pipe))
    wait_for(lambda: "slow.yaml" in _opened(process.pid))
    process.terminate()
    code, err = settle(process)
    assert code == 130
    assert err == "error: interrupted by SIGTERM\n"


def _opened(pid: int) -> str:
    """What a process waits to open: the kernel shows the name only once it blocks there."""
    wchan = Path(f"/proc/{pid}/wchan").read_text()
    return "slow.yaml" if "fifo" in wchan or "wait_for_partner" in wchan else ""


def test_few_open_files_are_enough_or_refused(program: Program) -> None:
    """With ulimit -n 20, sizing works, and a run says which limit to raise."""

    def limited(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            program.argv(*words),
            cwd=program.home,
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20)),
        )

    data(program)
    assert limited(*SIZE, "-m", "unet3d").returncode == 0
    done = limited(*RUN, *program.workload(), "-q", *SOME)
    assert done.returncode == 5
    assert "ulimit -n" in done.stderr
    assert not (program.home / "results/training/tiny/run").exists()


@pytest.mark.parametrize(
    ("redirection", "code"),
    [
        ("| head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0),
        ("2>&1 >/dev/null | head -1 >/dev/null; exit ${PIPESTATUS[0]}", 0),
        ("2>/dev/full >/dev/null", 0),
        ("2>&- >/dev/null", 0),
        ("<&- >&- 2>&-", 0),
        (">/dev/full", 5),
    ],
)
def test_lost_streams_do_not_lose_the_run(program: Program, redirection: str, code: int) -> None:
    """Whatever becomes of its output, a run is completed and recorded, and its exit code true."""
    data(program)
    words = [*RUN, *program.workload(), *SOME, "-aip", "--drop-caches", "files"]
    line = " ".join([*program.argv(*words), redirection])
    done = subprocess.run(
        ["bash", "-c", line], cwd=program.home, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Exception ignored" not in done.stderr
    if code:
        assert "cannot write to standard output" in done.stderr
        assert "the run is complete" in done.stderr
    assert statuses(program) == ["complete", "complete"]


def test_poor_surroundings_do_not_matter(program: Program) -> None:
    """No HOME, no TMPDIR, a C locale and an ASCII terminal: a run works; its text is escaped."""
    data(program)
    bare = {"TMPDIR": "/nowhere", "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    words = [*RUN, *program.workload(), *SOME, "-aip", "--drop-caches", "files"]
    done = subprocess.run(
        program.argv(*words),
        cwd=program.home,
        env=bare,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert r"1 \xd7 h100" in done.stdout


def test_a_current_directory_that_is_gone_is_named(program: Program) -> None:
    """Relative paths from a removed directory are refused in words."""
    line = " ".join(program.argv("history", "list"))
    script = f"mkdir gone; cd gone; rmdir ../gone; exec {line}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=program.home, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "the current directory has been removed" in done.stderr


def test_history_survives_junk(program: Program) -> None:
    """Foreign files, broken records and control characters in them do not hide other runs."""
    data(program)
    tree = program.home / "results"
    (tree / "training/tiny/datagen/20260101_000000").mkdir()
    (tree / "training/tiny/datagen/20260101_000000/training_20260101_000000_metadata.json").touch()
    (tree / "junk").write_bytes(os.urandom(100))
    (tree / "loop").symlink_to(tree)
    evil = tree / "training/tiny/run/20260102_000000/training_20260102_000000_metadata.json"
    evil.parent.mkdir(parents=True)
    evil.write_text(json.dumps({"model": "\x1b[31mred\nblue", "command": "run"}))
    listed = program("history", "list")
    assert listed.code == 0
    assert "complete" in listed.out
    assert "broken" in listed.out
    assert not CONTROL.search(listed.out)
    shown = program("history", "show", "-i", "2")
    assert not CONTROL.search(shown.out)
    assert r"\x1b[31mred\nblue" in shown.out
    refused(program("history", "list", "-rd", "nowhere"), 3, "there is no directory nowhere")
    refused(program("history", "list", "-rd", "results/junk"), 5, "junk")
    refused(program("history", "list", "--limit", "-1"), 2, "--limit")
    refused(program("history", "show", "-i", "99"), 3, "'99'", "1 to 3")
    refused(program("history", "show", "-i", ""), 2, "-i is empty")


@pytest.mark.parametrize(
    "command", ["rm -rf data", "mlpstorage history rerun -i 1", "mlpstorage 'open", ""]
)
def test_rerun_repeats_benchmarks_only(
    program: Program, inside: Callable[..., Said], command: str
) -> None:
    """What a record names as its command is run only when it is a benchmark of this program."""
    folder = program.home / "results/training/tiny/run/20260102_000000"
    folder.mkdir(parents=True)
    record = {"run_id": "x", "executed_command": command}
    (folder / "training_20260102_000000_metadata.json").write_text(json.dumps(record))
    refused(inside("history", "rerun", "-i", "1"), 5, "does not record a benchmark", "by hand")
    refused(inside("history", "rerun", "-i", "y"), 3, "no run 'y'")


def test_a_broken_record_is_not_rerun(program: Program, inside: Callable[..., Said]) -> None:
    """The reason why a record cannot be read is what the user is told."""
    folder = program.home / "results/training/tiny/run/20260102_000000"
    folder.mkdir(parents=True)
    (folder / "training_20260102_000000_metadata.json").write_text("{")
    refused(inside("history", "rerun", "-i", "1"), 5, "no readable record", "metadata.json:1")
