"""The command lines of the MPI launchers, as pure functions.

Open MPI 4 and 5 and the Hydra family (MPICH, Intel MPI) agree on `-n` and on little else.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.cluster import Host

# ssh notices a dead host after 3 x 5 s, where mpirun alone would wait for ever; ConnectTimeout
# covers the handshake, which the keepalive does not.
_SSH_ARGS = "-o ServerAliveInterval=5 -o ServerAliveCountMax=3 -o ConnectTimeout=10"


class Family(enum.Enum):
    """Launchers that understand the same options."""

    OPEN_MPI_4 = "Open MPI 4"
    OPEN_MPI_5 = "Open MPI 5"
    MPICH = "MPICH"
    INTEL = "Intel MPI"

    @property
    def is_open_mpi(self) -> bool:
        """Whether it is Open MPI, of any version."""
        return self in (Family.OPEN_MPI_4, Family.OPEN_MPI_5)


@dataclass(frozen=True)
class Dialect:
    """What a launcher is: its family, and its version as it prints it."""

    family: Family
    version: str


@dataclass(frozen=True)
class MpiOptions:
    """What the user says about MPI; `params` are words that go to the launcher as they are.

    `network` is the IPv4 network through which ranks talk, in CIDR notation; empty for any.
    """

    mpi_bin: str = "mpirun"
    oversubscribe: bool = False
    allow_run_as_root: bool = False
    network: str = ""
    params: tuple[str, ...] = ()


_VERSIONS = (
    (re.compile(r"\(Open MPI\) (?P<version>(?P<major>\d+)[\w.]*)"), None),
    (re.compile(r"\(PRRTE\) (?P<version>[\w.]+)"), Family.OPEN_MPI_5),
    (re.compile(r"Intel\(R\) MPI Library.*?Version (?P<version>[\w.]+)", re.DOTALL), Family.INTEL),
    (re.compile(r"HYDRA.*?Version:\s*(?P<version>[\w.]+)", re.DOTALL), Family.MPICH),
)


def dialect_of(version_output: str) -> Dialect:
    """The dialect of a launcher, by what `--version` printed.

    >>> dialect_of("mpirun (Open MPI) 4.1.4")
    Dialect(family=<Family.OPEN_MPI_4: 'Open MPI 4'>, version='4.1.4')

    Raises:
        ConfigurationError: it is none of the known ones.
    """
    for pattern, family in _VERSIONS:
        match = pattern.search(version_output)
        if match is None:
            continue
        if family is None:
            modern = int(match["major"]) >= 5  # noqa: PLR2004 - the release that moved to PRRTE
            family = Family.OPEN_MPI_5 if modern else Family.OPEN_MPI_4  # noqa: PLW2901
        return Dialect(family, match["version"])
    first = version_output.strip().partition("\n")[0]
    raise ConfigurationError(
        f"the MPI launcher is of no known kind: it says {first!r}",
        fix="name the mpirun or mpiexec of Open MPI, MPICH or Intel MPI with --mpi-bin",
    )


def command_line(
    dialect: Dialect,
    launcher: str,
    *,
    size: int,
    hosts: Sequence[Host],
    options: MpiOptions,
    program: Sequence[str],
    variables: Sequence[str] = (),
    on_network: bool = False,
) -> list[str]:
    """The words that start `size` ranks of the program on the hosts.

    `variables` are names of environment variables that all ranks get; their values are taken from
    the launcher's environment, so that none shows in a list of processes. `on_network` says that
    this host itself has an address in the network of the options.

    Raises:
        UsageError: the ranks cannot be spread over the hosts.
    """
    slots = ",".join(
        f"{host.name}:{count}"
        for host, count in zip(hosts, spread(size, hosts), strict=True)
        if count
    )
    words = _open_mpi if dialect.family.is_open_mpi else _hydra
    return [
        launcher,
        *("-n", str(size)),
        *words(dialect.family, slots, hosts, options, variables),
        *_network_words(dialect.family, options.network, of_launcher=on_network),
        # Not the user's directory: it need not be there on every host (MPICH then fails), and the
        # files in it could pass for modules of Python.
        *("-wdir", "/"),
        *options.params,
        *program,
    ]


def _open_mpi(
    family: Family,
    slots: str,
    hosts: Sequence[Host],
    options: MpiOptions,
    variables: Sequence[str],
) -> list[str]:
    # Ranks run threads: bound to one core each, these would queue up behind each other.
    words = ["--host", slots, "--bind-to", "none"]
    if any(not host.is_local for host in hosts):
        if family is Family.OPEN_MPI_5:
            words += ["--prtemca", "plm_ssh_args", _SSH_ARGS]
        else:
            words += ["--mca", "plm_rsh_args", _SSH_ARGS]
    words += ["--oversubscribe"] if options.oversubscribe else []
    words += ["--allow-run-as-root"] if options.allow_run_as_root else []
    for name in variables:
        words += ["-x", name]
    return words


def _network_words(family: Family, network: str, *, of_launcher: bool) -> list[str]:
    """The network of the ranks; and of the launcher's own talk, if it has a way into it."""
    if not network or not family.is_open_mpi:
        return []
    words = ["--mca", "btl_tcp_if_include", network]
    if not of_launcher:
        return words
    if family is Family.OPEN_MPI_5:
        return [*words, "--prtemca", "prte_if_include", network]
    return [*words, "--mca", "oob_tcp_if_include", network]


def _hydra(
    family: Family,
    slots: str,
    hosts: Sequence[Host],  # noqa: ARG001 - both families are called alike
    options: MpiOptions,  # noqa: ARG001 - no flags are needed; each rank finds the network's interface
    variables: Sequence[str],
) -> list[str]:
    words = ["-hosts", slots]
    words += ["-genv", "I_MPI_PIN", "0"] if family is Family.INTEL else ["-bind-to", "none"]
    return [*words, "-genvlist", ",".join(variables)] if variables else words


def root_error(dialect: Dialect, options: MpiOptions) -> ConfigurationError | None:
    """What is wrong when root launches: Open MPI refuses root unless told otherwise."""
    if not dialect.family.is_open_mpi or options.allow_run_as_root:
        return None
    return ConfigurationError(
        f"{dialect.family.value} does not start ranks for root",
        why="it refuses root unless asked, to protect the system from faulty programs",
        fix="add --allow-run-as-root, or run as another user",
    )
