"""All rules of all kinds and trees, by number: for people, for the documentation, for titles."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlpstorage.core.rules import EDITIONS, Phase
from mlpstorage.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.core.rules import Rule

_MODULES = ("rules", "result_rules", "set_rules", "tree_rules", "tree_evidence_rules")
_TUPLES = ("PLAN_RULES", "RESULT_RULES", "SET_RULES", "TREE_RULES")
TREES = "trees"
_ORDER = tuple(Phase)


@dataclass(frozen=True)
class Entry:
    """A rule and whose it is: the name of a kind's commands, or "trees"."""

    group: str
    rule: Rule[Any]

    @property
    def text(self) -> str:
        """What the rule says: its function's docstring, without the number."""
        whole = inspect.getdoc(self.rule.check) or ""
        first, colon, rest = whole.partition(": ")
        numbered = colon and all(part[:1].isalnum() for part in first.split(", "))
        return (rest[:1].upper() + rest[1:]) if numbered and len(first) < len(whole) else whole

    @property
    def division(self) -> str:
        """Whom it binds, for people."""
        return " and ".join(division.name for division in self.rule.divisions)

    @property
    def editions(self) -> str:
        """Which rounds have it, for people."""
        return "all" if self.rule.editions == EDITIONS else ", ".join(self.rule.editions)


@lru_cache(maxsize=1)
def rulebook() -> tuple[Entry, ...]:
    """Every rule, by kind and phase; the commands of a kind are not imported."""
    entries = [
        entry for group in KINDS for entry in _of(group.name, f"mlpstorage.kinds.{group.name}")
    ]
    entries += _of(TREES, "mlpstorage.kinds")
    return tuple(sorted(entries, key=lambda entry: _key(entry, [g.name for g in KINDS])))


def _key(entry: Entry, groups: list[str]) -> tuple[Any, ...]:
    own = not entry.rule.id[:1].isdigit()
    number = tuple(int(p) if p.isdigit() else -1 for p in entry.rule.id.split("."))
    place = groups.index(entry.group) if entry.group in groups else len(groups)
    return (place, _ORDER.index(entry.rule.phase), own, number)


def _of(group: str, home: str) -> Iterator[Entry]:
    for name in _MODULES:
        if importlib.util.find_spec(f"{home}.{name}") is None:
            continue
        module = importlib.import_module(f"{home}.{name}")
        for attribute in _TUPLES:
            for rule in vars(module).get(attribute, ()):
                if inspect.getmodule(rule.check) is module:
                    yield Entry(group, rule)


@lru_cache(maxsize=1)
def _titles() -> dict[str, str]:
    return {entry.rule.id: entry.rule.title for entry in reversed(rulebook())}


def title_of(number: str) -> str:
    """The title of a rule; empty for a number that no rule has."""
    return _titles().get(number, "")
