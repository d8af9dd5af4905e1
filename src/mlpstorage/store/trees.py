"""Finding the directories of runs below a root, whichever tool's layout it has.

Links are not followed, hidden directories are passed over, and a tree that is larger than any
results is left, with a word about it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mlpstorage.store.files import children, is_directory, is_file
from mlpstorage.store.layout import METADATA_SUFFIX, SET_SUFFIX, stamp_moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DEEPEST = 12
_MOST_DIRECTORIES = 200_000
# As DLIO (through hydra) and the tools of the first rounds name the directories of runs.
_RUN_NAME = re.compile(r"run[-_ ]?[0-9]+|[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9]{2}-[0-9]{2}-[0-9]{2}")
# What a run leaves, even if nothing else of it is left.
_TRACES = frozenset({"summary.json", "dlio.log", "per_epoch_stats.json"})


def is_run_name(name: str) -> bool:
    """Whether a directory of this name holds a run.

    >>> [is_run_name(n) for n in ("20260110_093000", "run-3", "run_12", "results")]
    [True, True, True, False]
    """
    return stamp_moment(name) is not None or _RUN_NAME.fullmatch(name) is not None


def find_run_directories(root: Path, problems: list[str]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Every directory of a run, with the names of the regular files in it, by path.

    Args:
        root: Where to begin; it may be the directory of a run itself.
        problems: Gets a text for everything that could not be looked at.
    """
    yield from _Walk(problems).below(root, 0)


class _Walk:
    """One walk; counts what it has seen."""

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._seen = 0

    def below(self, directory: Path, depth: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
        """The directory itself if it is a run's, else those below it."""
        if self._seen == _MOST_DIRECTORIES:
            self._problems.append(f"{directory}: not looked at: too many directories before it")
        self._seen += 1
        if self._seen > _MOST_DIRECTORIES:
            return
        try:
            entries = children(directory)
        except OSError as error:
            self._problems.append(f"{directory}: cannot be listed ({error.strerror})")
            return
        names = tuple(entry.name for entry in entries if is_file(entry))
        if is_run_name(directory.name) or _holds_run(names):
            if not any(name.endswith(SET_SUFFIX) for name in names):
                yield directory, names
            return
        for entry in entries:
            if not is_directory(entry):
                continue
            if depth >= _DEEPEST:
                self._problems.append(f"{directory}: not looked into: too deep below the root")
                return
            yield from self.below(directory / entry.name, depth + 1)


def _holds_run(names: tuple[str, ...]) -> bool:
    return any(name in _TRACES or name.endswith(METADATA_SUFFIX) for name in names)
