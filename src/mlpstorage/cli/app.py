"""One run of the command line: words in, exit code out."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

from mlpstorage import __version__
from mlpstorage.cli.binding import load
from mlpstorage.cli.groups import GROUPS, group_named, verb_named, with_help_flag, with_verb
from mlpstorage.cli.help import help_asked
from mlpstorage.cli.surroundings import deliver, secure_streams, signals_end_in_order
from mlpstorage.core.errors import EXIT_OK, UsageError, did_you_mean
from mlpstorage.report.show import say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.commands import CommandGroup, Verb


def run(argv: Sequence[str]) -> int:
    """Run the command that the words name; its exit code.

    Raises:
        MlpstorageError: whatever the command refuses or fails with.
        KeyboardInterrupt: the user, or a signal, ended it.
    """
    secure_streams()
    argv = with_verb(with_help_flag(argv))
    text = help_asked(argv)
    if text is not None or list(argv) == ["--version"]:
        deliver(partial(say, text if text is not None else f"mlpstorage {__version__}"))
        return EXIT_OK
    group, verb = _named(argv)
    with signals_end_in_order():
        return _call(group, verb, argv)


def _named(argv: Sequence[str]) -> tuple[CommandGroup, Verb]:
    """The command that the first two words name.

    Raises:
        UsageError: they name none.
    """
    _refuse_flag(argv[0])
    group = group_named(argv[0])
    if group is None:
        fix = did_you_mean(argv[0], [group.name for group in GROUPS])
        raise UsageError(f"unknown command {argv[0]!r}", fix=fix)
    _refuse_flag(argv[1])
    verb = verb_named(group, argv[1])
    if verb is None:
        fix = did_you_mean(argv[1], [verb.name for verb in group.verbs])
        raise UsageError(f"unknown command '{group.name} {argv[1]}'", fix=fix)
    return group, verb


def _refuse_flag(word: str) -> None:
    if word.startswith("-"):
        raise UsageError(
            f"{word!r} stands before the command",
            fix="write: mlpstorage COMMAND SUBCOMMAND [options]; mlpstorage --help lists them",
        )


def _call(group: CommandGroup, verb: Verb, argv: Sequence[str]) -> int:
    from cyclopts import App, CycloptsError

    from mlpstorage.cli.binding import command_of
    from mlpstorage.cli.layers import fill
    from mlpstorage.cli.usage import refuse_foreign_flags, usage_error

    refuse_foreign_flags(argv[2:], group, verb)
    act = partial(_perform, verb, tuple(argv))
    app = App(
        name="mlpstorage",
        help_flags=(),
        version_flags=(),
        config=fill,
        suppress_keyboard_interrupt=False,
    )
    app.default(command_of(load(verb.options), act))
    try:
        code = app(argv[2:], exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise usage_error(error, group, verb) from error
    return int(code)


def _perform(verb: Verb, argv: tuple[str, ...], options: Any) -> int:  # noqa: ANN401 (a dataclass)
    from mlpstorage.cli.layers import SOURCES
    from mlpstorage.cli.perform import perform

    values = dataclasses.asdict(options)
    return perform(load(verb.action), options, values, SOURCES.get(), argv)
