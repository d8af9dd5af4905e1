"""Who sets the score: the first resource found exhausted, told from counters."""

from __future__ import annotations

import enum

BUSY_LINK_SHARE = 0.9
BUSY_CPU_SHARE = 0.9
IDLE_ENOUGH_SHARE = 0.7
BUSY_IO_SHARE = 0.5
GIL_CORES = 0.85


class Bottleneck(enum.Enum):
    """Who sets the score."""

    STORAGE = "storage-bound"
    NETWORK = "network-bound"
    CLIENT_CPU = "client-CPU-bound"
    COMPUTE = "compute-bound"
    MIXED = "mixed"


def exhausted(
    *, io_share: float | None, host_cpu_share: float, user_cores: float, network_share: float | None
) -> Bottleneck:
    """What was exhausted while clients asked for as much as they could; shares are 0 to 1.

    Args:
        io_share: The part of their time in which those who do I/O were in it; None is unknown.
        host_cpu_share: The busiest host's CPU time over its usable CPUs.
        user_cores: The busiest rank's time in user mode, per process, in cores; one interpreter
            cannot raise it above 1.
        network_share: The busiest link's bytes over its speed, in one direction; None is unknown.

    >>> exhausted(io_share=0.9, host_cpu_share=0.3, user_cores=0.1, network_share=0.95).value
    'network-bound'
    """
    if network_share is not None and network_share >= BUSY_LINK_SHARE:
        return Bottleneck.NETWORK
    if host_cpu_share >= BUSY_CPU_SHARE or user_cores >= GIL_CORES:
        return Bottleneck.CLIENT_CPU
    busy = io_share is not None and io_share >= BUSY_IO_SHARE
    return Bottleneck.STORAGE if busy and host_cpu_share < IDLE_ENOUGH_SHARE else Bottleneck.MIXED


def network_text(network_share: float | None) -> str:
    """The network's part of an explanation, empty where it is unknown.

    >>> network_text(0.934), network_text(None)
    (', busiest network link 93 % of its speed', '')
    """
    if network_share is None:
        return ""
    return f", busiest network link {100 * network_share:.0f} % of its speed"


def busiest_link(shares: list[float | None]) -> float | None:
    """The most of what ranks saw of their hosts' links; None where none is known."""
    return max((share for share in shares if share is not None), default=None)
