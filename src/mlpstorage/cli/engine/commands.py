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


_CORRECT = "correct what it names, then run the same command again"


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
    steps = [(dlio.requirements_command(), _CORRECT)]
    if importlib.util.find_spec("torch") is None:
        steps.append((dlio.torch_command(), dlio.TORCH_ADVICE))
    steps.append((dlio.engine_command(), _CORRECT))
    if not options.what_if:
        _require_pip([command for command, _ in steps])
        for command, advice in steps:
            _run(command, advice)
    lines = tuple(shlex.join(command) for command, _ in steps)
    title = "would run" if options.what_if else "installed DLIO by"
    document = {"engine": dlio.ENGINE, "installed": not options.what_if, "commands": list(lines)}
    return Answer((Section(title, lines=lines),), document)


def _require_pip(commands: Sequence[list[str]]) -> None:
    if importlib.util.find_spec("pip") is None:
        raise ConfigurationError(
            f"{sys.executable} has no pip",
            fix=f"{sys.executable} -m ensurepip; or run by hand: "
            + "; ".join(shlex.join(command) for command in commands),
        )


def _run(command: list[str], advice: str) -> None:
    # What pip says goes to standard error: standard output is for the result.
    done = subprocess.run(command, stdout=sys.stderr.fileno(), check=False)
    if done.returncode:
        raise BenchmarkError(
            f"pip exited with code {done.returncode}: {shlex.join(command)}",
            why="its own words stand above",
            fix=advice,
        )
