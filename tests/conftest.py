"""What tests of whole commands share: the installed program, and a workload small enough."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["lab.fixture"]

# How long an example takes is the machine's affair, and no test is about it.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")

TINY = """\
model: tiny
dataset:
  format: {format}
  record_length_bytes: 20000
  record_length_bytes_stdev: {stdev}
  num_samples_per_file: {per_file}
reader: {{batch_size: 4, read_threads: 2, file_shuffle: seed}}
train: {{epochs: 2}}
metric: {{au: 0.5}}
accelerators:
  h100: {{edition: "own", train: {{computation_time: 0.004}}}}
"""


@dataclass(frozen=True)
class Done:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 (a JSON value)
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Program:
    """The installed `mlpstorage`, run in a directory of its own."""

    home: Path

    def __call__(self, *words: str | Path, env: dict[str, str] | None = None) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            self.argv(*words),
            cwd=self.home,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """Start a command and leave it running."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def argv(*words: str | Path) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "mlpstorage", *map(str, words)]

    def workload(self, fmt: str = "npz", per_file: int = 1, stdev: int = 0) -> list[str]:
        """The options that name a tiny workload, whose file is written here."""
        path = self.home / f"tiny_{fmt}_{per_file}.yaml"
        path.write_text(TINY.format(format=fmt, per_file=per_file, stdev=stdev))
        return ["--model", "tiny", "--workload-file", str(path)]

    def datagen(self, files: int, *more: str, fmt: str = "npz", per_file: int = 1) -> Done:
        """Generate a tiny data set in `data`."""
        return self(
            "training", "datagen", *self.workload(fmt, per_file), "--data-dir", "data",
            "--params", f"dataset.num_files_train={files}", "-np", "2", *more,
        )  # fmt: skip

    def run(
        self,
        files: int,
        *more: str,
        ranks: int = 1,
        fmt: str = "npz",
        per_file: int = 1,
        env: dict[str, str] | None = None,
    ) -> Done:
        """Run the tiny workload on `data`; the result as JSON."""
        return self(
            "training", "run", *self.workload(fmt, per_file), "-g", "h100", "-na", str(ranks),
            "--data-dir", "data", "--json", "--params", f"dataset.num_files_train={files}", *more,
            env=env,
        )  # fmt: skip


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The installed program, in an empty directory."""
    return Program(tmp_path)


@pytest.fixture(scope="session")
def mpirun() -> list[str]:
    """The options that run ranks under the mpirun on PATH."""
    if shutil.which("mpirun") is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have an mpirun")
        pytest.skip("no mpirun on PATH")
    return ["--exec-type", "mpi", "--allow-run-as-root", "--oversubscribe"]
