"""The page of the documentation that lists every rule; `docs/make_rules.py` writes it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from mlpstorage.core.rules import EDITIONS, Phase
from mlpstorage.kinds.rulebook import rulebook

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.kinds.rulebook import Entry

_WHEN = {
    Phase.PLAN: "before a run",
    Phase.RESULT: "after a run",
    Phase.SET: "of a set of runs",
    Phase.TREE: "of a submission",
}
_INTRODUCTION = f"""\
# Rules

Written by `docs/make_rules.py` from the rules' own texts; a test keeps it true.

A rule is one function. Every finding of a rule is CLOSED (a remark), OPEN or INVALID, and says
which parameter it is about, what was expected, what is there, and what mends it. The verdict of a
run, a set or a submission is the worst of its findings. The same functions judge before a run and
after it, so nothing is refused after hours that was known in the first second.

```sh
mlpstorage rules list
mlpstorage rules list --kind training --edition 1.0
mlpstorage rules explain 2.1.17
```

Numbers are those of the MLPerf Storage rules where they have one (v3.0 numbering, as far as it is
known); letters are this program's own: `T` training, `C` checkpointing, `V` vector search, `K` KV
cache, `S` submissions. Where the published texts contradict each other, the choice stands in the
rule. Rules belong to editions ({", ".join(EDITIONS)}): results of an earlier round are judged by
that round's rules.

Not a function here: 3.3.3 and 3.3.4 (a single host is a run on one host), 3.3.5 (that hosts share
the data is made sure of before a run), 3.4.1, 4.4.1 and 5.4.1 (a run without its paths is refused),
4.7.2 (the total duration is a figure), 2.1.27 (the diagram is a PDF for people), 5.5.1 and 6.4.3
(object storage, which is not measured yet).
"""


def rule_page() -> str:
    """The whole page as Markdown."""
    return "\n".join((_INTRODUCTION, *_groups())).rstrip() + "\n"


def _groups() -> Iterator[str]:
    for group, entries in groupby(rulebook(), key=lambda entry: entry.group):
        yield f"## {group}\n"
        for entry in entries:
            yield _entry(entry)


def _entry(entry: Entry) -> str:
    rule = entry.rule
    facts = f"Judged {_WHEN[rule.phase]} · {entry.division} · editions: {entry.editions}"
    return f"### {rule.id} {rule.title}\n\n{facts}\n\n{entry.text}\n"
