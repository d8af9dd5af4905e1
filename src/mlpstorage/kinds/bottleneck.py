"""Who sets the score: the first resource found exhausted, told from counters."""

from __future__ import annotations

import enum
from dataclasses import dataclass

BUSY_LINK_SHARE = 0.9
BUSY_CPU_SHARE = 0.9
IDLE_ENOUGH_SHARE = 0.7
# Less of a host's CPU time than this part is the run's own: then others keep the host busy.
OWN_PART = 0.5
BUSY_IO_SHARE = 0.5
GIL_CORES = 0.85


class Bottleneck(enum.Enum):
    """Who sets the score."""

    STORAGE = "storage-bound"
    NETWORK = "network-bound"
    CLIENT_CPU = "client-CPU-bound"
    COMPUTE = "compute-bound"
    MIXED = "mixed"


@dataclass(frozen=True, kw_only=True)
class ClientLoad:
    """How busy the clients were; shares are 0 to 1.

    Attributes:
        host_cpu_share: The busiest host's CPU time over its usable CPUs, whoever used it.
        own_cpu_share: The same of the run's own processes.
        user_cores: The busiest process's time in user mode in cores; one interpreter cannot raise
            it above 1.
        network_share: The busiest link's bytes over its speed, in one direction; None is unknown.
    """

    host_cpu_share: float
    own_cpu_share: float
    user_cores: float
    network_share: float | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether others, or the kernel on its own account, keep a host's processors busy."""
        return (
            self.host_cpu_share >= IDLE_ENOUGH_SHARE
            and self.own_cpu_share < OWN_PART * self.host_cpu_share
        )

    def text(self) -> str:
        """The numbers for an explanation.

        >>> ClientLoad(host_cpu_share=0.97, own_cpu_share=0.1, user_cores=0.1).text()
        'client CPU 97 % busy (10 % by this run: something else runs there)'
        """
        why = ": something else runs there" if self.is_disturbed else ""
        told = (
            f"client CPU {100 * min(self.host_cpu_share, 1.0):.0f} % busy "
            f"({100 * min(self.own_cpu_share, 1.0):.0f} % by this run{why})"
        )
        if self.network_share is None:
            return told
        return f"{told}, busiest network link {100 * self.network_share:.0f} % of its speed"


def exhausted(load: ClientLoad, io_share: float | None) -> Bottleneck:
    """What was exhausted while clients asked for as much as they could.

    Args:
        load: How busy the clients were.
        io_share: The part of their time in which those who do I/O were in it; None is unknown.

    >>> exhausted(ClientLoad(host_cpu_share=0.3, own_cpu_share=0.3, user_cores=0.1), 0.9).value
    'storage-bound'
    """
    if load.network_share is not None and load.network_share >= BUSY_LINK_SHARE:
        return Bottleneck.NETWORK
    is_full = load.host_cpu_share >= BUSY_CPU_SHARE and not load.is_disturbed
    if is_full or load.user_cores >= GIL_CORES:
        return Bottleneck.CLIENT_CPU
    busy = io_share is not None and io_share >= BUSY_IO_SHARE
    if busy and load.host_cpu_share < IDLE_ENOUGH_SHARE:
        return Bottleneck.STORAGE
    return Bottleneck.MIXED


def busiest_link(shares: list[float | None]) -> float | None:
    """The most of what ranks saw of their hosts' links; None where none is known."""
    return max((share for share in shares if share is not None), default=None)


def busiest_host(parts: list[tuple[str, float]]) -> float:
    """The largest sum of a host's ranks' parts.

    >>> busiest_host([("a", 0.25), ("b", 0.5), ("a", 0.5)])
    0.75
    """
    sums: dict[str, float] = {}
    for host, part in parts:
        sums[host] = sums.get(host, 0.0) + part
    return max(sums.values(), default=0.0)
