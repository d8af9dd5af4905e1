"""A benchmark as a process of its own, for tests that kill it while its hosts are sampled.

`python sampled_parent.py LINES INTERVAL HOST...` prints the collector's pid and waits.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.watch.sampler import Sampler


def main(lines: str, interval: str, *hosts: str) -> None:
    """Sample until standard input ends."""
    with Sampler(parse_hosts(hosts), float(interval), Path(lines)) as sampler:
        sys.stdout.write(f"{sampler.pid}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
