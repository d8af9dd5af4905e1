"""Strict YAML: what is read, what is refused, and the place that every message names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.config import (
    Document,
    assignments,
    convert,
    load_yaml,
    parse_yaml,
    scalar,
    user_path,
)
from mlpstorage.core.errors import (
    AccessError,
    ConfigurationError,
    MlpstorageError,
    NotFoundError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Part(msgspec.Struct, forbid_unknown_fields=True):
    """A section, as the kinds declare theirs."""

    count: Annotated[int, msgspec.Meta(ge=1, le=9)] = 1
    share: Annotated[float, msgspec.Meta(ge=0)] = 0.5
    way: Literal["left", "right"] = "left"
    on: bool = False


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    """A document with a section."""

    name: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$")]
    part: Part


def test_values_have_the_types_of_yaml_1_2() -> None:
    """`no` and dates are texts, `1e9` is a number, and each leaf knows its line."""
    document = parse_yaml("a: no\nb: {c: 1e9, d: 2020-01-01}\ne: [1, x]\nf: 010\ng: ~\n", "x.yaml")
    b = {"c": 1e9, "d": "2020-01-01"}
    assert document.values == {"a": "no", "b": b, "e": [1, "x"], "f": 10, "g": None}
    assert document.sources == {
        "a": "x.yaml:1", "b.c": "x.yaml:2", "b.d": "x.yaml:2", "e": "x.yaml:3", "f": "x.yaml:4",
        "g": "x.yaml:5",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: a stands twice"),
        ("a:\n  b: 1\n  b: 2\n", "x.yaml:3: a.b stands twice"),
        ("a: 1\n b: 2\n", "x.yaml:2: not valid YAML"),
        ("a: 1\n\tb: 2\n", "x.yaml:2: not valid YAML"),
        ("a: 'open\n", "not valid YAML"),
        ("? [a, b]\n: 1\n", "x.yaml:1: a key is not a name"),
        ("- a\n", "x.yaml is not a mapping"),
        ("text", "x.yaml is not a mapping"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("a: 1\n<<<<<<< HEAD\n", "x.yaml:2: a merge conflict is not resolved"),
        ("%YAML 1.1\n---\na: no\n", "x.yaml:1: the directive %YAML"),
        ("a: !!python/name:os.system x\n", "x.yaml:1: the tag"),
        ("a: !!binary aGk=\n", "x.yaml:1: the tag"),
        ("a: 1\nb: !!int x\n", "x.yaml:2: b is no number"),
        (f"a: {'9' * 5000}\n", "x.yaml:1: a is no number"),
        ("a: &x 1\nb: *x\n", "x.yaml:1: anchors"),
        ("a: &x [*x]\n", "x.yaml:1: anchors"),
        ("a: &x 1\nb: &x 2\n", "x.yaml:1: anchors"),
        ("a: " + "[" * 3000, "x.yaml is nested too deeply"),
        ("a: \0", "x.yaml is not a text file"),
        ("a: \x07", "not valid YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_by_line(text: str, says: str) -> None:
    """Duplicates, tags, anchors, directives, conflicts and binary are refused at their line."""
    with pytest.raises(ConfigurationError) as caught:
        parse_yaml(text, "x.yaml")
    assert says in caught.value.what
    assert caught.value.fix
    assert "\n" not in caught.value.what


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    """Missing, a directory, not text, and far too large are told apart."""
    with pytest.raises(NotFoundError, match="there is no file"):
        load_yaml(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        load_yaml(tmp_path)
    file = tmp_path / "x.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigurationError, match=r"x\.yaml:2: not a text file: byte 0xff"):
        load_yaml(file)
    file.write_bytes(b"a: " + b"x" * (1 << 20))
    with pytest.raises(ConfigurationError, match="larger than"):
        load_yaml(file)
    file.write_bytes(b"\xef\xbb\xbfa: 1\r\n")
    assert load_yaml(file).values == {"a": 1}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_a_matter_of_access(tmp_path: Path) -> None:
    """A file that this user may not read ends with the exit code of permissions."""
    file = tmp_path / "x.yaml"
    file.touch(mode=0)
    with pytest.raises(AccessError):
        load_yaml(file)


def refusal_of(read: Callable[[], Document]) -> MlpstorageError | None:
    """The error that reading ends with, if there is one; any other exception is a failure."""
    try:
        read()
    except MlpstorageError as error:
        return error
    return None


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever a file holds, the outcome is a document or an error of ours."""
    error = refusal_of(lambda: parse_yaml(text, "x"))
    assert error is None or (error.what and error.fix)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, b: bytes) -> None:
    """Junk on disk never escapes as an exception of a library."""
    file = tmp_path_factory.getbasetemp() / "junk.yaml"
    file.write_bytes(b)
    error = refusal_of(lambda: load_yaml(file))
    assert error is None or error.exit_code == 5


_PLAIN = st.one_of(
    st.integers(-(10**9), 10**9),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8),
)
_NAMES = st.text("abcdefgh_", min_size=1, max_size=5)


@given(st.dictionaries(_NAMES, st.one_of(_PLAIN, st.dictionaries(_NAMES, _PLAIN, min_size=1))))
def test_json_is_read_as_it_was_written(values: dict[str, object]) -> None:
    """JSON is YAML: any document comes back as it was, and every leaf has a place."""
    document = parse_yaml(msgspec.json.encode(values).decode(), "x")
    assert document.values == values
    assert {name for name, _ in document.leaves()} == set(document.sources)


@given(st.text())
def test_any_word_is_a_scalar(text: str) -> None:
    """A word of --params is a number, a truth, nothing, or the text itself."""
    found = scalar(text)
    assert found == text or found is None or isinstance(found, (int, float, bool))


def test_layers_keep_the_source_of_what_is_seen() -> None:
    """The stronger layer wins leaf by leaf, and sources of hidden leaves are forgotten."""
    low = parse_yaml("a: {b: 1, c: 2}\nd: 3\n", "low")
    high = assignments(["a.b=5", "d.e=6"], "--params")
    both = low.layered(high)
    assert both.values == {"a": {"b": 5, "c": 2}, "d": {"e": 6}}
    assert both.sources == {"a.b": "--params", "a.c": "low:1", "d.e": "--params"}
    assert low.layered(assignments(["a=1"], "--params")).sources == {
        "a": "--params",
        "d": "low:2",
    }


@pytest.mark.parametrize("word", ["", "=", "a", "=1", ".=1", "a.=1", ".a=1", "a..b=1"])
def test_a_word_that_is_no_assignment_is_refused(word: str) -> None:
    """Each assignment has a name without empty parts, and a value."""
    with pytest.raises(UsageError, match="is not a parameter"):
        assignments([word], "--params")


@pytest.mark.parametrize(
    ("text", "says", "fix"),
    [
        ("name: A\npart: {count: 0}\n", "x:2: part.count is 0", "a whole number >= 1 and <= 9"),
        ("name: A\npart: {count: x}\n", "part.count is 'x'", "a whole number"),
        ("name: A\npart: {count: ~}\n", "part.count is empty", "a whole number"),
        ("name: A\npart: {count: {a: 1}}\n", "part.count is a section", "a whole number"),
        ("name: A\npart: {share: .nan}\n", "part.share is nan", "a number >= 0"),
        ("name: A\npart: {way: up}\n", "part.way is 'up'", "one of: left, right"),
        ("name: A\npart: {on: 1}\n", "part.on is 1", "true or false"),
        ("name: A\npart: {cuont: 1}\n", "unknown parameter part.cuont", "did you mean count?"),
        ("name: A\npart: 3\n", "x:2: part is 3", "a section with count, share, way, on"),
        ("name: a b\npart: {}\n", "x:1: name is 'a b'", "a name of letters"),
        ("part: {}\n", "x: name is missing", "give name"),
    ],
)
def test_wrong_values_name_place_key_value_and_expectation(text: str, says: str, fix: str) -> None:
    """A value that does not fit is refused in the words of a person who must mend it."""
    with pytest.raises(ConfigurationError) as caught:
        convert(parse_yaml(text, "x"), Whole, "x")
    assert says in caught.value.what
    assert fix in caught.value.fix


def test_a_wrong_flag_is_a_matter_of_usage() -> None:
    """The same mistake in a flag has the exit code of usage, and names the flag."""
    base = parse_yaml("name: A\npart: {count: 1}\n", "x")
    for word in ("part.count=0", "part=3", "part.count.x=1", "part.cuont=1"):
        with pytest.raises(UsageError, match=r"^error: --params: "):
            convert(base.layered(assignments([word], "--params")), Whole, "x")


@given(st.dictionaries(_NAMES, st.one_of(_PLAIN, st.dictionaries(_NAMES, _PLAIN))))
def test_any_document_is_converted_or_refused(values: dict[str, object]) -> None:
    """Whatever stands in a document, it becomes the type or an error of ours."""
    with pytest.raises(MlpstorageError):
        convert(Document({"name": "A", **values}, {}), Whole, "x")


def test_paths_of_users_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is expanded; an unknown home and a removed current directory are refused in words."""
    monkeypatch.setenv("HOME", "/home/me")
    assert str(user_path("~/x", "--x")) == "/home/me/x"
    with pytest.raises(UsageError, match="home directory of ~nobody-here"):
        user_path("~nobody-here/x", "--x")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(NotFoundError, match="current directory has been removed"):
        user_path("x", "--x")
