from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.preflight.lockfile.applicable import applicable
from mlpstorage.preflight.lockfile.compare import compare
from mlpstorage.preflight.lockfile.probe import marker_environment
from mlpstorage.preflight.lockfile.read import read_lock

if TYPE_CHECKING:
    from pathlib import Path

PYLOCK = f"""\
lock-version = "1.0"
requires-python = ">=3.10"
extras = ["more"]
dependency-groups = ["dev"]
default-groups = ["dev"]
created-by = "test"
[[packages]]
name = "Base_Package"
version = "1.0"
wheels = [{{ url = "https://example.org/x.whl", hashes = {{ sha256 = "{"a" * 64}" }} }}]
[[packages]]
name = "windows"
version = "2"
marker = "sys_platform == 'win32'"
[[packages]]
name = "more"
version = "3"
marker = "'more' in extras"
[[packages]]
name = "dev"
version = "4"
marker = "'dev' in dependency_groups"
[[packages]]
name = "own"
directory = {{ path = "." }}
[[packages]]
name = "moving"
vcs = {{ type = "git", url = "https://example.org", commit-id = "ab" }}
"""

UV = """\
version = 1
revision = 3
requires-python = ">=3.10"
[[package]]
name = "own"
version = "0.1"
source = { editable = "." }
dependencies = [
    { name = "web", extra = ["fast"] },
    { name = "windows", marker = "sys_platform == 'win32'" },
    { name = "forked", version = "1.0", marker = "python_full_version < '3'" },
    { name = "forked", version = "2.0", marker = "python_full_version >= '3'" },
]
[package.optional-dependencies]
more = [{ name = "optional" }]
[package.dev-dependencies]
dev = [{ name = "tester" }]
[[package]]
name = "web"
version = "1"
source = { registry = "https://index.invalid/simple" }
dependencies = [{ name = "deep" }]
[package.optional-dependencies]
fast = [{ name = "speedup" }]
slow = [{ name = "never" }]
[[package]]
name = "deep"
version = "1"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "speedup"
version = "1"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "never"
version = "1"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "windows"
version = "1"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "forked"
version = "1.0"
source = { registry = "https://index.invalid/simple" }
resolution-markers = ["python_full_version < '3'"]
[[package]]
name = "forked"
version = "2.0"
source = { registry = "https://index.invalid/simple" }
resolution-markers = ["python_full_version >= '3'"]
[[package]]
name = "optional"
version = "1"
source = { registry = "https://index.invalid/simple" }
[[package]]
name = "tester"
version = "1"
source = { git = "https://example.org/tester?rev=1#ab" }
"""


def test_pylock_is_read_as_pep_751_says(tmp_path: Path) -> None:
    """Markers of platforms, extras and default groups decide; entries without version are left."""
    path = tmp_path / "pylock.toml"
    path.write_text(PYLOCK)
    lock = read_lock(path)
    held = {pin.name: required for pin, required in applicable(lock, marker_environment())}
    assert held == {"base-package": True, "more": False, "dev": True}
    assert [entry.name for entry in lock.left] == ["own", "moving"]
    assert lock.pins[0].hashes == ("sha256:" + "a" * 64,)
    assert lock.pins[0].where == f"{path}:7"


def test_uv_lock_is_walked_from_the_project(tmp_path: Path) -> None:
    """What the project needs here is required, its extras only if installed, the rest is not."""
    path = tmp_path / "uv.lock"
    path.write_text(UV)
    lock = read_lock(path)
    held = {
        (pin.name, pin.locked): required for pin, required in applicable(lock, marker_environment())
    }
    assert held == {
        ("web", "1"): True,
        ("deep", "1"): True,
        ("speedup", "1"): True,
        ("forked", "2.0"): True,
        ("optional", "1"): False,
    }
    assert [entry.name for entry in lock.left] == ["tester"]


def test_an_optional_package_of_a_graph_is_compared_when_installed(tmp_path: Path) -> None:
    """An extra's package may be absent; at another version it is a mismatch."""
    path = tmp_path / "uv.lock"
    path.write_text(UV)
    installed = {"web": "1", "deep": "1", "speedup": "1", "forked": "2"}
    lock, markers = read_lock(path), marker_environment()
    errors = [d for d in compare(lock, installed, markers).differences if d.severity == "error"]
    assert errors == []
    found = compare(lock, {**installed, "optional": "9"}, markers)
    errors = [d for d in found.differences if d.severity == "error"]
    assert [(d.kind, d.subject) for d in errors] == [("mismatch", "optional")]
    assert (found.total, found.matched) == (5, 4)
