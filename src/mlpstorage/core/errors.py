"""Every way the program can refuse or fail.

    MlpstorageError            what, why, fix and an exit code
    ├── UsageError             2   the command line is wrong
    ├── NotFoundError          3   a file, directory or run is missing
    ├── AccessError            4   the operating system denies access
    ├── ConfigurationError     5   a file, a value or the environment is wrong
    ├── BenchmarkError         6   the run began and failed
    ├── TimeLimitError         7   a time limit ended the run
    └── InterruptedRunError  130   the user ended the run

Findings of rules and of preflight are values, not exceptions: see `mlpstorage.core.rules`.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EXIT_OK = 0
EXIT_INVALID = 1


class MlpstorageError(Exception):
    """What happened, why it matters, and what mends it.

    Args:
        what: One line that names the thing and the problem.
        why: Why it matters here; may be empty.
        fix: What the user does about it; may be empty.
    """

    exit_code = 6

    def __init__(self, what: str, *, why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix

    def __str__(self) -> str:
        """The three lines a user reads, without a trailing newline.

        >>> print(NotFoundError("no manifest in /data", fix="generate the data set first"))
        error: no manifest in /data
          fix: generate the data set first
        """
        lines = [f"error: {self.what}"]
        lines += [f"  why: {self.why}"] if self.why else []
        lines += [f"  fix: {self.fix}"] if self.fix else []
        return "\n".join(lines)


class UsageError(MlpstorageError):
    """The command line is wrong."""

    exit_code = 2


class NotFoundError(MlpstorageError):
    """A file, directory or run is missing."""

    exit_code = 3


class AccessError(MlpstorageError):
    """The operating system denies access."""

    exit_code = 4


class ConfigurationError(MlpstorageError):
    """A file, a value or the environment is wrong."""

    exit_code = 5


class BenchmarkError(MlpstorageError):
    """The run began and failed."""

    exit_code = 6


class TimeLimitError(MlpstorageError):
    """A time limit ended the run."""

    exit_code = 7


class InterruptedRunError(MlpstorageError):
    """The user ended the run."""

    exit_code = 130


def did_you_mean(wrong: str, right: Iterable[str]) -> str:
    """The hint that names the nearest right word, or all of them when few or none is near.

    >>> did_you_mean("unet3", ["unet3d", "resnet50"])
    'did you mean unet3d?'
    >>> did_you_mean("x", ["unet3d", "resnet50"])
    'use one of: unet3d, resnet50'
    """
    candidates = list(right)
    near = difflib.get_close_matches(wrong, candidates, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]}?"
    return f"use one of: {', '.join(candidates)}"
