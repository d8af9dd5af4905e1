"""The lab's network: one Ethernet segment, 10.77.0.0/24, that leads nowhere else.

A switch (a bridge in a network namespace of its own) has one port for each host; a port `vh1` is
the end of a virtual cable whose other end is `eth0` in h1. No namespace has a default route.
Labs have the same addresses and do not see each other.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from lab.needs import LabError

CONTROLLER = "ctl"
MOST_HOSTS = 200
PREFIX_LENGTH = 24
SWITCH = "link set lo up\nlink add br0 type bridge forward_delay 0 stp_state 0\nlink set br0 up\n"


@dataclass(frozen=True)
class Place:
    """A host's name and where it sits in the network: h1 is number 1, the controller 254."""

    name: str
    number: int

    @property
    def address(self) -> str:
        """Its IPv4 address.

        >>> places(2)[-1].address
        '10.77.0.2'
        """
        return f"10.77.0.{self.number}"

    @property
    def mac(self) -> str:
        """Its Ethernet address: it stays the same when its network card is replaced."""
        return f"02:4d:4c:00:00:{self.number:02x}"

    @property
    def port(self) -> str:
        """The name of its port at the switch."""
        return f"v{self.name}"

    def cable(self, pid: int) -> str:
        """The `ip` commands that connect the network namespace of process `pid`."""
        return (
            f"link add {self.port} type veth peer name eth0 address {self.mac} netns {pid}\n"
            f"link set {self.port} master br0 up\n"
        )


def places(hosts: int) -> list[Place]:
    """The controller, then the hosts.

    >>> [place.name for place in places(2)]
    ['ctl', 'h1', 'h2']
    """
    return [Place(CONTROLLER, 254), *(Place(f"h{n}", n) for n in range(1, hosts + 1))]


def in_network(pid: int, *argv: str, text: str = "") -> None:
    """Run a command of iproute2 in the network namespace of a process; process ids stay ours.

    Raises:
        LabError: it failed.
    """
    done = subprocess.run(
        ["nsenter", f"--net=/proc/{pid}/ns/net", *argv],
        input=text,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()}", why=text.strip())


def ip(pid: int, text: str) -> None:
    """Run `ip` commands, one a line, in the network namespace of a process."""
    in_network(pid, "ip", "-batch", "-", text=text)
