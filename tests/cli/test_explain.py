"""`mlpstorage explain`: whatever a verdict or doctor names can be asked about."""

from __future__ import annotations

import json

import pytest

from mlpstorage.__main__ import run
from mlpstorage.cli.explain.commands import ids


@pytest.mark.parametrize("word", ids())
def test_every_finding_is_explained(capsys: pytest.CaptureFixture[str], word: str) -> None:
    """Each id has a title and a sentence, as text and as JSON."""
    assert run(["explain", word, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    assert found
    for one in found:
        assert word in one["title"]
        assert len(one["text"]) > 20


def test_ids_are_taken_in_any_case(capsys: pytest.CaptureFixture[str]) -> None:
    """A rule's letter may be small."""
    assert run(["explain", "t.3"]) == 0
    assert "T.3" in capsys.readouterr().out


def test_an_unknown_finding_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped id names the nearest, and where all are listed."""
    assert run(["explain", "places.shard"]) == 3
    error = capsys.readouterr().err
    assert "did you mean places.shared?" in error
    assert "mlpstorage rules list" in error
