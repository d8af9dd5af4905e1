"""The command tree, and one run of it: words in, exit code out."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError

from mlpstorage import __version__
from mlpstorage.cli.binding import command_of, load
from mlpstorage.cli.layers import SOURCES, fill
from mlpstorage.core.errors import EXIT_OK, UsageError
from mlpstorage.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.kinds import Verb

_EXIT_CODES = """\
Exit codes: 0 success, 1 finished but INVALID, 2 usage, 3 not found, 4 permission,
5 configuration or environment, 6 benchmark failed, 7 time limit, 130 interrupted."""


def run(argv: Sequence[str]) -> int:
    """Run the command that the words name; its exit code.

    Raises:
        MlpstorageError: whatever the command refuses or fails with.
    """
    try:
        code = _tree(argv)(list(argv), exit_on_error=False, print_error=False)
    except CycloptsError as error:
        raise _usage_error(error, argv) from error
    return code if isinstance(code, int) else EXIT_OK


def _tree(argv: Sequence[str]) -> App:
    """The commands; options are loaded only for the one that is called."""
    app = _app("mlpstorage", "How well does storage feed AI?", argv)
    app.help_epilogue = _EXIT_CODES
    for kind in KINDS:
        node = _app(kind.name, kind.summary, argv)
        for verb in kind.verbs:
            if list(argv[:2]) == [kind.name, verb.name]:
                options = load(verb.options)
                act = partial(_perform, verb, tuple(argv))
                node.command(command_of(options, act, verb.summary), name=verb.name)
            else:
                node.command(_app(verb.name, verb.summary, argv))
        app.command(node)
    from mlpstorage.cli import history

    app.command(history.app(_app, argv))
    return app


def _app(name: str, summary: str, argv: Sequence[str]) -> App:
    del argv
    return App(
        name=name,
        help=summary,
        version=f"mlpstorage {__version__}",
        help_format="plaintext",
        help_formatter="plain",
        config=fill,
        result_action="return_value",
    )


def _perform(verb: Verb, argv: tuple[str, ...], options: Any) -> int:  # noqa: ANN401 (a dataclass)
    from mlpstorage.cli.perform import perform

    sources = SOURCES.get()
    values = dataclasses.asdict(options)
    return perform(load(verb.action), options, values, sources, argv)


def _usage_error(error: CycloptsError, argv: Sequence[str]) -> UsageError:
    path = [word for word in argv[:2] if not word.startswith("-")]
    text = " ".join(str(error).split())
    return UsageError(text, fix=" ".join(["see: mlpstorage", *path, "--help"]))
