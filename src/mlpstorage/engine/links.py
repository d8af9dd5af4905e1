"""How much of its network a host uses: storage is often reached over it.

Only links whose speed is known tell something: Ethernet adapters by `/sys/class/net` (megabits per
second; virtual ones make their speed up, and carry the bytes of real ones a second time), and the
ports of InfiniBand and RoCE adapters, whose bytes no Ethernet counter has, by
`/sys/class/infiniband` (words of four bytes).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSFS = Path("/sys/class")
_GIGABIT = re.compile(r"([0-9.]+) *Gb/sec")
_PORT_WORD_BYTES = 4


@dataclass(frozen=True)
class Link:
    """A link's speed in each direction, and the bytes that it has carried so far."""

    bytes_per_second: float
    received: int
    sent: int


def links_now(sysfs: Path = SYSFS) -> dict[str, Link]:
    """All links of this host whose speed is known, by name; virtual machines often have none."""
    return dict([*_ethernet(sysfs / "net"), *_ports(sysfs / "infiniband")])


def busiest_share(before: dict[str, Link], after: dict[str, Link], seconds: float) -> float | None:
    """The largest part of its speed that any link carried in one direction, 0 to 1; None: unknown.

    >>> busiest_share({"a": Link(100.0, 0, 0)}, {"a": Link(100.0, 950, 20)}, 10.0)
    0.95
    """
    if seconds <= 0:
        return None
    shares = [
        max(after[name].received - link.received, after[name].sent - link.sent)
        / (link.bytes_per_second * seconds)
        for name, link in before.items()
        if name in after
    ]
    return max(shares, default=None)


def _ethernet(folder: Path) -> Iterator[tuple[str, Link]]:
    for path in _entries(folder):
        speed = _number(path / "speed")  # an error, 0 or -1 where there is none
        received, sent = (_number(path / "statistics" / f"{way}_bytes") for way in ("rx", "tx"))
        if (path / "device").exists() and speed and speed > 0 and None not in (received, sent):
            yield path.name, Link(speed * 1e6 / 8, received or 0, sent or 0)


def _ports(folder: Path) -> Iterator[tuple[str, Link]]:
    for adapter in _entries(folder):
        for port in _entries(adapter / "ports"):
            rate = _GIGABIT.match(_text(port / "rate"))
            received, sent = (
                _number(port / "counters" / f"port_{way}_data") for way in ("rcv", "xmit")
            )
            if rate and float(rate[1]) and received is not None and sent is not None:
                words = (received * _PORT_WORD_BYTES, sent * _PORT_WORD_BYTES)
                yield f"{adapter.name}/{port.name}", Link(float(rate[1]) * 1e9 / 8, *words)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:  # a link that is down, or of a kind that does not count
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else None
