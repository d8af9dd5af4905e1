"""What a thousand hosts cost the collector: a recorded sample replayed through parser and writer.

    python bench/collection_scale.py --hosts 1000 --samples 20

A sample of this machine is recorded once, given as many disks as asked for, and its counters are
raised from one sample to the next, as a busy host's would be. Each host's answer passes through the
collector's own code (`HostStream.records`, `SeriesWriter`) as it would come from the network; the
network and ssh themselves are left out: see docs/collection.md for what they cost.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from mlpstorage.watch.collector import HostStream, Schedule
from mlpstorage.watch.probe import Answer
from mlpstorage.watch.series import SeriesWriter
from mlpstorage.watch.sources import SAMPLE_FILES
from mlpstorage.watch.ssh import LocalTransport
from mlpstorage.watch.timeseries import write_document
from mlpstorage.watch.untrusted import decoded

NS = 10**9


def recorded(disks: int) -> bytes:
    """A sample of this machine, with that many busy disks."""
    command = ["tail", "-n", "+1", *(f"/{name}" for name in SAMPLE_FILES)]
    text = subprocess.run(command, capture_output=True, check=False).stdout.decode()
    busy = "".join(
        f" 259 {n} nvme{n}n1 81926 53 7340032 95211 40960 7 5242880 41233 12 120344 136444 9 0 72 1"
        " 40 22\n"
        for n in range(disks)
    )
    return text.replace("\n==> /proc/stat <==", f"{busy}\n==> /proc/stat <==").encode()


def later(raw: bytes, number: int) -> bytes:
    """The same host a little later: every long number has grown by the same amount."""
    return re.sub(rb"(?<= )\d{5,15}\b", lambda found: b"%d" % (int(found[0]) + 977 * number), raw)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=20, help="of each host")
    parser.add_argument("--disks", type=int, default=8, help="besides this machine's own")
    parser.add_argument("--interval", type=float, default=10.0, help="seconds, for the figures")
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    raw = recorded(options.disks)
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        replay(options, raw, Path(folder))


def replay(options: argparse.Namespace, raw: bytes, folder: Path) -> None:
    lines = folder / "samples.jsonl"
    writer = SeriesWriter(lines)
    names = [f"h{n}" for n in range(options.hosts)]
    writer.write({"kind": "head", "schema": 1, "interval_seconds": options.interval,
                  "hosts": names, "method": "ssh", "collector": "bench", "start_mono_ns": 0,
                  "start_wall_ns": time.time_ns(), "columns": {}})  # fmt: skip
    schedule = Schedule(0, round(options.interval * NS))
    streams = [HostStream(name, LocalTransport(), schedule, writer.write) for name in names]
    spent, memory = 0.0, []
    for number in range(options.samples):
        answer_bytes, now = later(raw, number), time.monotonic_ns()
        began = time.process_time()
        for name, stream in zip(names, streams, strict=True):
            answer = Answer(decoded(answer_bytes), now, now + 10**6, time.time_ns())
            for record in stream.records(answer, number, now, "run"):
                writer.write({"kind": record["kind"], "host": name, **record})
        spent += time.process_time() - began
        memory.append(resident_mib())
    writer.close()
    count = options.hosts * options.samples
    each, size = spent / count, lines.stat().st_size / count
    per_second = options.hosts / options.interval
    print(f"{options.hosts} hosts, {options.samples} samples each of {len(raw)} bytes")
    print(f"CPU per sample      {each * 1e6:.0f} us: {100 * each * per_second:.1f} % of a core"
          f" at one every {options.interval:g} s")  # fmt: skip
    print(f"memory              {memory[0]:.1f} MiB after the first round,"
          f" {memory[-1]:.1f} MiB after the last")  # fmt: skip
    print(f"file                {size:.0f} bytes per sample,"
          f" {size * per_second * 3600 / (1 << 20):.0f} MiB per hour")  # fmt: skip
    began = time.process_time()
    write_document(lines, folder / "samples.json")
    document = (folder / "samples.json").stat().st_size / count
    named = (time.process_time() - began) / count
    print(f"document            {document:.0f} bytes and {named * 1e6:.0f} us per sample,"
          f" memory {resident_mib():.1f} MiB")  # fmt: skip


if __name__ == "__main__":
    main()
