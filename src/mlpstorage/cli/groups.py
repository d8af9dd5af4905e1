"""Every group of commands: the benchmark kinds, then the utilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.commands import CommandGroup, Verb, command_group
from mlpstorage.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Sequence

UTILITIES = (
    command_group(
        "history",
        "What was run: list it, show it, run it again.",
        "mlpstorage.cli.history",
        list="List every run, oldest first.",
        show="Show one run's record.",
        rerun="Run the same command again.",
    ),
    command_group(
        "reports",
        "What all results say, whether they are valid, their submission.",
        "mlpstorage.cli.reports",
        reportgen="Judge every run and set: a table, results.json, results.csv, report.html.",
        validate="Check the structure and the rules of a whole submission.",
        package="Make a submission of results: systems, code identity, checksums.",
    ),
    command_group(
        "rules",
        "Rules: list them, explain one.",
        "mlpstorage.cli.rules",
        list="List every rule by number.",
        explain="Say what a rule asks, of whom and when.",
    ),
    CommandGroup(
        "explain",
        "Say what a finding means: a rule's, a check's, a run's.",
        (
            Verb(
                "",
                "Say what a finding means: a rule's, a check's, a run's.",
                "mlpstorage.cli.explain.options:ExplainOptions",
                "mlpstorage.cli.explain.commands:explain",
            ),
        ),
    ),
    CommandGroup(
        "resume",
        "Go on with an interrupted set of runs, or data generation.",
        (
            Verb(
                "",
                "Go on with an interrupted set of runs, or data generation.",
                "mlpstorage.cli.resume.options:ResumeOptions",
                "mlpstorage.cli.resume.commands:resume",
            ),
        ),
    ),
    CommandGroup(
        "compare",
        "Compare two runs or sets: better, worse, or no difference?",
        (
            Verb(
                "",
                "Compare two runs or sets: better, worse, or no difference?",
                "mlpstorage.cli.compare.options:CompareOptions",
                "mlpstorage.cli.compare.commands:compare",
            ),
        ),
    ),
    command_group(
        "lockfile",
        "Versions: pin what is installed, and compare hosts with it.",
        "mlpstorage.cli.lockfile",
        generate="Pin the running environment, or what a project declares.",
        verify="Compare a lockfile with what is installed, here and on other hosts.",
    ),
    CommandGroup(
        "doctor",
        "Check hosts, directories, MPI and packages before a run does.",
        (
            Verb(
                "",
                "Check everything that a benchmark checks before it starts, on all hosts.",
                "mlpstorage.cli.doctor.options:DoctorOptions",
                "mlpstorage.cli.doctor.commands:doctor",
            ),
        ),
    ),
    command_group(
        "engine",
        "Engines beside the native one.",
        "mlpstorage.cli.engine",
        install="Install an engine into this Python.",
    ),
    CommandGroup(
        "completion",
        "TAB in your shell completes commands, flags, values and paths.",
        (
            Verb(
                "",
                "Print the script by which bash, zsh or fish complete what you type.",
                "mlpstorage.cli.completion.options:CompletionOptions",
                "mlpstorage.cli.completion.commands:completion",
            ),
        ),
    ),
)
GROUPS: tuple[CommandGroup, ...] = (*KINDS, *UTILITIES)
# The word that asks for help where a command would stand.
HELP = "help"


def group_named(name: str) -> CommandGroup | None:
    """The group with this name, if there is one."""
    return next((group for group in GROUPS if group.name == name), None)


def verb_named(group: CommandGroup, name: str) -> Verb | None:
    """The group's command with this name, if there is one."""
    return next((verb for verb in group.verbs if verb.name == name), None)


def with_verb(argv: Sequence[str]) -> tuple[str, ...]:
    """The words, with the empty second one of a command that has no second word put in."""
    group = group_named(argv[0]) if argv else None
    if group is not None and verb_named(group, "") is not None:
        return (argv[0], "", *argv[1:])
    return tuple(argv)


def with_help_flag(argv: Sequence[str]) -> tuple[str, ...]:
    """The words, with `help` in the place of a command turned into the flag that asks for it.

    >>> with_help_flag(["help", "training", "run"])
    ('training', 'run', '--help')
    >>> with_help_flag(["training", "help"])
    ('training', '--help')
    """
    first, second = (*argv[:2], "", "")[:2]
    if first == HELP:
        return (*argv[1:], "--help")
    group = group_named(first)
    if group is not None and second == HELP and verb_named(group, "") is None:
        return (first, *argv[2:], "--help")
    return tuple(argv)
