"""The values that completion offers are those that the program takes, no more and no fewer."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.__main__ import run
from mlpstorage.cli.binding import POSITIONAL, flag_of, load
from mlpstorage.cli.choices import choices_of
from mlpstorage.cli.groups import GROUPS
from mlpstorage.cli.paths import path_kind
from mlpstorage.core.options import opt_of

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.core.commands import CommandGroup, Verb

OPTIONS: list[tuple[CommandGroup, Verb, dataclasses.Field[Any]]] = [
    (group, verb, field)
    for group in GROUPS
    for verb in group.verbs
    for field in dataclasses.fields(load(verb.options))
]
# A command that looks at all its options and starts nothing, by the benchmark.
COMMANDS = {
    "training": "training run --model unet3d -g h100 -na 1 --data-dir data --what-if",
    "checkpointing": (
        "checkpointing run --model llama3-8b -np 8 --checkpoint-folder data --what-if"
    ),
    "vectordb": "vectordb run --what-if",
    "kvcache": "kvcache run --capacity 1GiB --what-if",
}
# Where another command looks at an option, or more is needed before one does.
OTHERS = {
    "training.dlio_start_method": f"{COMMANDS['training']} --engine dlio",
    "vectordb.vector_dtype": "vectordb datagen --what-if",
    "vectordb.vdb_engine": "vectordb datasize",
    "vectordb.index_type": "vectordb datasize",
    "kvcache.option": f"{COMMANDS['kvcache']} --mode mlperf-v3",
    "reports.kind": "reports reportgen --results-dir .",
    "reports.edition": "reports validate --tree .",
    "rules.kind": "rules list",
    "rules.phase": "rules list",
    "rules.edition": "rules list",
    "doctor.for_": "doctor",
    "doctor.engine": "doctor",
    "engine.engine": "engine install --what-if",
    "completion.shell": "completion",
}
# What an option depends on: a value counts that is taken with any of these.
WITH = {
    "training.accelerator_type": [f"--model {model}" for model in choices_of("training", "model")],
    "vectordb.index_type": [
        f"--vdb-engine {engine}" for engine in choices_of("vectordb", "vdb_engine")
    ],
    # What needs a trace, or a trace what needs.
    "kvcache.mode": ["", "--trace t.jsonl"],
}
CHOSEN = sorted(
    {
        f"{group.name}.{field.name}"
        for group, _, field in OPTIONS
        if choices_of(group.name, field.name) and field.name != "id"
    }
)


def refusals(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the program says of a value of an option, with each thing that it depends on."""
    group, _, option = name.partition(".")
    field = next(f for g, _, f in OPTIONS if (g.name, f.name) == (group, option))
    flags = {flag_of(field), opt_of(field).short}
    words = OTHERS.get(name, COMMANDS.get(group, "")).split()
    said = []
    for more in WITH.get(name, [""]):
        kept = _without({*flags, more.partition(" ")[0]} - {""}, words)
        place = opt_of(field).group == POSITIONAL
        run([*kept, *more.split(), *([value] if place else [flag_of(field), value])])
        said.append(capsys.readouterr().err)
    return said


def _without(flags: set[str], words: list[str]) -> list[str]:
    """The words without these flags and their values."""
    pairs = zip(["", *words], words, strict=False)
    return [word for before, word in pairs if word not in flags and before not in flags]


def listed(said: str) -> set[str]:
    """The values that a refusal names."""
    found = re.search(r"(?:one of: |fix: choose |fix: use |engine install )([^;\n]*)", said)
    words = set(re.findall(r"[\w.-]+", found[1])) if found else set()
    return words - {"one", "of", "or"}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_values_are_those_that_the_program_knows(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal of another value names what is offered, and nothing that is not offered."""
    monkeypatch.chdir(tmp_path)
    group, _, option = name.partition(".")
    offered = {word.lower() for word in choices_of(group, option)}
    wrong = "9" if name == "kvcache.option" else "~"
    known = {word.lower() for said in refusals(name, wrong, capsys) for word in listed(said)}
    if name == "kvcache.mode":  # says which of the others it is
        known |= {"auto"}
    if name == "vectordb.config":  # takes any scale, and is documented for those of another tool
        assert offered < known
    else:
        assert known == offered


@pytest.mark.parametrize("name", CHOSEN)
def test_every_value_is_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No value that is offered is refused as one that is not known."""
    monkeypatch.chdir(tmp_path)
    group, _, option = name.partition(".")
    values = choices_of(group, option)
    assert len(set(values)) == len(values)
    refused = re.compile(r"one of:|unknown|has no (index|figures)|is not made|there is no engine")
    for value in values:
        said = refusals(name, value, capsys)
        assert not all(refused.search(text) for text in said), said


def test_every_choice_is_of_an_option() -> None:
    """The table names no option that is not there."""
    there = {f"{group.name}.{field.name}" for group, _, field in OPTIONS}
    there |= {field.name for _, _, field in OPTIONS}
    table = load("mlpstorage.cli.choices:_CHOICES")
    assert set(table) <= there


def test_an_option_whose_default_is_a_word_has_choices() -> None:
    """Where a default is a plain word, other words are known, too; else it is a path."""
    missing = [
        f"{group.name}.{field.name}"
        for group, _, field in OPTIONS
        if isinstance(field.default, str)
        and re.fullmatch(r"[A-Za-z][\w.-]*", field.default)
        and not choices_of(group.name, field.name)
        and path_kind(field.name) is None
    ]
    assert missing == []


def test_an_option_that_speaks_of_a_path_takes_one() -> None:
    """Where the text begins with a directory or file, or names one to give, a path is completed."""
    told = re.compile(
        r"^(Directory|Root|YAML file|File|The file|The root|Your own|Trace)\b"
        r"|a file\b|\bits directory|to this file|this lockfile"
    )
    told_so = {f.name for _, _, f in OPTIONS if f.type == "str" and told.search(opt_of(f).text)}
    assert {name for name in told_so if path_kind(name) is None} == set()
    assert len(told_so) >= 15
