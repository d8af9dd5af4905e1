from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.preflight import dlio

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from conftest import Program

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_healthy_host(program: Program) -> None:
    """On a host without fault doctor says so, check by check, and exits 0."""
    done = program("doctor")
    assert done.code == 0, done.err
    assert "0 errors" in done.out
    assert "mlpstorage works, the same everywhere" in done.out


def test_json_has_hosts_checks_and_findings(program: Program) -> None:
    """The document has every check with its result, and the host's facts."""
    document = program("doctor", "--json").json
    assert document["ok"]
    (host,) = document["hosts"]
    assert host["python"] == ".".join(map(str, sys.version_info[:3]))
    results = {check["id"]: check["result"] for check in document["checks"]}
    assert results["python.alike"] == "ok"
    assert results["ssh.reach"] == "not needed"
    assert set(results.values()) <= {"ok", "not needed", "warning"}


def test_all_problems_at_once(program: Program) -> None:
    """Wrong directory, server out of reach, missing launcher: one run lists all three."""
    (program.home / "file").write_text("x")
    done = program(
        "doctor", "--json", "--data-dir", "file/data", "--host", "127.0.0.1", "--port", "1",
        "--mpi-bin", "no-such-mpirun",
    )  # fmt: skip
    assert done.code == 5
    checks = {finding["check"] for finding in done.json["findings"]}
    assert checks >= {"places.usable", "endpoints", "mpi.launcher"}
    assert all(finding["fix"] for finding in done.json["findings"])


def test_launcher_of_another_mpi(program: Program) -> None:
    """A launcher that does not belong to mpi4py's library is found without a launch."""
    pytest.importorskip("mpi4py")
    libraries = program("doctor", "--mpi-bin", "mpirun", "--json").json["hosts"][0]["mpi_library"]
    if not libraries:
        pytest.skip("there is no MPI library here")
    other = "mpirun (Open MPI) 4.1.4" if "Open MPI" not in libraries else "HYDRA:\nVersion: 5.0"
    launcher = program.home / "mpirun"
    launcher.write_text(f"#!/bin/sh\nprintf '{other}\\n'\n")
    launcher.chmod(0o755)
    done = program("doctor", "--mpi-bin", launcher, "--allow-run-as-root", "--json")
    (found,) = [f for f in done.json["findings"] if f["check"] == "mpi.mixed"]
    assert "size 1" in found["why"]


def test_for_chooses_what_matters(program: Program) -> None:
    """With --for, a directory that the benchmark does not use is not checked."""
    (program.home / "file").write_text("x")
    wrong = ("doctor", "--cache-dir", "file/cache", "--json")
    assert program(*wrong).code == 5
    assert program(*wrong, "--for", "training").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--for", "trainin"), "did you mean training?"),
        (("--engine", "dlo"), "did you mean dlio?"),
        (("--hosts", "h1 h1"), "named twice"),
        (("--num-processes", "-3"), "--num-processes"),
        (("--port", "70000"), "--port is 70000"),
        (("more",), "'more'"),
        (("--nope",), "--nope"),
    ],
)
def test_usage_errors(program: Program, words: tuple[str, ...], said: str) -> None:
    """A wrong word is exit code 2, names the word, and says what would be right."""
    done = program("doctor", *words)
    assert done.code == 2
    assert said in done.err


def test_help_of_a_command_without_a_second_word(program: Program) -> None:
    """`doctor --help` shows its options."""
    done = program("doctor", "--help")
    assert done.code == 0
    assert done.out.startswith("usage: mlpstorage doctor [options]")
    assert "--for VALUE" in done.out


def test_missing_engine_shows_what_installs_it(program: Program) -> None:
    """Without DLIO, --engine dlio is an error whose fix is the command and its lines of pip."""
    done = program("doctor", "--engine", "dlio", "--json")
    found = [f for f in done.json["findings"] if f["check"] == "engine.dlio"]
    if not found:
        pytest.skip("DLIO is installed here")
    assert done.code == 5
    assert found[0]["fix"].startswith("mlpstorage engine install dlio; it stands for: ")
    assert "-m pip install --no-deps --require-hashes -r" in found[0]["fix"]


def test_engine_install_shows_its_commands(program: Program) -> None:
    """--what-if shows the commands, of this Python's pip, and installs nothing."""
    done = program("engine", "install", "dlio", "--what-if", "--json")
    assert done.code == 0, done.err
    *_, last = done.json["commands"]
    assert last.startswith(sys.executable)
    assert not done.json["installed"]
    assert program("engine", "install", "--engine", "dlio", "--what-if").code == 0


def test_engine_install_refuses_what_it_does_not_know(program: Program) -> None:
    """Another engine is a usage error, and none is a missing option."""
    assert program("engine", "install", "nosuch").code == 2
    assert program("engine", "install").code == 2


def test_extra_is_what_the_command_installs() -> None:
    """The extra [dlio] and the command agree, and DLIO itself is pinned by a hash."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["dlio"] == [*dlio.REQUIREMENTS, dlio.TORCH]
    pinned = dlio.PINNED.read_text(encoding="utf-8")
    assert pinned.startswith("dlio-benchmark==2.0.0 ")
    assert "--hash=sha256:" in pinned
