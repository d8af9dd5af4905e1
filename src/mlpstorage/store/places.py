"""What the place of a run in a tree says: division, organisation, system, benchmark, workload.

v1.0  <division>/<organisation>/results/<system>/<model>_<accelerator>/run-<n>/
v2.0  <division>/<organisation>/results/<system>/<benchmark>/<model>[/<command>]/<stamp>/
v3.0  the same, and vector_database/<engine>/<index>/<command>/, kv_cache/<command>/
ours  <benchmark>/…/<stamp>/, in any of these or by itself
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

BENCHMARKS = ("training", "checkpointing", "vector_database", "kv_cache")
COMMANDS = frozenset({"run", "datagen", "datasize"})
DIVISIONS = frozenset({"closed", "open"})
# Marks of the third round at the root of a tree.
_THIRD = ("mlperf-results.yaml", "code-images", ".mlps")


@dataclass(frozen=True)
class Place:
    """What the directories above a run say; empty where they say nothing.

    `division` is CLOSED or OPEN; `round` the round whose layout the tree has; `rest` what is
    between the benchmark and the run, such as engine and index.
    """

    division: str = ""
    organisation: str = ""
    system: str = ""
    kind: str = ""
    model: str = ""
    command: str = ""
    round: str = ""
    rest: tuple[str, ...] = ()


def place_of(root: Path, directory: Path) -> Place:
    """The place of a run's directory in the tree of a root.

    The names above the root count too: the root may be one submitter's part of a tree.
    """
    above = directory.parent.parts
    start = max(
        (n for n, name in enumerate(above) if name.lower() in DIVISIONS and _leads(above, n)),
        default=None,
    )
    if start is None:
        return _within(above[_first_of(root, above) :], Place())
    division, organisation, _, system = above[start : start + 4]
    known = Place(division.upper(), organisation, system)
    top = Path(*above[:start])
    return _within(above[start + 4 :], known, _round_of(top))


def _first_of(root: Path, above: tuple[str, ...]) -> int:
    """Where the names that count begin: within the root, and its own name."""
    return max(0, min(len(root.parts) - 1, len(above)))


def _leads(above: tuple[str, ...], start: int) -> bool:
    return above[start + 2 : start + 3] == ("results",) and len(above) > start + 3


@lru_cache(maxsize=64)
def _round_of(top: Path) -> str:
    return "v3.0" if any((top / name).exists() for name in _THIRD) else "v2.0"


def _within(names: tuple[str, ...], known: Place, tree_round: str = "") -> Place:
    """The place with what is said by the names below the system, or below the results' root."""
    at = next((n for n, name in enumerate(names) if name in BENCHMARKS), None)
    if at is None:
        # The first round: <model>_<accelerator>, whose parts the run's own files tell better.
        return _with(known, "", names[-1] if known.system and names else "", "", known.system)
    kind, rest = names[at], names[at + 1 :]
    command = rest[-1] if rest and rest[-1] in COMMANDS else ""
    middle = rest[:-1] if command else rest
    named = kind in {"training", "checkpointing"} and middle
    return Place(
        known.division,
        known.organisation,
        known.system,
        kind,
        middle[0] if named else "",
        command or ("run" if kind == "checkpointing" else ""),
        tree_round,
        middle,
    )


def _with(known: Place, kind: str, workload: str, command: str, system: str) -> Place:
    return Place(
        known.division,
        known.organisation,
        system,
        kind,
        workload,
        command,
        "v1.0" if known.system and workload else "",
        (workload,) if workload else (),
    )
