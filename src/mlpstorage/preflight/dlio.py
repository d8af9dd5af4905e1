"""What the DLIO engine needs, and the commands that install it.

DLIO's own list of requirements cannot be installed: it names NVIDIA's DALI, whose package on the
index refuses to build, and TensorFlow, which is not used. So DLIO comes without dependencies,
pinned by its hash, and what it truly imports comes beside it.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

ENGINE = "dlio"
# The same as the extra [dlio] in pyproject.toml, where torch stands last.
REQUIREMENTS = (
    "h5py>=3.11",
    "hydra-core>=1.3.2",
    "mpi4py>=4.0",
    "omegaconf>=2.2",
    "pandas>=2",
    "pillow>=9.3",
    "psutil>=5.9.8",
    "pyyaml>=6",
)
TORCH = "torch>=2.2"
# A local version cannot come from PyPI, whose Linux build of torch brings CUDA.
TORCH_CPU = "torch==2.13.0+cpu"
TORCH_ADVICE = (
    "add PyTorch's index of CPU builds to pip's sources (its installation page names it), or "
    "install a CPU build of torch by hand; then run the same command again"
)
PINNED = Path(__file__).with_name("dlio.txt")
# Distributions to compare between hosts, and modules that must be importable.
PACKAGES = ("dlio-benchmark", "h5py", "hydra-core", "omegaconf", "pandas", "psutil", "torch")
MODULES = (
    "dlio_benchmark", "h5py", "hydra", "mpi4py", "omegaconf", "pandas", "PIL", "psutil", "torch",
    "yaml",
)  # fmt: skip
# Which package brings a module that only some workloads need.
EXTRAS = {"tensorflow": "tensorflow-cpu", "pyarrow": "pyarrow"}
COMMAND = "mlpstorage engine install dlio"


def modules(path: str = "") -> tuple[str, ...]:
    """The modules that must be importable; DLIO itself need not where it is at a path."""
    return MODULES[1:] if path else MODULES


def pip_command(*words: str) -> list[str]:
    """The command line of the pip of this Python."""
    return [sys.executable, "-m", "pip", "install", *words]


def requirements_command() -> list[str]:
    """What installs everything but torch and DLIO itself."""
    return pip_command(*REQUIREMENTS)


def torch_command() -> list[str]:
    """What installs torch for CPUs, from whatever sources pip has."""
    # macOS has no CUDA build.
    return pip_command(TORCH if sys.platform == "darwin" else TORCH_CPU)


def engine_command() -> list[str]:
    """What installs DLIO itself: this very file of the index, and nothing that it asks for."""
    return pip_command("--no-deps", "--require-hashes", "-r", str(PINNED))


def manual_lines() -> list[str]:
    """The lines that the command stands for, to be typed by hand."""
    return [
        shlex.join(line) for line in (requirements_command(), torch_command(), engine_command())
    ]
