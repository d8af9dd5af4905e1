from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError
from mlpstorage.preflight.lockfile import lockfile_problems
from mlpstorage.preflight.lockfile.read import read_lock

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "# mlpstorage-lock: version = "
CASES = {
    "empty": (b"", "pins no package"),
    "comments only": (b"# nothing\n\n", "pins no package"),
    "binary": (b"\x7fELF\x00\x01", ":1: not a text"),
    "not utf-8": (b"a==1\nb==\xff\xfe2\n", ":2: not a text"),
    "conflict": (b"a==1\n<<<<<<< HEAD\na==2\n=======\na==3\n>>>>>>> b\n", ":2: an unresolved"),
    "long line": (b"a==1\n" + b"x" * 10_000_000 + b"\n", ":2: the line has 10000000 characters"),
    "long spaces": (b"a==1\n" + b" " * 1_000_000 + b"?\n", ":2: not a requirement"),
    "nested": (b"a==1\nb==1; " + b"(" * 60_000 + b"\n", ":2: not a requirement"),
    "quotes": (b'a==1\n-r "x\n', ":2: No closing quotation"),
    "newer record": (f"{HEAD}2\na==1\n".encode(), ":1: a record of version 2"),
    "bad local": (b"# mlpstorage-lock: local = x\na==1\n", ":1: a local package"),
}
TOML = {
    "empty": ("", "pins no package"),
    "not toml": ("lock-version = \n", ":1: not TOML"),
    "nested": ("lock-version = " + "[" * 20_000, "not TOML"),
    "huge number": ("lock-version = " + "9" * 5_000, "not TOML"),
    "conflict": ("lock-version = '1.0'\n>>>>>>> b\n", ":2: an unresolved merge conflict"),
    "another file": ("[project]\nname = 'x'\n", "neither a pylock.toml nor a uv.lock"),
    "poetry": ("[[package]]\nname = 'a'\nversion = '1'\n", "neither"),
    "later pylock": ("lock-version = '2.0'\npackages = []\n", "lock-version 2.0 is not known"),
    "later uv": ("version = 9\n[[package]]\nname = 'a'\nversion = '1'\n", "version 9 is not"),
    "no pins": ("lock-version = '1.0'\npackages = []\n", "pins no package"),
    "type": ("lock-version = '1.0'\n[[packages]]\nname = 3\n", ":2: Expected `str`, got `int`"),
    "marker": (
        "lock-version = '1.0'\n[[packages]]\nname='a'\nversion='1'\nmarker='?'\n",
        ":2: not",
    ),
    "version": ("lock-version = '1.0'\n[[packages]]\nname='a'\nversion='?'\n", ":2: not a version"),
    "uv version": ("version = 1\n[[package]]\nname='a'\nversion='1 2'\n", ":2: not a version"),
    "uv none": ("version = 1\n[[package]]\nname='a'\nsource={registry='r'}\n", ":2: a has no ver"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_malformed_requirements_file_is_refused(tmp_path: Path, case: str) -> None:
    """The message names file, line and what is wrong, on one short line; the exit code is 5."""
    content, expected = CASES[case]
    path = tmp_path / "lock.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_lock(path)
    assert expected in caught.value.what
    assert str(path) in caught.value.what
    assert len(caught.value.what) < 200 + len(str(path))
    assert caught.value.what.isprintable()
    assert caught.value.fix


@pytest.mark.parametrize("case", TOML)
def test_a_malformed_toml_lock_is_refused(tmp_path: Path, case: str) -> None:
    """The message names file, line and what is wrong, on one short line; the exit code is 5."""
    content, expected = TOML[case]
    path = tmp_path / "pylock.toml"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_lock(path)
    assert expected in caught.value.what
    assert len(caught.value.what) < 200 + len(str(path))
    assert caught.value.fix


def test_a_missing_file_a_directory_and_a_forbidden_one(tmp_path: Path) -> None:
    """A missing lockfile is exit code 3, a directory 5, one that may not be read 4."""
    with pytest.raises(NotFoundError, match="no lockfile"):
        read_lock(tmp_path / "none.txt")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_lock(tmp_path)
    path = tmp_path / "forbidden.txt"
    path.write_text("a==1\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(AccessError):
        read_lock(path)


def test_an_endless_file_is_refused(tmp_path: Path) -> None:
    """A device that never ends is not read to its end."""
    path = tmp_path / "zero.txt"
    path.symlink_to("/dev/zero")
    with pytest.raises(ConfigurationError, match="larger than 32 MiB"):
        read_lock(path)


def test_what_is_wrong_with_the_file_is_a_problem_of_the_benchmark(tmp_path: Path) -> None:
    """The list of problems holds the lockfile's own fault, with its exit code."""
    (missing,) = lockfile_problems(tmp_path / "none.txt", ())
    assert missing.exit_code == 3
    (tmp_path / "empty.txt").touch()
    (empty,) = lockfile_problems(tmp_path / "empty.txt", ())
    assert empty.exit_code == 5


def test_a_file_of_windows_is_read(tmp_path: Path) -> None:
    """UTF-16 with a byte order mark, as PowerShell writes, and CRLF are understood."""
    path = tmp_path / "lock.txt"
    path.write_bytes("a==1\r\nb==2\r\n".encode("utf-16"))
    assert [pin.locked for pin in read_lock(path).pins] == ["1", "2"]
