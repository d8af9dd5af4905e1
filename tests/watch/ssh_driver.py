"""What tests run on the controller of a lab.

`python ssh_driver.py snapshot HOST...` prints the snapshot as JSON.
`python ssh_driver.py collect LINES INTERVAL KEEPALIVE HOST...` samples until its input ends, with
a keepalive of its own so that tests need not wait for the usual one.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.watch.collector import collect
from mlpstorage.watch.series import SeriesWriter
from mlpstorage.watch.snapshot import snapshot
from mlpstorage.watch.ssh import AsyncsshTransport


def _snapshot(*hosts: str) -> None:
    found = snapshot(parse_hosts(hosts))
    json.dump({"warnings": found.warnings, **found.cluster.as_dict()}, sys.stdout)


def _collect(lines: str, interval: str, keepalive: str, *hosts: str) -> None:
    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
        writer = SeriesWriter(Path(lines))
        route = AsyncsshTransport(float(keepalive))
        await collect(hosts, float(interval), writer, stop, lambda _: route)
        writer.close()

    asyncio.run(run())


if __name__ == "__main__":
    {"snapshot": _snapshot, "collect": _collect}[sys.argv[1]](*sys.argv[2:])
