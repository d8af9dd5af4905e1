from __future__ import annotations

import pytest

from mlpstorage.core.cluster import Host, parse_hosts
from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.events import RankStarted
from mlpstorage.launch.dialects import (
    Dialect,
    Family,
    MpiOptions,
    command_line,
    dialect_of,
    root_error,
)
from mlpstorage.launch.mpi_obituary import Victim, victim_in

SSH = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o ConnectTimeout=10"
HYDRA = "HYDRA build details:\n    Version:                                 5.0.2\n"
INTEL = "Intel(R) MPI Library for Linux* OS, Version 2021.18 Build 20260101\nCopyright"


def line(family: Family, hosts: str = "h1,h2", **options: object) -> list[str]:
    """The command line of four ranks."""
    return command_line(
        Dialect(family, "1"),
        "/bin/mpirun",
        size=4,
        hosts=parse_hosts([hosts]),
        options=MpiOptions(**options),  # type: ignore[arg-type]
        program=["python", "-m", "x"],
        variables=["MLPSTORAGE_A", "MLPSTORAGE_B"],
    )


@pytest.mark.parametrize(
    ("text", "family", "version"),
    [
        ("mpirun (Open MPI) 4.1.4\n\nReport bugs to", Family.OPEN_MPI_4, "4.1.4"),
        ("mpirun (Open MPI) 3.1.6", Family.OPEN_MPI_4, "3.1.6"),
        ("mpirun (Open MPI) 5.0.11", Family.OPEN_MPI_5, "5.0.11"),
        ("prterun (PRRTE) 3.0.5", Family.OPEN_MPI_5, "3.0.5"),
        (HYDRA, Family.MPICH, "5.0.2"),
        (INTEL, Family.INTEL, "2021.18"),
    ],
)
def test_version_tells_the_dialect(text: str, family: Family, version: str) -> None:
    """What a launcher prints for --version tells its family and version."""
    assert dialect_of(text) == Dialect(family, version)


def test_unknown_launcher_is_refused() -> None:
    """A launcher of no known kind is refused with what it said."""
    with pytest.raises(ConfigurationError, match=r"'slurm 23\.02'"):
        dialect_of("slurm 23.02\n")


def test_open_mpi_4_line() -> None:
    """Open MPI 4 gets slots per host, no binding, ssh keepalives, and variables by name."""
    assert line(Family.OPEN_MPI_4) == [
        *("/bin/mpirun", "-n", "4", "--host", "h1:2,h2:2", "--bind-to", "none"),
        *("--mca", "plm_rsh_args", SSH),
        *("-x", "MLPSTORAGE_A", "-x", "MLPSTORAGE_B", "-wdir", "/", "python", "-m", "x"),
    ]


def test_open_mpi_5_line() -> None:
    """Open MPI 5 takes the ssh keepalives as a parameter of PRRTE."""
    assert line(Family.OPEN_MPI_5)[5:11] == [
        *("--bind-to", "none", "--prtemca", "plm_ssh_args", SSH, "-x"),
    ]


def test_mpich_line() -> None:
    """MPICH gets slots per host and one list of variables."""
    assert line(Family.MPICH) == [
        *("/bin/mpirun", "-n", "4", "-hosts", "h1:2,h2:2", "-bind-to", "none"),
        *("-genvlist", "MLPSTORAGE_A,MLPSTORAGE_B", "-wdir", "/", "python", "-m", "x"),
    ]


def test_intel_line() -> None:
    """Intel MPI turns binding off by its own variable."""
    assert line(Family.INTEL)[5:8] == ["-genv", "I_MPI_PIN", "0"]


def test_no_ssh_options_for_this_host() -> None:
    """A run on this host alone needs no ssh."""
    assert "plm_rsh_args" not in line(Family.OPEN_MPI_4, "localhost")


def test_flags_and_params_come_before_the_program() -> None:
    """The user's flags and words stand before the program, the words as they are."""
    params = ("--mca", "btl_tcp_if_include", "10.0.0.0/8")
    flags = {"oversubscribe": True, "allow_run_as_root": True, "params": params}
    words = line(Family.OPEN_MPI_4, **flags)
    assert {"--oversubscribe", "--allow-run-as-root"} < set(words)
    assert words[-6:] == [*params, "python", "-m", "x"]
    assert not {"--oversubscribe", "--allow-run-as-root"} & set(line(Family.MPICH, **flags))


def test_hosts_keep_their_slots() -> None:
    """Slots that the user gave decide how ranks are spread."""
    words = command_line(
        Dialect(Family.MPICH, "1"),
        "m",
        size=4,
        hosts=[Host("a", 3), Host("b", 1)],
        options=MpiOptions(),
        program=["p"],
    )
    assert words == ["m", "-n", "4", "-hosts", "a:3,b:1", "-bind-to", "none", "-wdir", "/", "p"]


def test_root_needs_the_flag_with_open_mpi_only() -> None:
    """Root is told to add --allow-run-as-root for Open MPI, and for nothing else."""
    refusal = root_error(Dialect(Family.OPEN_MPI_5, "5"), MpiOptions())
    assert refusal is not None
    assert "--allow-run-as-root" in refusal.fix
    assert root_error(Dialect(Family.OPEN_MPI_4, "4"), MpiOptions(allow_run_as_root=True)) is None
    assert root_error(Dialect(Family.MPICH, "4"), MpiOptions()) is None


STARTED = [RankStarted(0, "vm", 8176), RankStarted(1, "vm", 8177)]


@pytest.mark.parametrize(
    ("text", "victim"),
    [
        (
            "mpirun noticed that process rank 1 with PID 0 on node vm exited on signal 9 (Killed).",
            (1, "vm", -9),
        ),
        (
            "prterun noticed that process rank 1 with PID 8177 on node vm exited on\nsignal 9 (K",
            (1, "vm", -9),
        ),
        (
            "mpirun has exited due to process rank 1 with PID 0 on\nnode vm exiting improperly.",
            (1, "vm", 0),
        ),
        (
            "first process to do so was:\n  Process name: [[29641,1],1]\n  Exit code:    3",
            (1, "vm", 3),
        ),
        ("so was:\n   Process name: [prterun-vm-8232@1,1]\n   Exit code:    3", (1, "vm", 3)),
        (
            (
                "=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES\n"
                "=   PID 8177 RUNNING AT vm\n=   EXIT CODE: 9\n"
                "=   CLEANING UP REMAINING PROCESSES\n"
                "YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)"
            ),
            (1, "vm", -9, False),
        ),
        ("=   PID 999 RUNNING AT vm\n=   EXIT CODE: 9\n", None),
        ("all is well", None),
    ],
)
def test_launcher_output_names_the_dead_rank(text: str, victim: tuple[object, ...] | None) -> None:
    """What the launchers print about a death is read back as rank, host and code, if surely."""
    found = victim_in(text, STARTED)
    assert found == (victim and Victim(*victim))  # type: ignore[arg-type]
