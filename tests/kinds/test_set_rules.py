from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlpstorage.core.rules import Phase, judge
from mlpstorage.kinds.reporting import Member, RunFacts, SetSubject, reporters
from mlpstorage.kinds.run_details import HostRecord
from mlpstorage.report.model import Metric, Role
from mlpstorage.store.places import Place
from mlpstorage.store.runs import StoredRun
from results_made import host

START = datetime(2026, 1, 10, 9, 30, tzinfo=timezone.utc)
RULES = {one.kind: one.set_rules for one in reporters()}


def run(number: int, kind: str, **facts: Any) -> StoredRun:  # noqa: ANN401 (any field)
    """A run of ten minutes, two minutes after the one before it."""
    start = START + timedelta(minutes=12 * number)
    found = StoredRun(
        origin="mlpstorage",
        directory=Path(f"/results/{number}"),
        place=Place(kind=kind),
        kind=kind,
        command="run",
        model="m",
        run_id=f"run{number}",
        status="complete",
        start=start,
        end=start + timedelta(minutes=10),
        ranks=4,
        seed=number,
    )
    return replace(found, **facts)


def subject(
    kind: str, count: int, *, warm_up: bool = False, edition: str = "3.0", **figures: Any  # noqa: ANN401 (any figure)
) -> SetSubject:  # fmt: skip
    """A set of like runs."""
    values = {
        "train_throughput_samples_per_second": 100.0,
        "queries_per_second": 50.0,
        "recall": 0.97,
        "query_p99_ms": 8.0,
    }
    facts = RunFacts(
        metrics=tuple(Metric(name, name, value, "") for name, value in values.items()),
        hosts=2,
        setup="one",
        writes=10,
        reads=10,
        figures=figures,
    )
    members = tuple(
        Member(run(number, kind), Role.WARM_UP if warm_up and not number else Role.MEASURED, facts)
        for number in range(count)
    )
    return SetSubject(members, tuple(m for m in members if m.role is Role.MEASURED), edition)


def changed(of: SetSubject, number: int, run: dict[str, Any], **facts: Any) -> SetSubject:  # noqa: ANN401 (any field)
    """The set with one member otherwise."""
    old = of.members[number]
    new = Member(replace(old.run, **run), old.role, replace(old.facts, **facts))
    members = tuple(new if n == number else m for n, m in enumerate(of.members))
    return replace(
        of,
        members=members,
        measured=tuple(m for m in members if m.role is Role.MEASURED),
    )


def found(of: SetSubject, kind: str) -> list[str]:
    """The numbers of the rules that find something."""
    return [issue.rule for issue in judge(RULES[kind], of, phase=Phase.SET, edition=of.edition)]


def node(**changes: Any) -> HostRecord:  # noqa: ANN401 (any field)
    """A client host."""
    record = {**host(), **changes}
    return msgspec.convert(record, HostRecord)


ALIKE = (node(), node(hostname="node02"))
UNLIKE = (node(), node(memory={"total": 8 << 30}))
TRAINING = subject("training", 6, warm_up=True, nodes=ALIKE)
CHECKPOINT = subject("checkpointing", 1)
PAIR = changed(
    changed(subject("checkpointing", 2), 0, {}, reads=0),
    1,
    {"start": START + timedelta(minutes=10, seconds=20)},
    writes=0,
)
VECTORS = subject(
    "vector_database",
    5,
    dimension=768,
    asked_dimension=768,
    index="DISKANN",
    vectors=1000,
    asked_vectors=1000,
    inserted=1000,
    built=True,
)
CACHE = subject("kv_cache", 1, option="1", trials=3, ranks=4, autoscaling=False)


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        ("training", TRAINING),
        ("training", subject("training", 5, edition="1.0", nodes=ALIKE)),
        ("checkpointing", CHECKPOINT),
        ("checkpointing", PAIR),
        ("vector_database", VECTORS),
        ("kv_cache", CACHE),
        ("kv_cache", subject("kv_cache", 1, option="")),
    ],
)
def test_sets_as_they_should_be(kind: str, good: SetSubject) -> None:
    """A set as the rules ask for it has no findings."""
    assert found(good, kind) == []


def slow(number: int, of: SetSubject = TRAINING) -> SetSubject:
    """One run slower than the others by a quarter."""
    return changed(
        of, number, {},
        metrics=(Metric("train_throughput_samples_per_second", "throughput", 75.0, "samples/s"),),
    )  # fmt: skip


LATE = {"start": START + timedelta(hours=3), "end": START + timedelta(hours=3, minutes=10)}
BAD = [
    ("training", "2.1.17", subject("training", 5)),
    ("training", "2.1.17", subject("training", 7, warm_up=True)),
    ("training", "2.1.17", subject("training", 5, warm_up=True)),
    ("training", "2.1.17", subject("training", 6, warm_up=True, edition="1.0")),
    ("training", "2.1.18", changed(TRAINING, 5, LATE)),
    ("training", "2.1.18", changed(TRAINING, 5, {"start": START, "end": START})),
    ("training", "2.1.9", changed(TRAINING, 3, {}, setup="another")),
    ("training", "2.1.9", changed(TRAINING, 3, {}, hosts=1)),
    ("training", "3.3.6", changed(TRAINING, 3, {}, hosts=3)),
    ("training", "3.3.7", changed(TRAINING, 3, {}, figures={"nodes": UNLIKE})),
    ("training", "T.5", changed(TRAINING, 3, {"seed": 1})),
    ("training", "T.6", slow(2)),
    ("checkpointing", "2.1.23", subject("checkpointing", 3)),
    ("checkpointing", "4.7.1", changed(PAIR, 1, LATE)),
    ("checkpointing", "C.5", changed(CHECKPOINT, 0, {}, reads=0)),
    ("checkpointing", "2.1.9", changed(PAIR, 1, {"ranks": 8})),
    ("vector_database", "5.3.1", subject("vector_database", 4, built=True)),
    ("vector_database", "5.1.2", changed(VECTORS, 1, {}, setup="another")),
    ("vector_database", "5.1.2", changed(VECTORS, 1, {}, figures={"dimension": 3, "built": True})),
    ("vector_database", "5.2.1",
     changed(VECTORS, 1, {}, figures={**VECTORS.members[0].facts.figures, "inserted": 999})),
    ("vector_database", "5.2.2",
     changed(VECTORS, 1, {}, figures={**VECTORS.members[0].facts.figures, "built": False})),
    ("vector_database", "5.3.4", changed(VECTORS, 1, {}, metrics=())),
    ("kv_cache", "6.3.2.1", changed(CACHE, 0, {}, figures={
        "option": "1", "trials": 3, "ranks": 4, "autoscaling": True})),
    ("kv_cache", "6.3.3.1", changed(CACHE, 0, {}, hosts=3)),
    ("kv_cache", "6.3.4.1", changed(CACHE, 0, {}, figures={"option": "1", "trials": 2,
                                                            "ranks": 4})),
    ("kv_cache", "6.3.4.1", changed(CACHE, 0, {}, figures={"option": "1", "trials": 3,
                                                            "ranks": 3})),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "rule", "bad"), BAD, ids=[f"{k}-{r}" for k, r, _ in BAD])
def test_what_breaks_a_rule(kind: str, rule: str, bad: SetSubject) -> None:
    """Each rule of sets finds what breaks it."""
    assert rule in found(bad, kind)


def test_every_rule_of_sets_is_tried() -> None:
    """The cases above break every rule that there is."""
    tried = {(kind, rule) for kind, rule, _ in BAD}
    assert {(kind, rule.id) for kind, rules in RULES.items() for rule in rules} == tried


def test_a_failed_run_between_others() -> None:
    """A run that failed fills the pause between its neighbours; at the end it is no part of it."""
    failed = changed(TRAINING, 3, {"status": "failed"})
    middle = replace(failed, measured=tuple(m for m in failed.measured if m.run.run_id != "run3"))
    assert found(middle, "training") == ["2.1.17"]
    late = changed(TRAINING, 5, {**LATE, "status": "failed"})
    last = replace(late, measured=tuple(m for m in late.measured if m.run.run_id != "run5"))
    assert found(last, "training") == ["2.1.17"]
