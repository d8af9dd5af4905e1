"""The network that MPI uses where hosts have several: checked, and found again on every host.

Addresses such as 172.17.0.1 of docker0 are the same on many hosts. Open MPI takes them for a way
between the hosts and hangs (open-mpi/ompi#6377); a network that the user names prevents it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

# The option's variable; the launcher gives it to every rank.
NETWORK = "MLPSTORAGE_MPI_NETWORK"
# What libfabric and UCX, below MPICH and its relatives, call the interface that they use.
_HYDRA_INTERFACES = ("FI_TCP_IFACE", "UCX_NET_DEVICES")
_OPEN_MPI_RANK = "OMPI_COMM_WORLD_RANK"
_SIOCGIFCONF = 0x8912  # netdevice(7)
_MOST_ADDRESSES = 1024
_RECORD_BYTES = 40 if struct.calcsize("P") == 8 else 32  # noqa: PLR2004 (sizeof(struct ifreq))


def checked_network(text: str) -> str:
    """The network as launchers read it; empty if none is named.

    >>> checked_network("10.1.2.3/24"), checked_network("")
    ('10.1.2.0/24', '')

    Raises:
        UsageError: it is no IPv4 network.
    """
    if not text:
        return ""
    import ipaddress

    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError as error:
        raise UsageError(
            f"--mpi-network {text!r} is no IPv4 network: {error}",
            why="interfaces may be called differently on each host; a network is the same for all",
            fix="write it as 10.0.0.0/24; ip -4 addr shows the addresses of a host",
        ) from error
    return str(network)


def addresses() -> dict[str, str]:
    """The interface of every IPv4 address of this host, by the address."""
    import array
    import fcntl

    records = array.array("B", bytes(_MOST_ADDRESSES * _RECORD_BYTES))
    place, size = records.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer = fcntl.ioctl(sock, _SIOCGIFCONF, struct.pack("iP", size, place))
    used = struct.unpack("iP", answer)[0]
    found = {}
    for start in range(0, used, _RECORD_BYTES):
        record = records[start : start + _RECORD_BYTES].tobytes()
        name = record[:16].partition(b"\0")[0].decode(errors="replace")
        found[socket.inet_ntoa(record[20:24])] = name
    return found


def interfaces_in(network: str, known: Mapping[str, str]) -> list[str]:
    """The interfaces with an address in the network.

    >>> interfaces_in("10.0.0.0/24", {"10.0.0.7": "ib0", "172.17.0.1": "docker0"})
    ['ib0']
    """
    import ipaddress

    inside = ipaddress.IPv4Network(network)
    return [name for address, name in known.items() if ipaddress.IPv4Address(address) in inside]


def use_network(environ: MutableMapping[str, str]) -> None:
    """In a rank, before MPI starts: be sure to have a way into the network that the user named.

    Open MPI gets the network itself. MPICH and its relatives know interfaces only, which may be
    called differently on each host: so each rank names its own. What the user says is stronger.

    Raises:
        ConfigurationError: this host has no address in the network.
    """
    network = environ.get(NETWORK)
    if not network:
        return
    known = addresses()
    names = interfaces_in(network, known)
    if not names:
        have = ", ".join(f"{address} ({name})" for address, name in known.items())
        raise ConfigurationError(
            f"{os.uname().nodename} has no address in {network}",
            why=f"--mpi-network says that ranks talk there; it has {have or 'no address at all'}",
            fix="name the network that all hosts share; ip -4 addr shows a host's addresses",
        )
    if _OPEN_MPI_RANK not in environ:
        for variable in _HYDRA_INTERFACES:
            environ.setdefault(variable, names[0])


def is_on(network: str) -> bool:
    """Whether this host has an address in the network."""
    with contextlib.suppress(OSError):
        return bool(interfaces_in(network, addresses()))
    return False
