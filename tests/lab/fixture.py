"""The test bed as pytest fixtures.

    def test_something(lab: Lab) -> None:                # two hosts of its own
    def test_more(start_lab: LabMaker, tmp_path: Path) -> None:
        with start_lab(8, share=[tmp_path]) as lab:

Where no lab can be made the tests skip and say why; with CI in the environment they fail.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lab.bed import Lab
from lab.needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LabMaker = type[Lab]


def lab_or_skip() -> LabMaker:
    """The class `Lab`; without the means the test is skipped, or fails in CI."""
    why = missing()
    if why is None:
        return Lab
    if os.environ.get("CI"):
        pytest.fail(f"CI must be able to make a lab: {why}")
    pytest.skip(why)


@pytest.fixture(scope="session")
def start_lab() -> LabMaker:
    """The class `Lab`, once it is known that this machine can have labs."""
    return lab_or_skip()


@pytest.fixture
def lab(start_lab: LabMaker, tmp_path: Path) -> Iterator[Lab]:
    """A lab of two hosts for one test, which shares its `tmp_path`."""
    with start_lab(2, share=[tmp_path]) as running:
        yield running
