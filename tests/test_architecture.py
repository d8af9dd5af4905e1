"""The design's promises about rooms, checked on the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlpstorage

SOURCE = Path(mlpstorage.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
KINDS = sorted(p.name for p in (SOURCE / "kinds").iterdir() if (p / "__init__.py").exists())


def imports_of(path: Path) -> set[str]:
    """The modules that a file names in its imports, at any depth."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_layers_point_one_way() -> None:
    """The import contracts of pyproject.toml hold."""
    root = Path(__file__).parents[1]
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_known_only_in_its_own_room(kind: str) -> None:
    """Outside its folder, a kind is imported nowhere, and named only in the list of kinds."""
    own = SOURCE / "kinds" / kind
    for path in FILES:
        if not path.is_relative_to(own):
            named = [
                name for name in imports_of(path) if name.startswith(f"mlpstorage.kinds.{kind}")
            ]
            assert not named, f"{path} imports {named}"
    listed = (SOURCE / "kinds" / "__init__.py").read_text(encoding="utf-8")
    assert f'"mlpstorage.kinds.{kind}"' in listed


def test_only_the_cli_room_knows_the_cli_library() -> None:
    """No file outside cli/ imports cyclopts."""
    for path in FILES:
        if not path.is_relative_to(SOURCE / "cli"):
            assert not [name for name in imports_of(path) if name.split(".")[0] == "cyclopts"], path


def test_only_display_and_report_print() -> None:
    """No file outside display/ and report/ calls print."""
    for path in FILES:
        if path.is_relative_to(SOURCE / "display") or path.is_relative_to(SOURCE / "report"):
            continue
        calls = [
            node.lineno
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
        assert not calls, f"{path} prints in lines {calls}"


def test_core_needs_the_standard_library_only() -> None:
    """Nouns and arithmetic depend on nothing that must be installed."""
    for path in (SOURCE / "core").glob("*.py"):
        outside = {
            name.split(".")[0]
            for name in imports_of(path)
            if name.split(".")[0] not in sys.stdlib_module_names
        }
        assert outside <= {"mlpstorage"}, path


def test_files_stay_small() -> None:
    """No source file is longer than a reader can hold: 450 lines."""
    assert [p for p in FILES if len(p.read_text(encoding="utf-8").splitlines()) > 450] == []


def test_the_package_says_that_it_is_typed() -> None:
    """py.typed is installed, so that users' type checkers read our annotations."""
    assert (SOURCE / "py.typed").exists()
