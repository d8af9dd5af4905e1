"""The process beside the benchmark that asks every host for a sample at fixed moments.

    python -m mlpstorage.watch.collector

The first line of standard input is its task; when the input ends it takes a last sample of every
host and ends. It ends as well when its parent does. Samples are due at t0 + k × interval of its
monotonic clock: a late one is not shifted, a missed one is a gap, none is invented.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.units import format_seconds
from mlpstorage.watch.probe import OWN_PID, HostLostError, Probe, files_of
from mlpstorage.watch.samples import Layout, catalogue, parse_sample
from mlpstorage.watch.series import SCHEMA, SeriesWriter
from mlpstorage.watch.snapshot import measure_clock
from mlpstorage.watch.sources import CLOCK_TICKS, PAGE_SIZE
from mlpstorage.watch.ssh import is_this_host, transport_for

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from mlpstorage.watch.probe import Answer, Channel
    from mlpstorage.watch.ssh import Transport

_NS = 10**9
_ANSWER_SECONDS = 30.0
_MOST_HANDSHAKES = 32
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0
_LOOK_SECONDS = 1.0
# For the last samples and clocks of all hosts; one that is silent takes all of it.
_STOP_SECONDS, _STOP_SECONDS_PER_HOST = 5.0, 0.02
_WHO = {
    "hostname": "proc/sys/kernel/hostname",
    "boot_id": "proc/sys/kernel/random/boot_id",
    "kernel": "proc/version",
    "clock_ticks_per_second": CLOCK_TICKS,
    "page_bytes": PAGE_SIZE,
    "probe_pid": OWN_PID,
}


def stop_seconds(hosts: int) -> float:
    """The most time from being told to stop to the end."""
    return _STOP_SECONDS + hosts * _STOP_SECONDS_PER_HOST


@dataclass(frozen=True)
class Schedule:
    """The moments at which samples are due, on our monotonic clock."""

    start_ns: int
    interval_ns: int

    def due_ns(self, number: int) -> int:
        """When a sample is due."""
        return self.start_ns + number * self.interval_ns

    def current(self) -> int:
        """The last sample that is due by now."""
        return (time.monotonic_ns() - self.start_ns) // self.interval_ns


class HostStream:
    """One host's part of the series: connects, samples, notes gaps, comes back.

    Args:
        name: The host.
        transport: How to reach it.
        schedule: When samples are due.
        write: Takes a record; raises OSError when it cannot be kept.
    """

    def __init__(
        self,
        name: str,
        transport: Transport,
        schedule: Schedule,
        write: Callable[[dict[str, Any]], None],
    ) -> None:
        self._name, self._transport, self._schedule = name, transport, schedule
        self._write = write
        self._layout = Layout()
        self._next = 0
        self._reason = "the host was not reached in time"
        self._is_lost = False
        self._loop: tuple[str | None, str | None] = None, None
        self._wait = _FIRST_WAIT_SECONDS

    async def run(self, stop: asyncio.Event, gate: asyncio.Semaphore) -> None:
        """Sample until told to stop, through any number of losses."""
        try:
            while not stop.is_set():
                await self._visit_or_wait(stop, gate)
        except asyncio.CancelledError:
            if not self._is_lost:
                self._reason = "no answer before the end"
            raise
        finally:
            last = self._schedule.current()
            if self._next <= last:
                self._note(self._gap(last))

    async def _visit_or_wait(self, stop: asyncio.Event, gate: asyncio.Semaphore) -> None:
        try:
            await self._visit(stop, gate)
        except (HostLostError, OSError) as error:
            reason = error.what if isinstance(error, HostLostError) else str(error)
            if not self._is_lost:  # what came first is the cause of the gap
                self._reason, self._is_lost = reason, True
            self._note({"kind": "lost", "seq": self._next, "reason": reason})
            await _sleep(self._wait, stop)
            self._wait = min(2 * self._wait, _LONGEST_WAIT_SECONDS)

    async def _visit(self, stop: asyncio.Event, gate: asyncio.Semaphore) -> None:
        """One connection, from its beginning to its end."""
        async with gate:
            probe = Probe(await _unless(stop, self._transport.open(self._name)))
        try:
            await probe.start(self._schedule.interval_ns / _NS)
            await self._introduce(probe)
            while not stop.is_set():
                await self._sample_when_due(probe, stop)
            # The end of the run is between two moments: this sample is taken at once.
            await self._sample(probe, self._next, time.monotonic_ns(), "end")
            clock = await measure_clock(probe)
            self._keep({"kind": "clock", "clock": asdict(clock) if clock else None, "at": "end"})
        finally:
            await probe.close()

    async def _introduce(self, probe: Probe) -> None:
        names = [f"/{path}" for path in _WHO.values() if path.startswith("proc/")]
        texts = files_of((await probe.ask("f", names, seconds=_ANSWER_SECONDS)).text)
        texts.update(files_of((await probe.ask("i", seconds=_ANSWER_SECONDS)).text))
        clock = await measure_clock(probe)
        known = {key: texts.get(path, "").strip() or None for key, path in _WHO.items()}
        await self._end_former(probe, (known["boot_id"], known["probe_pid"]))
        self._keep(
            {
                "kind": "meta",
                **known,
                "transport": type(self._transport).__name__,
                "clock": asdict(clock) if clock else None,
                "at": "start" if not self._next else "return",
            }
        )

    async def _end_former(self, probe: Probe, loop: tuple[str | None, str | None]) -> None:
        """End the loop of a connection that broke: its host may not have noticed for hours."""
        (boot, pid), self._loop = self._loop, loop
        if pid is not None and pid.isdecimal() and boot == loop[0] and pid != loop[1]:
            await probe.ask("x", [pid], seconds=_ANSWER_SECONDS)

    async def _sample_when_due(self, probe: Probe, stop: asyncio.Event) -> None:
        number = max(self._next, self._schedule.current())
        due = self._schedule.due_ns(number)
        if (early := due - time.monotonic_ns()) > 0:
            await _sleep(early / _NS, stop)
            if stop.is_set():
                return
        await self._sample(probe, number, due, "run")

    async def _sample(self, probe: Probe, number: int, due_ns: int, phase: str) -> None:
        answer = await probe.ask("s", seconds=_ANSWER_SECONDS)
        if number > self._next:
            self._keep(self._gap(number - 1))
            self._next = number
        for record in self.records(answer, number, due_ns, phase):
            self._keep(record)
        self._next = number + 1
        self._wait, self._is_lost = _FIRST_WAIT_SECONDS, False
        late = answer.round_trip_ns / _NS
        self._reason = f"the answer before took {format_seconds(late)}"

    def records(
        self, answer: Answer, number: int, due_ns: int, phase: str
    ) -> Sequence[dict[str, Any]]:
        """The sample of an answer, after the new layout if the names have changed."""
        sample = parse_sample(answer.text)
        record = {
            "kind": "sample",
            "seq": number,
            "phase": phase,
            "due_mono_ns": due_ns,
            "sent_mono_ns": answer.sent_mono_ns,
            "received_mono_ns": answer.received_mono_ns,
            "sent_wall_ns": answer.sent_wall_ns,
            "host_uptime_s": sample.uptime_seconds,
            **sample.values,
        }
        if sample.missing:
            record["missing"] = sample.missing
        if sample.errors:
            record["errors"] = sample.errors
        if sample.layout == self._layout:
            return (record,)
        self._layout = sample.layout
        return {"kind": "layout", **asdict(sample.layout)}, record

    def _gap(self, last: int) -> dict[str, Any]:
        return {"kind": "gap", "from_seq": self._next, "to_seq": last, "reason": self._reason}

    def _keep(self, record: dict[str, Any]) -> None:
        self._write({"kind": record["kind"], "host": self._name, **record})

    def _note(self, record: dict[str, Any]) -> None:
        """Keep it if that is possible: what cannot be written cannot say so either."""
        try:
            self._keep(record)
        except OSError as error:
            sys.stderr.write(f"{self._name}: {error}\n")


async def _unless(stop: asyncio.Event, opening: Coroutine[Any, Any, Channel]) -> Channel:
    """The opened channel, unless told to stop before: a dead host must not delay the end."""
    task, told = asyncio.ensure_future(opening), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HostLostError("not reached before the end")
        return await task
    finally:
        told.cancel()
        task.cancel()
        await asyncio.wait({task})


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, but wake when told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except asyncio.TimeoutError:
        return


async def collect(
    names: Sequence[str],
    interval_seconds: float,
    writer: SeriesWriter,
    stop: asyncio.Event,
    transport: Callable[[str], Transport] = transport_for,
) -> None:
    """Sample the hosts until told to stop, and write what they say.

    Raises:
        OSError: not even the head can be written.
    """
    schedule = Schedule(time.monotonic_ns(), round(interval_seconds * _NS))
    writer.write(
        {
            "kind": "head",
            "schema": SCHEMA,
            "interval_seconds": interval_seconds,
            "hosts": list(names),
            "method": "local" if all(map(is_this_host, names)) else "ssh",
            "collector": socket.gethostname(),
            "start_mono_ns": schedule.start_ns,
            "start_wall_ns": time.time_ns(),
            "columns": catalogue(),
        }
    )
    gate = asyncio.Semaphore(_MOST_HANDSHAKES)
    streams = [HostStream(name, transport(name), schedule, writer.write) for name in names]
    tasks = [asyncio.ensure_future(stream.run(stop, gate)) for stream in streams]
    await stop.wait()
    _, late = await asyncio.wait(tasks, timeout=stop_seconds(len(names)))
    for task in late:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    writer.write({"kind": "end", "end_wall_ns": time.time_ns(), "cut_short": len(late)})


async def _stop_with_parent(parent: int, stop: asyncio.Event) -> None:
    """Set `stop` when the input or the parent ends; either may come without the other."""
    loop = asyncio.get_running_loop()

    def on_input() -> None:
        if not os.read(sys.stdin.fileno(), 1 << 12):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), on_input)
    while os.getppid() == parent and not stop.is_set():
        await _sleep(_LOOK_SECONDS, stop)
    stop.set()


async def _main(task: dict[str, Any], parent: int) -> None:
    stop = asyncio.Event()
    watch = asyncio.ensure_future(_stop_with_parent(parent, stop))
    writer = SeriesWriter(Path(task["path"]))
    try:
        await collect(task["hosts"], task["interval_seconds"], writer, stop)
    finally:
        watch.cancel()
        writer.close()


def main() -> None:
    """Read the task and do it."""
    parent = os.getppid()
    line = sys.stdin.buffer.readline()  # nothing else is ever sent, so nothing is read ahead
    if line:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection is a descriptor
        asyncio.run(_main(json.loads(line), parent))


if __name__ == "__main__":
    main()
