"""Every group of commands: the benchmark kinds, then the utilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.commands import command_group
from mlpstorage.kinds import KINDS

if TYPE_CHECKING:
    from mlpstorage.core.commands import CommandGroup, Verb

UTILITIES = (
    command_group(
        "history",
        "What was run: list it, show it, run it again.",
        "mlpstorage.cli.history",
        list="List every run, oldest first.",
        show="Show one run's record.",
        rerun="Run the same command again.",
    ),
)
GROUPS: tuple[CommandGroup, ...] = (*KINDS, *UTILITIES)


def group_named(name: str) -> CommandGroup | None:
    """The group with this name, if there is one."""
    return next((group for group in GROUPS if group.name == name), None)


def verb_named(group: CommandGroup, name: str) -> Verb | None:
    """The group's command with this name, if there is one."""
    return next((verb for verb in group.verbs if verb.name == name), None)
