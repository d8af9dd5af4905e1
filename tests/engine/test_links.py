"""How busy links are, from trees of files as the kernel lays them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpstorage.engine.links import Link, busiest_share, links_now

if TYPE_CHECKING:
    from pathlib import Path


def ethernet(
    sysfs: Path, name: str, speed: str, received: int, sent: int, *, real: bool = True
) -> None:
    """An adapter as /sys/class/net shows it."""
    folder = sysfs / "net" / name
    (folder / "statistics").mkdir(parents=True, exist_ok=True)
    (folder / "speed").write_text(f"{speed}\n")
    (folder / "statistics" / "rx_bytes").write_text(f"{received}\n")
    (folder / "statistics" / "tx_bytes").write_text(f"{sent}\n")
    if real:
        (folder / "device").mkdir(exist_ok=True)


def port(sysfs: Path, rate: str, words: int) -> None:
    """A port as /sys/class/infiniband shows it."""
    folder = sysfs / "infiniband" / "mlx5_0" / "ports" / "1"
    (folder / "counters").mkdir(parents=True, exist_ok=True)
    (folder / "rate").write_text(f"{rate}\n")
    (folder / "counters" / "port_rcv_data").write_text(f"{words}\n")
    (folder / "counters" / "port_xmit_data").write_text("0\n")


def test_links_have_speeds_and_bytes(tmp_path: Path) -> None:
    """Megabits and gigabits become bytes per second, words of four bytes become bytes."""
    ethernet(tmp_path, "eth0", "25000", 1000, 7)
    port(tmp_path, "200 Gb/sec (4X HDR)", 500)
    assert links_now(tmp_path) == {
        "eth0": Link(25e9 / 8, 1000, 7),
        "mlx5_0/1": Link(200e9 / 8, 2000, 0),
    }


@pytest.mark.parametrize("speed", ["-1", "0", "", "unknown"])
def test_a_link_of_unknown_speed_tells_nothing(tmp_path: Path, speed: str) -> None:
    """Adapters of virtual machines often do not know; neither do links that are down."""
    ethernet(tmp_path, "eth0", speed, 1000, 7)
    assert links_now(tmp_path) == {}


def test_a_made_up_speed_tells_nothing(tmp_path: Path) -> None:
    """A veth says 10 Gb/s, carries more, and no storage is behind it that no adapter counts."""
    ethernet(tmp_path, "veth0", "10000", 1000, 7, real=False)
    assert links_now(tmp_path) == {}


def test_the_busiest_direction_of_the_busiest_link(tmp_path: Path) -> None:
    """Links are full duplex: what came and what went do not add up."""
    for received, sent in ((0, 0), (5_000_000_000, 6_000_000_000)):
        before = links_now(tmp_path)
        ethernet(tmp_path, "eth0", "10000", received, sent)
        ethernet(tmp_path, "eth1", "100000", sent, received)
    assert busiest_share(before, links_now(tmp_path), 5.0) == pytest.approx(0.96)


def test_no_share_without_links_or_time(tmp_path: Path) -> None:
    """Unknown is None, never zero: also for a link that came or went meanwhile."""
    link = {"eth0": Link(1e9, 0, 0)}
    assert busiest_share({}, link, 1.0) is None
    assert busiest_share(link, {}, 1.0) is None
    assert busiest_share(link, link, 0.0) is None
    assert links_now(tmp_path / "nothing") == {}


def test_the_links_of_this_host_are_read() -> None:
    """Whatever this host has, it is read without an error, and counters do not fall."""
    before, after = links_now(), links_now()
    assert before.keys() == after.keys()
    assert all(after[name].received >= link.received for name, link in before.items())
