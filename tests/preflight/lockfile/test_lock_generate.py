from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.preflight.lockfile import resolve
from mlpstorage.preflight.lockfile.generate import generate_declared, generate_running
from mlpstorage.preflight.lockfile.model import Environment
from mlpstorage.preflight.lockfile.project import read_project
from mlpstorage.preflight.lockfile.read import read_lock
from mlpstorage.preflight.lockfile.record import Record, parse_record, record_lines
from mlpstorage.preflight.lockfile.running import running_environment
from mlpstorage.preflight.lockfile.write import write_lock

PROJECT = """\
[project]
name = "My.Project"
version = "1"
dependencies = ["six>=1"]
[project.optional-dependencies]
net = ["idna"]
all = ["my-project[net,deep]", "iniconfig"]
Deep_Extra = ["certifi"]
deep = ["my_project[all]"]
"""


def project(tmp_path: Path, text: str = PROJECT) -> Path:
    """A directory with a pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text(text)
    return tmp_path


def test_the_running_environment_is_pinned_and_read_back(tmp_path: Path) -> None:
    """Every package from an index is pinned at its version; the record says where."""
    made = generate_running(tmp_path / "lock.txt", hashes=False)
    lock = read_lock(made.path)
    assert lock.pins
    for pin in lock.pins:
        assert metadata.version(pin.name) == pin.locked
    assert {pin.name for pin in lock.pins} | {name for name, _ in lock.local} >= {
        canonicalize_name(name) for name in ("numpy", "ruamel.yaml", "mlpstorage")
    }
    assert lock.environment
    assert lock.environment.python == sys.version.split()[0]


def test_what_is_not_pinned_is_said(tmp_path: Path) -> None:
    """A package installed from a directory stands as a comment, with its version."""
    made = generate_running(tmp_path / "lock.txt", hashes=False)
    for name, version in running_environment().local:
        assert f"# mlpstorage-lock: local = {name} {version}" in made.path.read_text()


def test_extras_of_the_project_itself_are_replaced(tmp_path: Path) -> None:
    """An extra that names extras of its own project brings what they need, also in a circle."""
    declared = read_project(project(tmp_path))
    assert declared.requirements(()) == ["six>=1"]
    assert sorted(declared.requirements(["ALL"])) == ["idna", "iniconfig", "six>=1"]
    assert sorted(declared.requirements(["deep-extra"])) == ["certifi", "six>=1"]


def test_an_unknown_extra_or_python_is_refused(tmp_path: Path) -> None:
    """A slip is answered by the nearest extra; a Python version must be one."""
    home = project(tmp_path)
    with pytest.raises(UsageError, match="no extra 'nett'") as caught:
        generate_declared(tmp_path / "lock.txt", home, extras=("nett",))
    assert caught.value.fix == "did you mean net?"
    with pytest.raises(UsageError, match="not a version of Python 3"):
        generate_declared(tmp_path / "lock.txt", home, python_version="2.7")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[project", "not TOML"),
        ("[tool.x]\n", "missing required field `project`"),
        ("[project]\nname = 'a'\ndependencies = ['?']\n", "not a requirement"),
    ],
)
def test_a_malformed_project_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """The message names the pyproject.toml and what is wrong with it."""
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml") as caught:
        generate_declared(tmp_path / "lock.txt", project(tmp_path, text))
    assert expected in caught.value.what
    assert not (tmp_path / "lock.txt").exists()


def test_a_missing_project_is_not_found(tmp_path: Path) -> None:
    """Without a pyproject.toml the exit code is 3."""
    with pytest.raises(NotFoundError, match="there is no"):
        generate_declared(tmp_path / "lock.txt", tmp_path / "pyproject.toml")


def test_a_project_without_dependencies_gives_a_lock_that_verifies(tmp_path: Path) -> None:
    """A lock with a record and no pins is whole."""
    home = project(tmp_path, "[project]\nname = 'a'\nversion = '1'\n")
    (made,) = generate_declared(tmp_path / "lock.txt", home)
    assert read_lock(made.path).pins == ()


def test_pip_resolves_for_another_python_only_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without uv, a Python that is not here cannot be resolved for, and the message says why."""
    monkeypatch.setattr(resolve, "_uv", list)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"there is no python3\.99 here"):
        generate_declared(tmp_path / "lock.txt", project(tmp_path), python_version="3.99")


def test_dynamic_dependencies_need_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project whose build program declares its dependencies is not locked as if it had none."""
    monkeypatch.setattr(resolve, "_uv", list)
    home = project(tmp_path, "[project]\nname = 'a'\ndynamic = ['version', 'dependencies']\n")
    with pytest.raises(ConfigurationError, match="dynamic"):
        generate_declared(tmp_path / "lock.txt", home)


def test_a_hand_written_file_is_kept(tmp_path: Path) -> None:
    """What this program did not write is kept aside; what it wrote is replaced."""
    path = tmp_path / "requirements.txt"
    path.write_text("numpy  # by hand\n")
    kept = write_lock(path, "# mlpstorage-lock: version = 1\na==1\n")
    assert kept == tmp_path / "requirements.txt.old"
    assert kept.read_text() == "numpy  # by hand\n"
    assert write_lock(path, "# mlpstorage-lock: version = 1\na==2\n") is None
    assert path.read_text().endswith("a==2\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "requirements.txt",
        "requirements.txt.old",
    ]


def test_a_link_and_a_device_stay_what_they_are(tmp_path: Path) -> None:
    """Writing through a link changes its target; a device is written to, not replaced."""
    (tmp_path / "real.txt").write_text("# mlpstorage-lock: version = 1\n")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_lock(tmp_path / "link.txt", "new\n")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new\n"
    write_lock(Path("/dev/null"), "new\n")
    assert Path("/dev/null").is_char_device()


def test_a_missing_directory_is_not_found(tmp_path: Path) -> None:
    """The file cannot be written where there is no directory: exit code 3."""
    with pytest.raises(NotFoundError, match="there is no directory"):
        write_lock(tmp_path / "none" / "lock.txt", "a==1\n")


def test_the_record_is_read_as_written() -> None:
    """Every field of the record survives the comments."""
    environment = Environment("3.11.7", "CPython", "linux-x86_64", "glibc 2.36", "debian 12", "x 1")
    record = Record(environment, "a source", "uv 1.0", (("mine", "1.0"), ("b", "2")), no_deps=True)
    assert parse_record(Path("lock.txt"), "\n".join(record_lines(record))) == record
