"""Which DLIO there is, told by what its source can do: its version says nothing.

The releases of two years all call themselves 2.0.0. The source is read, never run, so that the
launcher needs neither MPI nor PyTorch to look at it.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.metadata
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable

PACKAGE = "dlio_benchmark"
_DISTRIBUTION = "dlio-benchmark"
_WHERE_FIX = "name the directory that holds the folder dlio_benchmark, such as a checkout of DLIO"


@dataclass(frozen=True)
class Capabilities:
    """What a tree of DLIO can do that 2.0.0 from the package index cannot.

    Attributes:
        record_length_bytes: The size of a sample is called so, no longer `record_length`.
        parquet: It knows the format.
        model_block: Checkpoints of transformers are described by a block `model`.
        metric_window: AU is of measured compute over a window of steps, not of nominal compute.
        direct: `reader.odirect` is understood.
    """

    record_length_bytes: bool = False
    parquet: bool = False
    model_block: bool = False
    metric_window: bool = False
    direct: bool = False

    def __str__(self) -> str:
        """The names of what it can do.

        >>> str(Capabilities(parquet=True, direct=True)), str(Capabilities())
        ('parquet, direct', 'as in the release of 2024')
        """
        able = [item.name for item in fields(self) if getattr(self, item.name)]
        return ", ".join(able) or "as in the release of 2024"


@dataclass(frozen=True)
class Tree:
    """One DLIO on disk: the directory that holds the package, its version, what it can do."""

    root: Path
    version: str
    capabilities: Capabilities

    def __str__(self) -> str:
        """What a result says of its engine.

        >>> str(Tree(Path("/x"), "2.0.0", Capabilities()))
        'dlio 2.0.0 (as in the release of 2024)'
        """
        return f"dlio {self.version} ({self.capabilities})"


def installed_tree() -> Tree | None:
    """The DLIO of this Python, if it is installed."""
    spec = importlib.machinery.PathFinder.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent.parent
    try:
        version = importlib.metadata.version(_DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        version = _version_in(root)
    return Tree(root, version, capabilities_of(root))


def tree_at(path: Path) -> Tree:
    """The DLIO in a directory of the user's.

    Raises:
        NotFoundError: there is none.
        ConfigurationError: its source cannot be understood.
    """
    if not (path / PACKAGE / "main.py").is_file():
        raise NotFoundError(f"{path} holds no DLIO: there is no {PACKAGE}/main.py", fix=_WHERE_FIX)
    return Tree(path, _version_in(path), capabilities_of(path))


def capabilities_of(root: Path) -> Capabilities:
    """What the DLIO in this directory can do.

    Raises:
        ConfigurationError: a file that decides is missing or no Python.
    """
    config = set(_strings(_parsed(root / PACKAGE / "utils" / "config.py")))
    formats = _members(_parsed(root / PACKAGE / "common" / "enumerations.py"), "FormatType")
    return Capabilities(
        record_length_bytes="record_length_bytes" in config,
        parquet="parquet" in formats,
        model_block="transformer" in config or "zero_stage" in config,
        metric_window="exclude_start_steps" in config,
        direct="odirect" in config,
    )


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigurationError(
            f"{path} is not the source of a DLIO: {error}", fix=_WHERE_FIX
        ) from error


def _strings(module: ast.AST) -> Iterable[str]:
    """Every string constant in a piece of source."""
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _members(module: ast.Module, name: str) -> set[str]:
    """The values of the members of an enumeration of strings."""
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            assigned = (part for part in node.body if isinstance(part, ast.Assign))
            return {text for part in assigned for text in _strings(part.value)}
    return set()


def _version_in(root: Path) -> str:
    """The version that the tree's set-up file names, for people."""
    for name, pattern in (
        ("setup.py", r"version\s*=\s*[\"']([^\"']+)[\"']"),
        ("pyproject.toml", r"^version\s*=\s*[\"']([^\"']+)[\"']"),
    ):
        path = root / name
        found = (
            re.search(pattern, path.read_text("utf-8"), re.MULTILINE) if path.is_file() else None
        )
        if found:
            return found[1]
    return "of no known version"
