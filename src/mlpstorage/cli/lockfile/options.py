"""The options of `mlpstorage lockfile …`."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.core.options import opt

_DECLARED = "Pin what a project declares, instead of the running environment"
_PASS = "What passes"  # noqa: S105 (the title of a group of options)


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Options of `lockfile generate`."""

    output: str = opt("requirements.txt", "The file to write.", short="-o")
    hashes: bool = opt(False, "Add the hashes that --require-hashes of pip and uv check.")
    json: bool = opt(False, "Print the result as JSON.")
    pyproject: str = opt(
        "",
        "The project's pyproject.toml; the one here when another of these options is given.",
        group=_DECLARED,
    )
    extra: tuple[str, ...] = opt(
        (), "Extras of the project to include.", group=_DECLARED, many=True
    )
    all: bool = opt(
        False, "Also write a second file, NAME-full.txt, with every extra.", group=_DECLARED
    )
    python_version: str = opt(
        "", "Resolve for this Python, such as 3.12; the running one by default.", group=_DECLARED
    )


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """Options of `lockfile verify`."""

    lockfile: str = opt(
        "requirements.txt", "requirements.txt, pylock.toml or uv.lock to compare with.", short="-l"
    )
    hosts: tuple[str, ...] = opt(
        (), "Compare these hosts as well: h1,h2 or @file.", short="-s", many=True
    )
    skip: tuple[str, ...] = opt((), "Packages not to compare.", group=_PASS, many=True)
    allow_missing: bool = opt(False, "Only warn of packages that are missing.", group=_PASS)
    strict: bool = opt(False, "Refuse packages that the lockfile does not have, too.", group=_PASS)
    json: bool = opt(False, "Print the result as JSON.")
