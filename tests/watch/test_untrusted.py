from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.watch.untrusted import decoded, printable


def test_escape_sequences_are_shown_not_obeyed() -> None:
    """Escapes, bells, carriage returns and marks that reorder text become visible."""
    assert decoded(b"NAME=\x1b]0;own\x07\r\n\ttab\n") == "NAME=\\x1b]0;own\\x07\\x0d\n\ttab\n"
    assert printable("a\u202eb\u2028c\x9b") == "a\\u202eb\\u2028c\\x9b"


def test_a_line_of_a_megabyte() -> None:
    """A line that nobody can want is cut; its neighbours stay whole."""
    text = decoded(b"before\n" + b"x" * (1 << 20) + b"\nafter\n")
    lines = text.split("\n")
    assert [len(line) for line in lines] == [6, 1 << 16, 5, 0]


@given(st.binary())
def test_no_byte_is_dangerous(raw: bytes) -> None:
    """Whatever bytes come, what leaves has no control character but line feed and tab."""
    text = decoded(raw)
    assert text.count("\n") == raw.count(b"\n")
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cs"} and c not in "\n\t"]


@given(st.text())
def test_a_part_of_a_sentence(text: str) -> None:
    """A printable text is one line of limited length that can be written as UTF-8."""
    shown = printable(text, most=20)
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cs"}]
    assert len(shown.encode()) <= 21 * 6
