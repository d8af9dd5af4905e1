"""From requirements to pins and hashes, by uv where it is present, else by pip."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from packaging.utils import canonicalize_name

from mlpstorage.core.errors import ConfigurationError, TimeLimitError
from mlpstorage.preflight.lockfile.model import Left, Pin
from mlpstorage.preflight.lockfile.requirements import parse_requirements
from mlpstorage.preflight.lockfile.text import clipped

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT_SECONDS = 900.0
_MOST_REASONS = 4


@dataclass(frozen=True)
class Question:
    """What to resolve.

    `requirements` are texts; with `deps` their dependencies are resolved too. `project` is the
    pyproject.toml that they come from, whose extras `extras` are wanted. `python_version` is
    empty for the running Python's.
    """

    requirements: tuple[str, ...]
    deps: bool = True
    hashes: bool = False
    python_version: str = ""
    project: Path | None = None
    extras: tuple[str, ...] = ()
    is_dynamic: bool = False


@dataclass(frozen=True)
class Solution:
    """The pins, what has an address in place of a version, and which tool found them."""

    pins: tuple[Pin, ...]
    left: tuple[Left, ...]
    tool: str


class _Metadata(msgspec.Struct):
    name: str
    version: str


class _Archive(msgspec.Struct):
    hashes: dict[str, str] = {}


class _Vcs(msgspec.Struct):
    vcs: str
    commit_id: str


class _Download(msgspec.Struct):
    url: str
    archive_info: _Archive | None = None
    vcs_info: _Vcs | None = None


class _Install(msgspec.Struct):
    metadata: _Metadata
    download_info: _Download
    is_direct: bool = False


class _Report(msgspec.Struct):
    pip_version: str
    install: list[_Install]


def resolve(question: Question) -> Solution:
    """The versions that meet a question.

    Raises:
        ConfigurationError: no tool is present, none can answer, or there is no answer.
        TimeLimitError: the package index does not come to an end.
    """
    if not question.requirements and not question.is_dynamic:
        return Solution((), (), "")
    uv = _uv()
    with tempfile.TemporaryDirectory(prefix="mlpstorage-lock-") as directory:
        return _by_uv(uv, question, Path(directory)) if uv else _by_pip(question, Path(directory))


def _uv() -> list[str]:
    """The command that starts uv, or none."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("uv")
    return [found] if found else []


def _by_uv(uv: list[str], question: Question, directory: Path) -> Solution:
    out, asked = directory / "out.txt", directory / "in.txt"
    asked.write_text("\n".join(question.requirements) + "\n", encoding="utf-8")
    # uv reads the project itself, for its [tool.uv] indexes and sources.
    source = question.project.absolute() if question.project else asked
    words = [*uv, "pip", "compile", str(source), "-o", str(out), "--quiet", "--no-header"]
    words += ["--no-annotate", "--no-strip-markers", "--python", sys.executable]
    words += ["--generate-hashes"] if question.hashes else []
    words += [] if question.deps else ["--no-deps"]
    words += [word for extra in question.extras for word in ("--extra", extra)]
    if question.python_version:
        words += ["--python-version", question.python_version]
    _run(words, source.parent)
    lock = parse_requirements(out, out.read_text(encoding="utf-8"))
    version = _run([*uv, "--version"], directory).split()[:2]
    return Solution(lock.pins, lock.left, " ".join(version))


def _by_pip(question: Question, directory: Path) -> Solution:
    if question.is_dynamic:
        what = f"{question.project} leaves its dependencies to its build program (dynamic)"
        fix = "install uv, or install the project and pin the running environment"
        raise ConfigurationError(what, fix=fix)
    report, asked = directory / "report.json", directory / "in.txt"
    asked.write_text("\n".join(question.requirements) + "\n", encoding="utf-8")
    words = [*_pip(question.python_version), "install", "--dry-run", "--ignore-installed"]
    words += ["--quiet", "--no-input", "--disable-pip-version-check", "--report", str(report)]
    words += [] if question.deps else ["--no-deps"]
    where = question.project.absolute().parent if question.project else directory
    _run([*words, "-r", str(asked)], where)
    read = msgspec.json.decode(report.read_bytes(), type=_Report)
    found = sorted(read.install, key=lambda one: canonicalize_name(one.metadata.name))
    pins = tuple(_pin(one, hashes=question.hashes) for one in found if not one.is_direct)
    left = tuple(_left(one) for one in found if one.is_direct)
    return Solution(pins, left, f"pip {read.pip_version}")


def _pip(python_version: str) -> list[str]:
    """The pip command that resolves for a Python.

    pip evaluates markers for the Python that it works on: another one must be present.
    """
    if find_spec("pip") is None:
        fix = f"install one: pip install uv, or {sys.executable} -m ensurepip"
        raise ConfigurationError("neither uv nor pip is here to resolve versions", fix=fix)
    pip = [sys.executable, "-m", "pip"]
    minor = ".".join(python_version.split(".")[:2])
    if not minor or minor == f"{sys.version_info.major}.{sys.version_info.minor}":
        return pip
    other = shutil.which(f"python{minor}")
    if other is None or not _works(other, minor):
        raise ConfigurationError(
            f"pip cannot resolve for Python {minor}: there is no python{minor} here",
            why="pip judges environment markers by the Python that it runs on",
            fix="install uv (pip install uv), which needs no such Python, or install that Python",
        )
    return [*pip, "--python", other]


def _works(python: str, minor: str) -> bool:
    """Whether the program is that Python: version switchers leave shims that are not."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.returncode == 0 and done.stdout.strip() == minor


def _pin(one: _Install, *, hashes: bool) -> Pin:
    found = one.download_info.archive_info.hashes if one.download_info.archive_info else {}
    if hashes and "sha256" not in found:
        what = f"the package index gives no sha256 of {one.metadata.name} {one.metadata.version}"
        raise ConfigurationError(what, fix="generate without --hashes, or install uv")
    kept = (f"sha256:{found['sha256']}",) if hashes else ()
    return Pin(canonicalize_name(one.metadata.name), f"=={one.metadata.version}", hashes=kept)


def _left(one: _Install) -> Left:
    name, url, vcs = (
        canonicalize_name(one.metadata.name),
        one.download_info.url,
        one.download_info.vcs_info,
    )
    address = f"{vcs.vcs}+{url}@{vcs.commit_id}" if vcs else url
    return Left(name, f"{url} is an address, not a version", requirement=f"{name} @ {address}")


def _run(words: Sequence[str], directory: Path) -> str:
    """The output of a resolver.

    Raises:
        ConfigurationError: it fails; the message is its own.
        TimeLimitError: it does not end.
    """
    try:
        done = subprocess.run(
            words,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        what = f"{words[0]} did not resolve the versions within {_LIMIT_SECONDS:.0f} s"
        raise TimeLimitError(what, fix="check the way to the package index") from error
    if done.returncode == 0:
        return done.stdout
    raise _refusal(done.stderr or done.stdout)


def _refusal(said: str) -> ConfigurationError:
    """The error in a resolver's own words, from its first line of error on."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    lines = [line for line in lines if not line.upper().startswith(("WARNING", "[NOTICE"))]
    is_error = [line.lower().startswith(("error:", "×")) for line in lines]
    begin = is_error.index(True) if True in is_error else 0
    shown = [clipped(line) for line in lines[begin : begin + 1 + _MOST_REASONS]]
    return ConfigurationError(
        f"the versions cannot be resolved: {shown[0] if shown else 'no reason given'}",
        why=" ".join(shown[1:]),
        fix="correct the requirements, or check the way to the package index",
    )
