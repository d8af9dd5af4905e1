"""The action of `mlpstorage completion`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from cyclopts import App

from mlpstorage.cli.binding import command_of, load
from mlpstorage.cli.groups import GROUPS
from mlpstorage.core.errors import EXIT_OK, UsageError, did_you_mean
from mlpstorage.report.show import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.completion.options import CompletionOptions

Shell = Literal["bash", "zsh", "fish"]


def completion(options: CompletionOptions, _sources: Mapping[str, str]) -> int:
    """Print the script that a shell reads; every command and flag is in it, none is run."""
    shells: dict[str, Shell] = {name: name for name in get_args(Shell)}
    if options.shell not in shells:
        raise UsageError(
            f"no completion for the shell {options.shell!r}",
            fix=did_you_mean(options.shell, shells),
        )
    say(_tree().generate_completion(shell=shells[options.shell]))
    return EXIT_OK


def _tree() -> App:
    app = App(name="mlpstorage", help_flags=["--help", "-h"], version_flags=["--version"])
    for group in GROUPS:
        node = App(name=group.name, help=group.summary)
        for verb in group.verbs:
            command = command_of(load(verb.options), lambda _: EXIT_OK)
            command.__doc__ = verb.summary
            if verb.name:
                node.command(command, name=verb.name)
            else:
                node.default(command)
        app.command(node)
    return app
