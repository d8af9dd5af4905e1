"""The benchmark kinds: what each is called and where its commands live.

Nothing heavy is imported here: help and completion read this page alone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verb:
    """One command of a kind; both references are `module:attribute`.

    `options` is a frozen dataclass of `core.options.opt` fields. `action` is called with its
    instance, the sources of its values, and a `workflow.Context`; it returns the exit code.
    """

    name: str
    summary: str
    options: str
    action: str


@dataclass(frozen=True)
class Kind:
    """A benchmark: its command and what it is for."""

    name: str
    summary: str
    verbs: tuple[Verb, ...]


def _kind(name: str, summary: str, **verbs: str) -> Kind:
    home = f"mlpstorage.kinds.{name}"
    return Kind(
        name,
        summary,
        tuple(
            Verb(
                verb,
                text,
                f"{home}.options:{verb.capitalize()}Options",
                f"{home}.commands:{verb}",
            )
            for verb, text in verbs.items()
        ),
    )


KINDS = (
    _kind(
        "training",
        "Training data loading: how many emulated accelerators can storage feed?",
        datasize="Work out the least valid data set, and the commands to use next.",
        datagen="Generate a data set, or go on where a killed generation stopped.",
        run="Run the benchmark on a generated data set.",
        configview="Show every value and where it came from.",
    ),
)
