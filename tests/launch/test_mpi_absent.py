from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import ConfigurationError
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.launch.mpi import MpiLauncher, find_launcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Recorder
    from mlpstorage.launch import RankJob

    Job = Callable[..., RankJob]


def test_missing_launcher_says_how_to_get_one() -> None:
    """A launcher that is not there is told with the packages that bring one."""
    with pytest.raises(ConfigurationError) as caught:
        find_launcher("no-such-mpirun")
    assert "apt-get install openmpi-bin" in caught.value.fix
    assert "mlpstorage[mpich]" in caught.value.fix


@pytest.mark.parametrize("exit_code", [0, 7])
def test_launcher_that_starts_nothing(
    job: Job, recorder: Recorder, tmp_path: Path, exit_code: int
) -> None:
    """A launcher that starts no rank fails the run even when it exits 0."""
    fake = tmp_path / "mpirun"
    fake.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "if '--version' in sys.argv:\n    print('mpirun (Open MPI) 4.1.4')\n    sys.exit(0)\n"
        f"print('ssh: connect to host h1: refused', file=sys.stderr)\nsys.exit({exit_code})\n"
    )
    fake.chmod(0o755)
    options = MpiOptions(mpi_bin=str(fake), allow_run_as_root=True)
    with pytest.raises(ConfigurationError, match="before any rank had started") as caught:
        MpiLauncher([Host("h1")], options).run(job("who", 1), recorder)
    assert "ssh: connect to host h1: refused" in caught.value.why
