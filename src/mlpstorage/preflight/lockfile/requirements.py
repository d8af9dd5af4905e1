"""Requirements files as pip reads them: the format is pip's, there is no standard.

https://pip.pypa.io/en/stable/reference/requirements-file-format/
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from mlpstorage.preflight.lockfile.model import Left, Lock, Pin
from mlpstorage.preflight.lockfile.record import parse_record
from mlpstorage.preflight.lockfile.text import fault, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_COMMENT = re.compile(r"(?:^|\s)#.*$")
_OPTIONS_BEGIN = re.compile(r"\s--?[A-Za-z]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|\S*/)|file:")
_ARCHIVES = (".whl", ".tar.gz", ".tar.bz2", ".tar.xz", ".zip", ".tgz")
_HASH = re.compile(r"sha(?:256:[0-9a-fA-F]{64}|384:[0-9a-fA-F]{96}|512:[0-9a-fA-F]{128})")
_INCLUDES = {"-r": False, "--requirement": False, "-c": True, "--constraint": True}
_EDITABLE = frozenset({"-e", "--editable"})
# Where packages come from does not matter to a comparison.
_IGNORED = frozenset({
    "-i", "--index-url", "--pypi-url", "--extra-index-url", "--no-index", "-f", "--find-links",
    "--no-binary", "--only-binary", "--prefer-binary", "--require-hashes", "--pre",
    "--trusted-host", "--use-feature", "--all-releases", "--only-final", "--uploaded-prior-to",
})  # fmt: skip
_IGNORED_OF_ENTRY = frozenset({
    "--config-setting", "--config-settings", "--global-option", "--no-binary", "--only-binary",
})  # fmt: skip
_MOST_DEPTH = 32


def parse_requirements(path: Path, text: str) -> Lock:
    """The lock in a requirements file and in those that it includes.

    Raises:
        ConfigurationError: a line cannot be understood, or files include each other.
        NotFoundError: an included file is missing.
    """
    record = parse_record(path, text)
    reading = _Reading()
    reading.file(path, text, (), optional=False)
    return Lock(
        path,
        "requirements",
        tuple(reading.pins),
        tuple(reading.left),
        environment=record.environment if record else None,
        local=record.local if record else (),
        no_deps=record.no_deps if record else False,
        includes=tuple(reading.includes),
    )


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    r"""Lines without comments, continued ones joined, with the number of their first line.

    >>> list(logical_lines("a==1 \\\n  --hash=x  # why\n# b\nc"))
    [(1, 'a==1   --hash=x'), (4, 'c')]
    """
    first, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        first = first if parts else number
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            parts.append(line.rstrip("\\"))
            continue
        parts.append(f" {line}" if is_comment else line)
        joined = _COMMENT.sub("", "".join(parts)).strip()
        parts = []
        if joined:
            yield first, joined
    if rest := "".join(parts).strip():
        yield first, rest


@dataclass
class _Reading:
    """What has been read so far, over all files."""

    pins: list[Pin] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    includes: list[Path] = field(default_factory=list)

    def file(self, path: Path, text: str, above: tuple[Path, ...], *, optional: bool) -> None:
        """Add a file's entries; `above` are the files that include it."""
        for number, line in logical_lines(text):
            if line.startswith("-"):
                self._option(path, number, line, above, optional=optional)
            else:
                self._entry(path, number, line, optional=optional)

    def _option(
        self, path: Path, number: int, line: str, above: tuple[Path, ...], *, optional: bool
    ) -> None:
        name, value = _option_of(path, number, line)
        where = f"{path}:{number}"
        if name in _EDITABLE:
            self.left.append(Left("", f"{value} is an editable install, not a version", where))
        elif name in _INCLUDES and re.match(r"[A-Za-z]+://", value):
            self.left.append(Left("", f"{value} is on another machine", where))
        elif name in _INCLUDES:
            self._include(path, number, value, above, optional=optional or _INCLUDES[name])
        elif name not in _IGNORED:
            raise fault(path, number, f"unknown option {name}", fix="correct or remove the line")

    def _include(
        self, path: Path, number: int, value: str, above: tuple[Path, ...], *, optional: bool
    ) -> None:
        if not value:
            raise fault(path, number, "no file is named", fix="write: -r FILE")
        target = path.parent / value
        chain = (*above, path.absolute())
        if target.absolute() in chain or target.resolve() in {p.resolve() for p in chain}:
            raise fault(path, number, f"{value} includes itself", fix="remove the line")
        if len(chain) > _MOST_DEPTH:
            raise fault(path, number, "too many files within files", fix="join some of them")
        self.includes.append(target)
        text = read_text(target, named_in=f"{path}:{number}")
        self.file(target, text, chain, optional=optional)

    def _entry(self, path: Path, number: int, line: str, *, optional: bool) -> None:
        begin = _OPTIONS_BEGIN.search(line)
        text = (line[: begin.start()] if begin else line).strip()
        where = f"{path}:{number}"
        if reason := _why_not_comparable(text):
            self.left.append(Left("", reason, where))
            return
        hashes = _hashes(path, number, line[begin.start() :] if begin else "")
        try:
            wanted = Requirement(text)
        except (InvalidRequirement, RecursionError) as error:
            fix = f"correct {where}, or make the lockfile again: mlpstorage lockfile generate"
            raise fault(path, number, f"not a requirement: {text!r}", fix=fix) from error
        name = canonicalize_name(wanted.name)
        if wanted.url:
            reason = f"{wanted.url} is an address, not a version"
            self.left.append(Left(name, reason, where, str(wanted)))
            return
        marker = str(wanted.marker) if wanted.marker else ""
        pin = Pin(name, str(wanted.specifier), marker, hashes, where, optional)
        self.pins.append(pin)


def _option_of(path: Path, number: int, line: str) -> tuple[str, str]:
    """The option's name and value: `-r x`, `-rx`, `--requirement x` and `--requirement=x`."""
    if line.startswith("--"):
        name, value, *_ = (*re.split(r"[=\s]", line, maxsplit=1), "")
    else:
        name, value = line[:2], line[2:].removeprefix("=")
    return name, " ".join(_split(path, number, value))


def _split(path: Path, number: int, text: str) -> Sequence[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise fault(path, number, f"{error}: {text!r}", fix="close the quotation") from error


def _hashes(path: Path, number: int, options: str) -> tuple[str, ...]:
    """The hashes among an entry's options."""
    words = iter(_split(path, number, options))
    found = []
    for word in words:
        name, equals, value = word.partition("=")
        value = value if equals else next(words, "")
        if name not in {"--hash", *_IGNORED_OF_ENTRY}:
            raise fault(path, number, f"unknown option {name}", fix="correct or remove it")
        if name == "--hash":
            if not _HASH.fullmatch(value):
                raise fault(path, number, f"not a hash: {value!r}", fix="write sha256:<64 digits>")
            found.append(value)
    return tuple(found)


def _why_not_comparable(text: str) -> str:
    """Why an entry has no name and version, or nothing when it has.

    >>> _why_not_comparable("numpy==2.0; sys_platform == 'linux'"), _why_not_comparable("./dir")
    ('', './dir is a path, not a version')
    """
    head = re.split(r"[;@\s]", text, maxsplit=1)[0]
    if _URL.match(text):
        return f"{text} is an address, not a version"
    if "/" in head or head.startswith((".", "~")) or head.lower().endswith(_ARCHIVES):
        return f"{text} is a path, not a version"
    return ""
