"""The action of `mlpstorage engine install`."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, UsageError
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Section
from mlpstorage.preflight import dlio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlpstorage.cli.engine.options import InstallOptions


def install(options: InstallOptions, _sources: Mapping[str, str]) -> Answer:
    """Install DLIO and what it truly needs into the running Python, for CPUs.

    Raises:
        UsageError: the engine is not one that is installed.
        ConfigurationError: this Python has no pip.
        BenchmarkError: pip failed.
    """
    if options.engine != dlio.ENGINE:
        raise UsageError(
            f"there is no engine {options.engine!r} to install",
            fix=f"{dlio.COMMAND}; the native engine is always there",
        )
    torch_is_here = importlib.util.find_spec("torch") is not None
    steps = [
        [dlio.requirements_command()],
        [] if torch_is_here else dlio.torch_commands(),
        [dlio.engine_command()],
    ]
    ran = [_first_that_works(ways, what_if=options.what_if) for ways in steps if ways]
    lines = tuple(shlex.join(command) for command in ran)
    title = "would run" if options.what_if else "installed DLIO by"
    document = {"engine": dlio.ENGINE, "installed": not options.what_if, "commands": list(lines)}
    return Answer((Section(title, lines=lines),), document)


def _first_that_works(ways: Sequence[list[str]], *, what_if: bool) -> list[str]:
    """Run commands until one succeeds; which one it was."""
    if what_if:
        return ways[-1]
    if importlib.util.find_spec("pip") is None:
        raise ConfigurationError(
            f"{sys.executable} has no pip",
            fix=f"{sys.executable} -m ensurepip; or run by hand: "
            + "; ".join(shlex.join(command) for command in ways),
        )
    for command in ways:
        # What pip says goes to standard error: standard output is for the result.
        done = subprocess.run(command, stdout=sys.stderr.fileno(), check=False)
        if done.returncode == 0:
            return command
    raise BenchmarkError(
        f"pip exited with code {done.returncode}: {shlex.join(ways[-1])}",
        why="its own words stand above",
        fix="correct what it names, then run the same command again",
    )
