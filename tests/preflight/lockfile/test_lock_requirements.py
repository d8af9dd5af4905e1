from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from mlpstorage.core.errors import ConfigurationError, NotFoundError
from mlpstorage.preflight.lockfile.compare import satisfies
from mlpstorage.preflight.lockfile.model import Pin
from mlpstorage.preflight.lockfile.read import read_lock
from mlpstorage.preflight.lockfile.requirements import parse_requirements

if TYPE_CHECKING:
    from pathlib import Path

SHA = "a" * 64


def lock_file(tmp_path: Path, text: str, name: str = "lock.txt") -> Path:
    """A lockfile with this text."""
    path = tmp_path / name
    path.write_text(text)
    return path


def test_pins_names_markers_and_hashes(tmp_path: Path) -> None:
    """Names are normalised; markers, hashes, comments and continued lines are understood."""
    text = (
        "# a comment \\\n"
        "Ruamel_YAML==0.18  # why\n"
        f"a[x]==1 ; python_version < '3.11' \\\n    --hash=sha256:{SHA} \\\n    # between\n"
        f"b==2 --hash sha256:{SHA}\n"
        "--index-url https://example.org/simple\n"
        "c===2004d\n"
    )
    lock = read_lock(lock_file(tmp_path, text))
    assert [(p.name, p.specifier, p.marker, len(p.hashes)) for p in lock.pins] == [
        ("ruamel-yaml", "==0.18", "", 0),
        ("a", "==1", 'python_version < "3.11"', 1),
        ("b", "==2", "", 1),
        ("c", "===2004d", "", 0),
    ]
    assert [pin.where.rpartition(":")[2] for pin in lock.pins] == ["2", "3", "6", "8"]


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable=git+https://example.org/r.git#egg=x",
        "git+https://example.org/r.git",
        "https://example.org/x-1-py3-none-any.whl",
        "file:///src/x",
        "./x",
        "x/y",
        "x-1.0.tar.gz",
        "x @ git+https://example.org/r@abc",
        "-r https://example.org/r.txt",
    ],
)
def test_entries_without_a_version_are_reported_with_the_reason(tmp_path: Path, line: str) -> None:
    """Addresses, paths and editable installs are left out, never silently."""
    lock = read_lock(lock_file(tmp_path, f"{line}\n"))
    assert lock.pins == ()
    (left,) = lock.left
    assert left.reason
    assert left.where.endswith("lock.txt:1")


def test_included_files_and_constraints(tmp_path: Path) -> None:
    """-r adds pins from a file beside the lockfile, -c pins that count only if installed."""
    (tmp_path / "sub").mkdir()
    lock_file(tmp_path, "b==2\n-c ../more.txt\n", "sub/inner.txt")
    lock_file(tmp_path, "c==3\n", "more.txt")
    lock = read_lock(lock_file(tmp_path, "a==1\n-rsub/inner.txt\n"))
    assert [(pin.name, pin.optional) for pin in lock.pins] == [
        ("a", False),
        ("b", False),
        ("c", True),
    ]


def test_files_that_include_each_other_are_refused(tmp_path: Path) -> None:
    """A circle of includes ends with the line that closes it."""
    lock_file(tmp_path, "-r lock.txt\n", "other.txt")
    with pytest.raises(ConfigurationError, match=r"other\.txt:1: lock\.txt includes itself"):
        read_lock(lock_file(tmp_path, "-r other.txt\n"))


def test_a_missing_included_file_is_named_with_its_line(tmp_path: Path) -> None:
    """The message names the missing file and the line that asks for it; the exit code is 3."""
    with pytest.raises(NotFoundError, match=r"lock\.txt:2.*nothing\.txt"):
        read_lock(lock_file(tmp_path, "a==1\n-r nothing.txt\n"))


@pytest.mark.parametrize(
    "line",
    ["a=1", "a==", "==1", "--no-such-option", "a==1 --hash=md5:1", "a==1 --what", "a==1; b", "-r"],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str) -> None:
    """What pip would refuse is refused with file and line."""
    with pytest.raises(ConfigurationError, match=r"lock\.txt:2: "):
        read_lock(lock_file(tmp_path, f"ok==1\n{line}\n"))


NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,10}[A-Za-z0-9])?", fullmatch=True)
RELEASES = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(
    lambda parts: ".".join(map(str, parts))
)
VERSIONS = st.builds(
    lambda *parts: "".join(parts),
    RELEASES,
    st.sampled_from(["", "a1", "rc2", "b0"]),
    st.sampled_from(["", ".post1"]),
    st.sampled_from(["", ".dev3"]),
    st.sampled_from(["", "+cpu", "+local.7"]),
)
CLAUSES = st.one_of(
    VERSIONS.map("=={}".format),
    VERSIONS.map("!={}".format),
    RELEASES.map("=={}.*".format),
    RELEASES.map(">={}".format),
    RELEASES.map("<{}".format),
    RELEASES.map("~={}.0".format),
)
MARKERS = st.sampled_from(["", "python_version >= '3.8'", "os_name == 'nt' or extra == 'x'"])


@given(name=NAMES, clauses=st.lists(CLAUSES, max_size=3), marker=MARKERS)
def test_any_requirement_is_read_as_packaging_reads_it(
    tmp_path_factory: pytest.TempPathFactory, name: str, clauses: list[str], marker: str
) -> None:
    """Name, versions and marker of a line are those of packaging.Requirement."""
    text = f"{name}{','.join(clauses)}" + (f" ; {marker}" if marker else "")
    wanted = Requirement(text)
    (pin,) = parse_requirements(tmp_path_factory.getbasetemp() / "lock.txt", text).pins
    assert pin.name == canonicalize_name(wanted.name)
    assert SpecifierSet(pin.specifier) == wanted.specifier
    assert pin.marker == str(wanted.marker or "")


@given(installed=VERSIONS, locked=VERSIONS)
def test_versions_are_equal_as_pep_440_says(installed: str, locked: str) -> None:
    """A pin is met by an equal version; its local part counts only where the pin has one."""
    have, want = Version(installed), Version(locked)
    equal = have == want if want.local else Version(have.public) == want
    assert satisfies(installed, f"=={locked}") == equal


@given(version=VERSIONS, clause=CLAUSES)
def test_ranges_are_met_as_packaging_says(version: str, clause: str) -> None:
    """A range holds a version exactly when packaging says so, pre-releases included."""
    assert satisfies(version, clause) == SpecifierSet(clause).contains(version, prereleases=True)


@given(text=st.text(max_size=60))
def test_any_text_is_a_lock_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """No text makes the parser fail otherwise than by naming the file."""
    path = tmp_path_factory.getbasetemp() / "lock.txt"
    what, pins = str(path), tuple[Pin, ...]()
    try:
        pins = parse_requirements(path, text).pins
    except (ConfigurationError, NotFoundError) as error:
        what = error.what
    assert str(path) in what
    assert all(canonicalize_name(pin.name) == pin.name for pin in pins)


@given(line=st.from_regex(r"[a-z]{1,3}[=<>!~; \"'a-z0-9.,\[\]()]{0,20}", fullmatch=True))
def test_no_line_that_packaging_refuses_becomes_a_pin(
    tmp_path_factory: pytest.TempPathFactory, line: str
) -> None:
    """Whatever becomes a pin is a requirement for packaging, too."""
    path = tmp_path_factory.getbasetemp() / "lock.txt"
    try:
        Requirement(line.strip())
    except InvalidRequirement:
        refused = True
    else:
        refused = False
    try:
        pins = parse_requirements(path, line).pins
    except ConfigurationError:
        assert refused
    else:
        assert not (refused and pins)
