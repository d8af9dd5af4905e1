"""The action of `mlpstorage completion`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.cli.completion.shells import SHELLS
from mlpstorage.cli.surroundings import deliver
from mlpstorage.core.errors import EXIT_OK, UsageError, did_you_mean
from mlpstorage.report.show import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.completion.options import CompletionOptions


def completion(options: CompletionOptions, _sources: Mapping[str, str]) -> int:
    """Print the script that a shell reads; it is text, and starts no program at a TAB.

    Raises:
        UsageError: no shell is named, or one that is not known.
    """
    if not options.shell:
        raise _unnamed()
    shell = SHELLS.get(options.shell)
    if shell is None:
        raise UsageError(
            f"no completion for the shell {options.shell!r}",
            fix=did_you_mean(options.shell, SHELLS),
        )
    deliver(partial(say, shell.script()))
    return EXIT_OK


def _unnamed() -> UsageError:
    """The error that shows how the user's own shell is served, if it is known."""
    yours = SHELLS.get(Path(os.environ.get("SHELL", "")).name)
    if yours is None:
        return UsageError(
            "SHELL is missing", fix=f"name one of {', '.join(SHELLS)}: mlpstorage completion bash"
        )
    more = "".join(f"; and in your start-up file: {line}" for line in yours.setup)
    return UsageError(
        "SHELL is missing",
        why=f"it is one of {', '.join(SHELLS)}; yours is {yours.name} ($SHELL)",
        fix=f"{yours.install}{more}",
    )
