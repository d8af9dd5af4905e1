"""The record of every host at one moment, asked at the same time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import Host
from mlpstorage.core.units import format_seconds
from mlpstorage.watch import sources
from mlpstorage.watch.clock import ClockReading, clock_offset, parse_clock
from mlpstorage.watch.inventory import HostFailure, cluster_record, host_record
from mlpstorage.watch.limits import limit_files
from mlpstorage.watch.probe import HostLostError, Probe, files_of
from mlpstorage.watch.ssh import is_this_host, transport_for
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpstorage.watch.clock import ClockOffset
    from mlpstorage.watch.inventory import ClusterRecord, HostRecord
    from mlpstorage.watch.ssh import Transport

_HOST_SECONDS = 45.0
_ANSWER_SECONDS = 20.0
_CLOCK_READINGS = 7
_MOST_AT_ONCE = 64  # handshakes cost the launcher some milliseconds each
_LEAST_CLOCK_WARNING_NS = 10**9
_THIS_HOST = (Host("localhost"),)


@dataclass(frozen=True)
class Snapshot:
    """The cluster at one moment; `texts` holds the raw files by host, as evidence."""

    cluster: ClusterRecord
    texts: Mapping[str, Mapping[str, str]]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know, a sentence each: lost hosts, wrong clocks."""
        lost = [f"host {f.host} was not recorded: {f.cause}" for f in self.cluster.failed_hosts]
        wrong = [
            f"the clock of {host.address} is {format_seconds(abs(host.clock.offset_ns) / 1e9)}"
            f" {'ahead of' if host.clock.offset_ns > 0 else 'behind'} the launcher's"
            for host in self.cluster.hosts
            if host.clock and abs(host.clock.offset_ns) > _LEAST_CLOCK_WARNING_NS
        ]
        return (*lost, *wrong)


def snapshot(
    hosts: Sequence[Host] = (),
    *,
    seconds: float = _HOST_SECONDS,
    transport: Callable[[str], Transport] = transport_for,
) -> Snapshot:
    """The record of the hosts, or of this one where none is named.

    A host that cannot be asked is in `cluster.failed_hosts` with its cause; the others are there.

    Args:
        hosts: Whom to ask.
        seconds: The most time for one host, from connecting on.
        transport: How to reach a host of a name.

    Raises:
        UsageError: a name cannot be a host's.
    """
    asked = tuple(hosts) or _THIS_HOST
    routes = [transport(host.name) for host in asked]
    outcomes = asyncio.run(_all(asked, routes, seconds))
    found = [outcome for outcome in outcomes if isinstance(outcome, _Found)]
    local = all(is_this_host(host.name) for host in asked)
    cluster = cluster_record(
        [one.record for one in found],
        method="local" if local else "ssh",
        when=datetime.now(timezone.utc),
        failed=[outcome for outcome in outcomes if isinstance(outcome, HostFailure)],
    )
    return Snapshot(cluster, {one.record.address: one.texts for one in found})


@dataclass(frozen=True)
class _Found:
    record: HostRecord
    texts: Mapping[str, str]


async def _all(
    hosts: Sequence[Host], routes: Sequence[Transport], seconds: float
) -> list[_Found | HostFailure]:
    gate = asyncio.Semaphore(_MOST_AT_ONCE)

    async def one(host: Host, route: Transport) -> _Found | HostFailure:
        async with gate:
            try:
                return await asyncio.wait_for(_record(host.name, route), seconds)
            except HostLostError as error:
                return HostFailure(host.name, error.what, error.fix)
            except asyncio.TimeoutError:
                return HostFailure(host.name, f"not done after {format_seconds(seconds)}")
            except ValueError as error:
                return HostFailure(host.name, printable(str(error)))

    return list(await asyncio.gather(*map(one, hosts, routes)))


async def _record(name: str, route: Transport) -> _Found:
    probe = Probe(await route.open(name))
    try:
        await probe.start()
        texts = await read_files(probe)
        clock = await measure_clock(probe)
    finally:
        await probe.close()
    when = datetime.now(timezone.utc)
    return _Found(host_record(texts, when=when, address=name, clock=clock), texts)


async def read_files(probe: Probe) -> dict[str, str]:
    """All that a host's record needs, the files of its control groups included."""
    names = [f"/{name}" for name in (*sources.FILES, *sources.PATTERNS)]
    texts = files_of((await probe.ask("g", names, seconds=_ANSWER_SECONDS)).text)
    texts.update(files_of((await probe.ask("i", seconds=_ANSWER_SECONDS)).text))
    more = [f"/{name}" for name in limit_files(texts.get)]
    if more:
        texts.update(files_of((await probe.ask("f", more, seconds=_ANSWER_SECONDS)).text))
    return texts


async def measure_clock(probe: Probe, readings: int = _CLOCK_READINGS) -> ClockOffset | None:
    """The offset of the host's clock; None if it has no clock that we can read."""
    found = []
    for _ in range(readings):
        answer = await probe.ask("c", seconds=_ANSWER_SECONDS)
        try:
            host_ns, step_ns = parse_clock(answer.text)
        except ValueError:
            return None
        # Our wall clock may be set meanwhile; only its value at the request counts.
        after = answer.sent_wall_ns + answer.round_trip_ns
        found.append(ClockReading(answer.sent_wall_ns, host_ns, after, step_ns))
    return clock_offset(found)
