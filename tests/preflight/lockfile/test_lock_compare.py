from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.preflight.lockfile.compare import Leniency, compare, compare_environment
from mlpstorage.preflight.lockfile.mend import mend
from mlpstorage.preflight.lockfile.model import Difference, Environment, Facts, Left, Lock, Pin
from mlpstorage.preflight.lockfile.probe import marker_environment

MARKERS = marker_environment()
HASH = ("sha256:" + "a" * 64,)


def lock_of(*pins: Pin, **more: object) -> Lock:
    """A lock with these pins."""
    return dataclasses.replace(Lock(Path("lock.txt"), "requirements", pins), **more)  # type: ignore[arg-type] # fields of Lock


def kinds(found: object) -> list[tuple[str, str, str]]:
    """Kind, severity and subject of each difference."""
    differences = getattr(found, "differences", found)
    return [(d.kind, d.severity, d.subject) for d in differences]


def test_mismatch_missing_and_extra() -> None:
    """A wrong version and a missing package are errors; an extra one only when strict."""
    lock = lock_of(Pin("a", "==1.0", where="lock.txt:1"), Pin("b", "==2"), Pin("c", "==3"))
    installed = {"a": "1.1", "c": "3.0.0", "d": "4", "pip": "23", "mlpstorage": "1"}
    found = compare(lock, installed, MARKERS)
    assert kinds(found) == [("mismatch", "error", "a"), ("missing", "error", "b")]
    assert (found.total, found.matched) == (3, 1)
    assert found.differences[0].what == "a 1.1 is installed, but lock.txt:1 pins 1.0"
    strict = compare(lock, installed, MARKERS, Leniency(strict=True))
    assert kinds(strict)[2:] == [("extra", "error", "d")]


def test_leniency() -> None:
    """--skip makes a note of a package, --allow-missing a warning of what is missing."""
    lock = lock_of(Pin("mpi4py", "==4"), Pin("b", "==2"))
    found = compare(lock, {"mpi4py": "3"}, MARKERS, Leniency(frozenset({"mpi4py"}), True))
    assert kinds(found) == [("skipped", "note", "mpi4py"), ("missing", "warning", "b")]


def test_mpi4py_is_compared_like_any_other() -> None:
    """Without --skip, another mpi4py is a mismatch."""
    assert kinds(compare(lock_of(Pin("mpi4py", "==4")), {"mpi4py": "3"}, MARKERS)) == [
        ("mismatch", "error", "mpi4py")
    ]


def test_markers_decide_what_holds_on_the_host() -> None:
    """The same lock asks different hosts for different packages."""
    lock = lock_of(
        Pin("old", "==1", "python_version < '3.11'"), Pin("new", "==1", "python_version >= '3.11'")
    )
    for version, wanted in (("3.10", "old"), ("3.12", "new")):
        markers = {**MARKERS, "python_version": version}
        found = compare(lock, {}, markers).differences
        assert [d.subject for d in found if d.kind == "missing"] == [wanted]
        assert len([d for d in found if d.kind == "skipped"]) == 1


def test_a_marker_that_cannot_be_evaluated_is_named() -> None:
    """The error names where the marker stands."""
    lock = lock_of(Pin("a", "==1", "python_version ~= 'x'", where="lock.txt:7"))
    with pytest.raises(ConfigurationError, match=r"lock\.txt:7"):
        compare(lock, {}, MARKERS)


def test_ranges_are_compared_and_called_unpinned() -> None:
    """A range is met or not as it stands, and a warning says that it is no pin."""
    found = compare(lock_of(Pin("a", ">=2"), Pin("b", "")), {"a": "1", "b": "7"}, MARKERS)
    assert kinds(found) == [
        ("mismatch", "error", "a"),
        ("unpinned", "warning", "a"),
        ("unpinned", "warning", "b"),
    ]


def test_entries_left_out_are_notes() -> None:
    """What cannot be compared is reported with its reason, and is no extra package."""
    lock = lock_of(Pin("a", "==1"), left=(Left("b", "it is an address", "lock.txt:2"),))
    found = compare(lock, {"a": "1", "b": "2"}, MARKERS, Leniency(strict=True))
    assert kinds(found) == [("skipped", "note", "b")]
    assert "it is an address (lock.txt:2)" in found.differences[0].what


def facts(**environment: str) -> Facts:
    """A host with the environment that a lock records."""
    return Facts({"mine": "1"}, [], MARKERS, Environment(**environment))


def test_another_python_is_an_error_another_platform_or_mpi_a_warning() -> None:
    """The record beside the pins is compared: a Python's patch level does not matter."""
    here = Environment(MARKERS["python_full_version"], platform="linux-x86_64", mpi="MPICH 5.0")
    minor = ".".join(here.python.split(".")[:2])
    same = lock_of(Pin("a", "==1"), environment=dataclasses.replace(here, python=f"{minor}.99"))
    found = compare_environment(same, facts(platform="linux-x86_64", mpi="MPICH 5.0"), Leniency())
    assert kinds([*found]) == []
    other = dataclasses.replace(same, environment=dataclasses.replace(here, python="3.1.0"))
    found = compare_environment(other, facts(platform="linux-aarch64", mpi="none"), Leniency())
    assert kinds([*found]) == [
        ("python", "error", "Python"),
        ("environment", "warning", "platform"),
        ("environment", "warning", "mpi"),
    ]


def test_requires_python_and_environments_of_a_lock_hold() -> None:
    """A Python outside requires-python, or no environment of the lock, is an error."""
    old = lock_of(Pin("a", "==1"), requires_python="<3")
    nt = lock_of(Pin("a", "==1"), environments=("os_name == 'nt'",))
    for lock in (old, nt):
        found = [*compare_environment(lock, facts(), Leniency())]
        assert kinds(found) == [("python", "error", "Python")]


def test_what_was_installed_from_a_directory_is_compared_by_its_version() -> None:
    """Another version of a local package is an error; its absence a warning (PYTHONPATH)."""
    lock = lock_of(Pin("a", "==1"), local=(("mine", "2"), ("gone", "1")))
    found = [*compare_environment(lock, facts(), Leniency())]
    assert kinds(found) == [("local", "error", "mine"), ("local", "warning", "gone")]
    skipped = compare_environment(lock, facts(), Leniency(frozenset({"mine", "gone"})))
    assert [*skipped] == []


def test_the_command_that_mends_fits_lock_and_hosts() -> None:
    """Hashes and unresolvable pins add flags; other hosts read the file through ssh."""
    wrong = Difference("mismatch", "error", "a", "1", "2")
    plain, hashed = lock_of(Pin("a", "==1")), lock_of(Pin("a", "==1", hashes=HASH), no_deps=True)
    pip = f"{sys.executable} -m pip"
    assert mend(plain, wrong, ()) == f"{pip} install -r lock.txt"
    assert mend(hashed, wrong, ()) == f"{pip} install --require-hashes --no-deps -r lock.txt"
    remote = f"'{pip} install -r /dev/stdin' < lock.txt"
    assert mend(plain, wrong, ["n1"]) == f"ssh n1 {remote}"
    assert mend(plain, wrong, ["n1", "n2"]) == f'for host in n1 n2; do ssh "$host" {remote}; done'
    extra = Difference("extra", "error", "a", found="2")
    assert mend(plain, extra, ()) == f"{pip} uninstall -y a"
