"""The default install: small, whole, and without a GPU package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GPU = ("nvidia", "cuda", "triton", "torch", "tensorflow", "cupy", "jax")
MOST_MIB = 350


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with nothing but the package and what it declares."""
    place = tmp_path_factory.mktemp("fresh") / "venv"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    pip = [place / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    done = subprocess.run([*pip, str(ROOT)], capture_output=True, text=True, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail(f"pip could not install the package: {done.stderr}")
        pytest.skip("pip could not install the package: is a package index reachable?")
    return place


def test_no_gpu_package_is_installed(fresh: Path) -> None:
    """Neither the package nor anything it needs is made for a GPU."""
    listed = subprocess.run(
        [fresh / "bin/python", "-m", "pip", "list", "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    names = [package["name"].lower() for package in json.loads(listed.stdout)]
    assert "mlpstorage" in names
    assert [name for name in names if name.startswith(GPU)] == []


def test_the_install_is_small(fresh: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything that the default commands need fits in 350 MiB."""
    site = next(fresh.glob("lib/python*/site-packages"))
    mib = sum(f.lstat().st_size for f in site.rglob("*") if not f.is_dir()) / (1 << 20)
    with capsys.disabled():
        print(f"\ninstalled size: {mib:.0f} MiB")  # noqa: T201 (the figure is the point)
    assert mib < MOST_MIB


def test_the_installed_command_works_from_anywhere(fresh: Path, tmp_path: Path) -> None:
    """The console script runs without the source beside it, with its packaged workloads."""
    done = subprocess.run(
        [fresh / "bin/mlpstorage", "training", "datasize", "-m", "resnet50", "-g", "a100",
         "-ma", "1", "-cm", "1", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_files_train"] == 160
