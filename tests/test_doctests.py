"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import mlpstorage

_SKIPPED = {"mlpstorage.__main__"}
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mlpstorage.__path__, "mlpstorage.")
    if module.name not in _SKIPPED
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    """Every example of the module gives what its docstring shows."""
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    """The collection above does find examples."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = sum(
        bool(test.examples)
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
    )
    assert found > 30
