"""`mlpstorage training` on several hosts of a test bed, under Open MPI 4, Open MPI 5 and MPICH."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from conftest import TINY
from launch.mpi_installations import NAMES, NoMpiError, cache, installation

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from conftest import Program
    from lab import Lab
    from lab.fixture import LabMaker
    from lab.host import Host
    from launch.mpi_installations import Installation

pytestmark = pytest.mark.mpi

FILES = 96
MOUNT_AT = "/tmp"  # noqa: S108 (each host's own)
# What may be left on no host; a test's own commands come in by enter.py.
_OURS = re.compile(r"-m mlpstorage|guard\.py|orted|prted|hydra_|mpirun|mpiexec|prterun|^ssh ")


def mpi(name: str) -> Installation:
    """An MPI; without it the test is skipped, or fails in CI."""
    try:
        return installation(name)
    except NoMpiError as error:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have {name}: {error}")
        pytest.skip(f"no {name}: {error}")


@dataclass(frozen=True)
class Bench:
    """The words of commands in a lab that shares one folder."""

    shared: Path

    def argv(
        self, how: Installation, command: str, hosts: str, ranks: int, data: str, *more: str
    ) -> list[str]:
        """A `training` command of the tiny workload, on a folder of data that all hosts see."""
        workload = self.shared / "tiny.yaml"
        if not workload.exists():
            workload.write_text(TINY.format(format="npz", stdev=0, per_file=1))
        count = ["-np", str(ranks)] if command == "datagen" else ["-g", "h100", "-na", str(ranks)]
        return [
            *(how.python, "-m", "mlpstorage", "training", command, "--hosts", hosts, *count),
            *("--mpi-bin", how.mpi_bin, "--allow-run-as-root", "--json"),
            *("--model", "tiny", "--workload-file", str(workload)),
            *("--data-dir", str(self.shared / data)),
            *("--params", f"dataset.num_files_train={FILES}", *more),
        ]


# -- what works


@pytest.fixture(scope="module")
def four(
    start_lab: LabMaker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Lab, Bench]]:
    """Four hosts, each with a docker0 that has the address of all the others' docker0."""
    shared = tmp_path_factory.mktemp("shared")
    with start_lab(4, share=[shared, cache()]) as lab:
        for name in lab.names:
            lab.host(name).run(["sh", "-c", (
                "ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 "
                "&& ip link set docker0 up"
            )], check=True)  # fmt: skip
        yield lab, Bench(shared)


@pytest.mark.parametrize("name", NAMES)
def test_two_hosts_generate_and_four_read(four: tuple[Lab, Bench], name: str) -> None:
    """Slots are kept, ranks spread evenly, bytes all counted; the results lie here alone."""
    lab, bench = four
    how = mpi(name)
    here = f"{MOUNT_AT}/only-here-{name}"  # on no other host, like the results in it
    lab.run(["mkdir", here], check=True)
    network = ["--mpi-network", "10.77.0.9/24", "--results-dir", "results"]
    data = f"data-{name}"

    made = lab.run(
        bench.argv(how, "datagen", "h1:3,h2:1", 4, data, *network), cwd=here, timeout=100
    )
    assert made.returncode == 0, made.stderr
    made_in = json.loads(made.stdout)["result_dir"]
    assert _ranks_by_host(lab, made_in) == {"h1": 3, "h2": 1}
    folder = bench.shared / data / "tiny"
    total = json.loads((folder / "mlpstorage-manifest.json").read_text())["total_bytes"]
    outputs = _outputs(lab, made_in, 4)
    assert [output["files_written"] for output in outputs] == [FILES // 4] * 4
    assert sum(output["bytes_written"] for output in outputs) == total

    done = lab.run(
        bench.argv(how, "run", "h1,h2,h3,h4", 4, data, "-aip", *network), cwd=here, timeout=100
    )
    assert done.returncode == 0, done.stderr
    run_in = json.loads(done.stdout)["result_dir"]
    assert _ranks_by_host(lab, run_in) == dict.fromkeys(["h1", "h2", "h3", "h4"], 1)
    for epoch in ("1", "2"):
        counters = [output[epoch]["counters"] for output in _outputs(lab, run_in, 4)]
        assert sum(counter["samples"] for counter in counters) == FILES
        read = sum(counter["rchar"] for counter in counters)
        assert read == pytest.approx(total, abs=0.01 * total + 4 * 20_000)
    assert _left(lab.controller, *map(lab.host, lab.names)) == {}


def test_a_host_outside_the_network_is_named(four: tuple[Lab, Bench]) -> None:
    """Without an address in --mpi-network a host refuses; so our variables do reach its ranks."""
    lab, bench = four
    how = mpi("openmpi5")
    h1, address = lab.host("h1"), ["10.99.0.1/24", "dev", "docker0"]
    h1.run(["ip", "addr", "add", *address], check=True)
    network = ["--mpi-network", "10.99.0.0/24", "--results-dir", "results"]
    done = lab.run(bench.argv(how, "datagen", "h1,h2", 2, "data-network", *network))
    h1.run(["ip", "addr", "del", *address], check=True)
    assert done.returncode == 5, done.stderr
    assert "h2 has no address in 10.99.0.0/24" in done.stderr
    assert "10.77.0.2 (eth0)" in done.stderr


def test_a_host_name_that_is_an_option_is_refused(program: Program) -> None:
    """A word that ssh or mpirun would take for an option is a wrong command line."""
    done = program.run(8, "--hosts=-oProxyCommand=touch pwned", ranks=2)
    assert done.code == 2
    assert "is not a host name" in done.err
    assert not list(program.home.rglob("pwned"))


# -- what fails. The runs wait most of their time, so all of them run side by side.


@dataclass
class Running:
    """A long run in a lab, and how it ended."""

    how: Installation
    process: subprocess.Popen[str]
    results: Path
    code: int = 0
    err: str = ""
    seconds: float = 0.0
    began: float = 0.0
    ranks: dict[str, int] = field(default_factory=dict)

    def journal(self) -> list[dict[str, Any]]:
        """The events so far."""
        found = list(self.results.glob("training/tiny/run/*/events.jsonl"))
        lines = found[0].read_text().splitlines(keepends=True) if found else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def started(self, count: int) -> bool:
        """Whether all ranks have, and are reading."""
        types = [event["type"] for event in self.journal()]
        return types.count("rank_started") == count and "progress" in types

    def wait(self) -> None:
        """Take its end."""
        _, self.err = self.process.communicate(timeout=60)
        self.code = self.process.returncode
        self.seconds = time.monotonic() - self.began


@dataclass
class Scene:
    """Two hosts with some runs on them."""

    lab: Lab
    runs: list[Running]

    def processes(self, run: Running, host: str, pattern: str) -> list[int]:
        """The processes of a run on a host, by their interpreter and a pattern."""
        known = self.lab.host(host).pids().items()
        return sorted(
            pid
            for pid, line in known
            if line.startswith(run.how.python) and re.search(pattern, line)
        )

    def finish(self) -> None:
        """Wait for every run."""
        for run in self.runs:
            run.began = time.monotonic()
        for run in self.runs:
            run.wait()

    def left_after(self, seconds: float, *hosts: str) -> dict[str, list[str]]:
        """What is still there after some time, or none as soon as nothing is."""
        watched = [self.lab.controller, *map(self.lab.host, hosts)]
        deadline = time.monotonic() + seconds
        while (left := _left(*watched)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


def _scene(stack: ExitStack, start_lab: LabMaker, shared: Path, *names: str) -> Scene:
    """Two hosts, and a run of two ranks on each under every MPI that is named; all are reading."""
    lab = stack.enter_context(start_lab(2, share=[shared, cache()]))
    bench = Bench(shared)
    scene = Scene(lab, [])
    for name in names:
        how = installation(name)
        results = Path(tempfile.mkdtemp(dir=shared))
        words = bench.argv(
            how, "run", "h1:1,h2:1", 2, "data", "train.epochs=50", "train.computation_time=0.5",
            "-aip", "--skip-timeseries", "--results-dir", str(results),
        )  # fmt: skip
        process = lab.popen(words)
        stack.callback(process.kill)
        scene.runs.append(Running(how, process, results))
    deadline = time.monotonic() + 60
    while not all(run.started(2) for run in scene.runs):
        ended = [run for run in scene.runs if run.process.poll() is not None]
        assert not ended, ended[0].process.communicate()
        assert time.monotonic() < deadline, "the ranks did not start"
        time.sleep(0.1)
    return scene


def _power_off(scene: Scene) -> None:
    scene.lab.host("h2").power_off()
    scene.finish()


def _killed(scene: Scene) -> None:
    scene.lab.host("h2").kill()
    scene.finish()


def _frozen(scene: Scene) -> None:
    """First for so long that the connection is lost, then for good."""
    host, (run,) = scene.lab.host("h2"), scene.runs
    host.freeze()
    _until(lambda: "trying to reach it again" in _notes(run))
    host.thaw()
    _until(lambda: "h2 answers again" in _notes(run))
    time.sleep(1)
    assert run.process.poll() is None
    host.freeze()
    scene.finish()
    host.thaw()


def _bereft(scene: Scene) -> None:
    """The controller of the first run is killed, the launcher of the second."""
    controller, launcher = scene.runs
    (pid,) = [
        pid
        for pid, line in scene.lab.controller.pids().items()
        if f"{controller.how.python} -m mlpstorage training run" in line and "enter.py" not in line
    ]
    os.kill(pid, signal.SIGKILL)
    (pid,) = [
        pid
        for pid, line in scene.lab.controller.pids().items()
        if re.match(rf"{Path(launcher.how.mpi_bin).parent}/\w+ -n 2 ", line)
    ]
    os.kill(pid, signal.SIGKILL)
    scene.finish()


def _sshd_killed(scene: Scene) -> None:
    """Without sshd the run goes on; then a rank of each run is killed on the other host."""
    scene.lab.host("h2").kill_sshd()
    time.sleep(3)
    assert [run.process.poll() for run in scene.runs] == [None] * len(scene.runs)
    for run in scene.runs:
        (rank,) = scene.processes(run, "h2", r"-m mlpstorage\.rank")
        run.ranks["h2"] = rank
        os.kill(rank, signal.SIGKILL)
    scene.finish()


_SCENES: dict[str, tuple[Callable[[Scene], None], tuple[str, ...]]] = {
    "power_off": (_power_off, NAMES),
    "killed": (_killed, ("openmpi4", "openmpi5")),
    "frozen": (_frozen, ("mpich",)),
    "bereft": (_bereft, ("openmpi4", "openmpi5")),
    "sshd": (_sshd_killed, NAMES),
}


@pytest.fixture(scope="module")
def scenes(
    start_lab: LabMaker, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Scene]]]:
    """The scenes that the chosen tests look at, each played once, side by side."""
    shared = tmp_path_factory.mktemp("failures")
    calls = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    chosen = sorted({call.params["scene"] for call in calls if "scene" in call.params})
    for name in NAMES:
        mpi(name)
    with ExitStack() as stack, ThreadPoolExecutor(len(_SCENES)) as pool:
        _generate(stack.enter_context(start_lab(1, share=[shared, cache()])), Bench(shared))
        played: dict[str, Future[Scene]] = {}
        for name in chosen:
            play, names = _SCENES[name]
            scene = _scene(stack, start_lab, shared, *names)
            played[name] = pool.submit(_played, play, scene)
        yield played


def _played(play: Callable[[Scene], None], scene: Scene) -> Scene:
    play(scene)
    return scene


@pytest.fixture
def scene(request: pytest.FixtureRequest, scenes: dict[str, Future[Scene]]) -> Scene:
    """The scene of this name, when it is over."""
    return scenes[request.param].result(120)


def of(scene: str) -> pytest.MarkDecorator:
    """Give a test its scene."""
    return pytest.mark.parametrize("scene", [scene], indirect=True)


def _generate(lab: Lab, bench: Bench) -> None:
    how, results = installation("mpich"), str(bench.shared / "results")
    words = bench.argv(how, "datagen", "localhost", 2, "data", "--results-dir", results)
    lab.run(words, check=True)


@of("power_off")
@pytest.mark.parametrize("index", range(3), ids=NAMES)
def test_a_host_without_power_ends_the_run(scene: Scene, index: int) -> None:
    """Every launcher would hang; the run ends, the host is named, and nothing is left."""
    run = scene.runs[index]
    assert run.code == 6, run.err
    assert "error: host h2 no longer answers" in run.err
    assert "rank 1 ran there" in run.err
    assert run.seconds < 30  # 16 s on a quiet machine; a launcher waits for ever
    assert scene.left_after(15, "h1") == {}


@of("killed")
@pytest.mark.parametrize("index", range(2), ids=NAMES[:2])
def test_a_killed_host_is_named(scene: Scene, index: int) -> None:
    """Open MPI may exit 0, or hang, when a host is killed; the run fails and names the host."""
    run = scene.runs[index]
    assert run.code == 6, run.err
    assert "error: host h2 no longer answers" in run.err
    assert scene.left_after(15, "h1") == {}


@of("frozen")
def test_a_frozen_host(scene: Scene) -> None:
    """A host that hangs for 8 s is waited for; one that hangs on is lost, and thaws clean."""
    (run,) = scene.runs
    assert run.code == 6, run.err
    assert "warning: h2 answers again" in run.err
    assert "error: host h2 no longer answers" in run.err
    assert run.seconds < 30
    assert scene.left_after(15, "h1", "h2") == {}


@of("bereft")
def test_killed_controllers_and_launchers_leave_nothing(scene: Scene) -> None:
    """SIGKILL of our own program, or of mpirun: after 15 s nothing is left on any host."""
    controller, launcher = scene.runs
    assert controller.code == -signal.SIGKILL
    assert launcher.code == 6
    assert "was killed by SIGKILL" in launcher.err
    assert scene.left_after(15, "h1", "h2") == {}


@of("sshd")
@pytest.mark.parametrize("index", range(3), ids=NAMES)
def test_a_rank_killed_on_another_host_is_named(scene: Scene, index: int) -> None:
    """The end of sshd ends no run; SIGKILL of a rank does, with its host named, and cleanly."""
    run = scene.runs[index]
    assert run.code == 6, run.err
    if run.how.name == "mpich":  # Hydra may name one of those that it kills itself
        assert re.search(r"rank \d on host h\d: killed by SIGKILL, or another", run.err), run.err
    else:
        assert "error: rank 1 on host h2: killed by SIGKILL" in run.err, run.err
    assert run.seconds < 20
    assert scene.left_after(15, "h1", "h2") == {}


# -- looking


def _ranks_by_host(lab: Lab, result_dir: str) -> dict[str, int]:
    text = lab.run(["cat", f"{result_dir}/events.jsonl"], check=True).stdout
    hosts = [e["host"] for e in map(json.loads, text.splitlines()) if e["type"] == "rank_started"]
    return {host: hosts.count(host) for host in sorted(hosts)}


def _outputs(lab: Lab, result_dir: str, count: int) -> list[dict[str, Any]]:
    names = [f"{result_dir}/{rank}_output.json" for rank in range(count)]
    return [json.loads(lab.run(["cat", name], check=True).stdout) for name in names]


def _left(*hosts: Host) -> dict[str, list[str]]:
    found = {
        host.name: [
            line for line in host.pids().values() if _OURS.search(line) and "enter.py" not in line
        ]
        for host in hosts
    }
    return {name: lines for name, lines in found.items() if lines}


def _notes(run: Running) -> str:
    return " ".join(event["text"] for event in run.journal() if event["type"] == "note")


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)
