from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import ConfigurationError, NotFoundError
from mlpstorage.engine.dlio.tree import Capabilities, tree_at

if TYPE_CHECKING:
    from pathlib import Path

OLD_CONFIG = """
def LoadConfig(args, config):
    if 'record_length' in config['dataset']:
        args.record_length = config['dataset']['record_length']
"""
NEW_CONFIG = """
def LoadConfig(args, config):
    if 'record_length_bytes' in config['dataset']:
        args.record_length = config['dataset']['record_length_bytes']
    if 'odirect' in config['reader']:
        args.odirect = config['reader']['odirect']
    if 'transformer' in config['model']:
        args.transformer = config['model']['transformer']
    if 'exclude_start_steps' in config['output']:
        args.exclude_start_steps = config['output']['exclude_start_steps']
"""
FORMATS = """
from enum import Enum

class FormatType(Enum):
    NPZ = 'npz'
    {more}

    def __str__(self):
        return self.value

class Other(Enum):
    PARQUET = 'parquet'
"""


def _tree(root: Path, config: str, more: str = "pass") -> Path:
    package = root / "dlio_benchmark"
    for name, text in {
        "main.py": "",
        "utils/config.py": config,
        "common/enumerations.py": FORMATS.format(more=more),
    }.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_release_of_2024_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    """An old tree has no capability, though another enumeration names the format."""
    found = tree_at(_tree(tmp_path, OLD_CONFIG))
    assert found.capabilities == Capabilities()
    assert str(found) == "dlio of no known version (as in the release of 2024)"


def test_a_later_tree_is_told_by_what_its_source_knows(tmp_path: Path) -> None:
    """Capabilities come from the source, whatever version the set-up file names."""
    root = _tree(tmp_path, NEW_CONFIG, "PARQUET = 'parquet'")
    (root / "setup.py").write_text("setuptools.setup(name='dlio_benchmark', version='2.0.0')")
    found = tree_at(root)
    assert found.version == "2.0.0"
    assert found.capabilities == Capabilities(
        record_length_bytes=True, parquet=True, model_block=True, metric_window=True, direct=True
    )


def test_a_tree_is_read_and_never_run(tmp_path: Path) -> None:
    """Looking at a tree executes none of its code."""
    found = tree_at(_tree(tmp_path, OLD_CONFIG + "\nraise SystemExit('executed')\n"))
    assert found.capabilities == Capabilities()


def test_what_is_no_dlio_is_refused(tmp_path: Path) -> None:
    """A directory without the package, and one whose source is no Python, are named."""
    with pytest.raises(NotFoundError, match=r"no dlio_benchmark/main\.py"):
        tree_at(tmp_path)
    with pytest.raises(ConfigurationError, match=r"config\.py is not the source of a DLIO"):
        tree_at(_tree(tmp_path, "def broken(:"))
