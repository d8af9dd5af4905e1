"""Making lockfiles: of the running environment, or of what a project declares."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.preflight.lockfile.hosts import facts_here
from mlpstorage.preflight.lockfile.project import read_project
from mlpstorage.preflight.lockfile.record import Record
from mlpstorage.preflight.lockfile.resolve import Question, resolve
from mlpstorage.preflight.lockfile.running import running_environment
from mlpstorage.preflight.lockfile.write import lock_text, write_lock

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.preflight.lockfile.model import Pin
    from mlpstorage.preflight.lockfile.project import Declared
    from mlpstorage.preflight.lockfile.resolve import Solution

_PYTHON_VERSION = re.compile(r"3\.\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Made:
    """One lockfile as written; `notes` are for people, `kept` is the file that was in the way."""

    path: Path
    record: Record
    pins: tuple[Pin, ...]
    notes: tuple[str, ...]
    kept: Path | None

    @property
    def install_words(self) -> tuple[str, ...]:
        """What follows `pip install` or `uv pip install`."""
        hashed = bool(self.pins) and all(pin.hashes for pin in self.pins)
        flags = ["--require-hashes"] if hashed else []
        flags += ["--no-deps"] if self.record.no_deps else []
        return (*flags, "-r", str(self.path))


def generate_running(output: Path, *, hashes: bool) -> Made:
    """Pin what is installed in the running environment.

    Raises:
        ConfigurationError: hashes are wanted and cannot be had.
        MlpstorageError: the file cannot be written.
    """
    running = running_environment()
    if not running.pins and not running.addresses:
        what = "nothing is installed here that could be pinned"
        raise ConfigurationError(what, fix="install the packages first, or name a --pyproject")
    pins, tool = running.pins, ""
    if hashes:
        _refuse_addresses(list(running.addresses))
        texts = tuple(f"{pin.name}{pin.specifier}" for pin in pins)
        found = resolve(Question(texts, deps=False, hashes=True))
        pins, tool = _with_hashes(pins, found), found.tool
    notes = [f"not pinned: {name} {version} was installed from this machine's disk"
             for name, version in running.local]  # fmt: skip
    if running.conflicts:
        notes.append("pip must not resolve dependencies: install with --no-deps, because")
        notes += running.conflicts
    record = Record(
        facts_here().environment,
        "the running environment",
        tool,
        running.local,
        no_deps=bool(running.conflicts),
    )
    return _write(output, record, pins, running.addresses, notes)


def generate_declared(
    output: Path,
    pyproject: Path,
    *,
    extras: tuple[str, ...] = (),
    hashes: bool = False,
    python_version: str = "",
    everything: bool = False,
) -> list[Made]:
    """Pin what a project declares; with `everything` also all its extras, in a second file.

    Raises:
        NotFoundError: there is no pyproject.toml.
        UsageError: an extra or the Python version does not exist.
        ConfigurationError: the requirements cannot be resolved.
        MlpstorageError: a file cannot be written.
    """
    if python_version and not _PYTHON_VERSION.fullmatch(python_version):
        what = f"{python_version!r} is not a version of Python 3"
        raise UsageError(what, fix="write --python-version 3.11")
    declared = read_project(pyproject)
    made = [_declared(output, declared, extras, hashes, python_version)]
    if everything:
        full = output.with_name(f"{output.stem}-full{output.suffix}")
        made.append(
            _declared(full, declared, tuple(sorted(declared.extras)), hashes, python_version)
        )
    return made


def _declared(
    output: Path, declared: Declared, extras: tuple[str, ...], hashes: bool, python_version: str
) -> Made:
    question = Question(
        tuple(declared.requirements(extras)),
        hashes=hashes,
        python_version=python_version,
        project=declared.path,
        extras=extras,
        is_dynamic=declared.is_dynamic,
    )
    found = resolve(question)
    for left in found.left:
        if hashes or not left.requirement:
            _refuse_addresses([left.requirement or left.reason])
    addresses = tuple(left.requirement for left in found.left)
    named = f"[{','.join(extras)}]" if extras else ""
    environment = facts_here().environment
    if python_version:
        environment = dataclasses.replace(environment, python=python_version)
    record = Record(environment, f"{declared.path.name} of {declared.name}{named}", found.tool)
    return _write(output, record, found.pins, addresses, [])


def _refuse_addresses(addresses: list[str]) -> None:
    if addresses:
        raise ConfigurationError(
            f"{addresses[0]} has no version in a package index",
            why="neither a hash nor a comparison is possible for a moving address",
            fix="take a released version, or pin the running environment without --hashes",
        )


def _with_hashes(pins: tuple[Pin, ...], found: Solution) -> tuple[Pin, ...]:
    """The pins, each with the hashes of the same name.

    Raises:
        ConfigurationError: the resolver left one out.
    """
    hashes = {pin.name: pin.hashes for pin in found.pins}
    for pin in pins:
        if not hashes.get(pin.name):
            what = f"{found.tool} gives no hash of {pin.name} {pin.locked}"
            raise ConfigurationError(what, fix="generate without --hashes")
    return tuple(dataclasses.replace(pin, hashes=hashes[pin.name]) for pin in pins)


def _write(
    output: Path,
    record: Record,
    pins: tuple[Pin, ...],
    addresses: tuple[str, ...],
    notes: list[str],
) -> Made:
    notes = [*notes, *_index_notes(pins)]
    kept = write_lock(output, lock_text(record, pins, addresses, notes))
    return Made(output, record, pins, tuple(notes), kept)


def _index_notes(pins: tuple[Pin, ...]) -> list[str]:
    """Versions such as 2.9.0+cpu are not in the public index."""
    return [
        f"{pin.name} {pin.locked} is a build of its own: its index must be named with --index-url"
        for pin in pins
        if "+" in pin.locked
    ]
