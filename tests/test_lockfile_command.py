"""`mlpstorage lockfile` from the installed command, in environments of its own."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Program

ROOT = Path(__file__).parents[1]
_UNREACHABLE = re.compile(
    r"NameResolution|ConnectionError|ConnectTimeout|Connection refused|Network is unreachable"
    r"|NewConnectionError|Could not fetch URL"
)


def pip(python: Path | str, *words: str | Path, where: Path, verb: str = "install") -> None:
    """Run pip of an environment; without a package index the test is skipped, except in CI."""
    done = subprocess.run(
        [str(python), "-m", "pip", verb, "--quiet", "--disable-pip-version-check",
         *map(str, words)],
        cwd=where, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and _UNREACHABLE.search(done.stderr) and not os.environ.get("CI"):
        pytest.skip(f"no package index: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def environment(where: Path) -> Path:
    """The interpreter of a fresh environment."""
    subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
    return where / "bin" / "python"


def command(python: Path, *words: str | Path, where: Path) -> subprocess.CompletedProcess[str]:
    """Run the mlpstorage that is installed in an environment."""
    program = python.with_name("mlpstorage")
    return subprocess.run(
        [str(program), *map(str, words)], cwd=where, capture_output=True, text=True, check=False
    )


def test_a_lock_moves_an_environment_and_guards_it(tmp_path: Path) -> None:
    """Generate, install elsewhere with hashes, verify; a changed package is refused and mended."""
    pip(sys.executable, "--no-deps", ROOT, verb="wheel", where=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    first, second = environment(tmp_path / "first"), environment(tmp_path / "second")
    pip(first, wheel, "six==1.16.0", where=tmp_path)
    made = command(first, "lockfile", "generate", "--hashes", where=tmp_path)
    assert made.returncode == 0, made.stderr
    pip(second, "--require-hashes", "-r", "requirements.txt", where=tmp_path)
    pip(second, "--no-deps", wheel, where=tmp_path)
    same = command(second, "lockfile", "verify", "--strict", where=tmp_path)
    assert same.returncode == 0, same.stdout
    assert re.search(r"this host: (\d+) of \1 packages match", same.stdout)
    pip(second, "six==1.17.0", where=tmp_path)
    other = command(second, "lockfile", "verify", where=tmp_path)
    assert other.returncode == 5
    assert "six 1.17.0 is installed, but requirements.txt:" in other.stdout
    assert "pins 1.16.0" in other.stdout
    fix = other.stdout.rstrip().splitlines()[-1].strip()
    assert fix == f"{second} -m pip install --require-hashes -r requirements.txt"
    subprocess.run([*shlex.split(fix), "--quiet"], cwd=tmp_path, check=True, capture_output=True)
    assert command(second, "lockfile", "verify", where=tmp_path).returncode == 0


def test_a_project_is_locked_with_an_extra(program: Program) -> None:
    """The declared dependencies are pinned with what they need, an extra when asked for."""
    pip(sys.executable, "--dry-run", "--ignore-installed", "six==1.17.0", where=program.home)
    (program.home / "pyproject.toml").write_text(
        '[project]\nname = "tiny"\nversion = "1"\n'
        'dependencies = ["six==1.17.0", "colorama==0.4.6; os_name == \'nt\'"]\n'
        '[project.optional-dependencies]\nnet = ["idna==3.7"]\n'
    )
    base = program("lockfile", "generate", "--pyproject", ".", "--json")
    assert base.code == 0, base.err
    (made,) = base.json["lockfiles"]
    assert made["packages"]["six"] == "1.17.0"
    assert "idna" not in made["packages"]
    both = program("lockfile", "generate", "--all", "--json", "-o", "lock.txt")
    assert both.code == 0, both.err
    assert [Path(made["path"]).name for made in both.json["lockfiles"]] == [
        "lock.txt",
        "lock-full.txt",
    ]
    assert both.json["lockfiles"][1]["packages"]["idna"] == "3.7"


def test_verify_ends_with_the_codes_of_its_help(program: Program) -> None:
    """A match is 0, a mismatch or a malformed file 5, a missing file 3, with no traceback."""
    assert program("lockfile", "generate").code == 0
    assert program("lockfile", "verify").code == 0
    with (program.home / "requirements.txt").open("a") as file:
        file.write("nosuchpackage==1\n")
    missing = program("lockfile", "verify", "--json")
    assert missing.code == 5
    assert missing.json["valid"] is False
    assert missing.json["hosts"][0]["missing"] == 1
    assert missing.json["fixes"]
    assert program("lockfile", "verify", "--allow-missing").code == 0
    assert program("lockfile", "verify", "--skip", "nosuchpackage").code == 0
    (program.home / "bad.txt").write_bytes(b"a==1\n<<<<<<< HEAD\n")
    bad = program("lockfile", "verify", "-l", "bad.txt")
    assert bad.code == 5
    assert bad.err.startswith("error: bad.txt:2: an unresolved merge conflict")
    assert "Traceback" not in bad.err
    assert program("lockfile", "verify", "-l", "none.txt").code == 3
