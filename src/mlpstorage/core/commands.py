"""Commands as data: help, completion and dispatch read these without importing what they do."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One command; both references are `module:attribute`, imported when it is called.

    `options` is a frozen dataclass of `core.options.opt` fields. `action` is called with its
    instance and the sources of its values; it returns an `Answer`, measurements, or an exit code.
    """

    name: str
    summary: str
    options: str
    action: str


@dataclass(frozen=True)
class CommandGroup:
    """The commands of one benchmark kind or utility."""

    name: str
    summary: str
    verbs: tuple[Verb, ...]


def command_group(name: str, summary: str, home: str, **verbs: str) -> CommandGroup:
    """A group whose options and actions follow the naming rule.

    For a verb `run` in package `home`: options `home.options:RunOptions`, action
    `home.commands:run`. A trailing underscore, needed for names that Python reserves, is dropped.
    """
    return CommandGroup(
        name,
        summary,
        tuple(
            Verb(
                verb.rstrip("_"),
                text,
                f"{home}.options:{verb.rstrip('_').capitalize()}Options",
                f"{home}.commands:{verb}",
            )
            for verb, text in verbs.items()
        ),
    )
