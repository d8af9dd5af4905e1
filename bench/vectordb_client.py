"""What the client itself costs: the closed loop against a backend that answers at once.

    python bench/vectordb_client.py [seconds]

Prints queries per second of one process, the median of five windows; the loop's own time is what
is left of a request when the engine takes none. The floor is 20,000 queries/s.
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

from mlpstorage.kinds.vectordb.search import Stream, closed_loop

POOL, DIMENSION, K, KNOWN = 100_000, 768, 10, 1000
FLOOR = 20_000


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    pool = np.zeros((POOL, DIMENSION), np.float32)
    answer = np.arange(K, dtype=np.int64)[None]
    rates = []
    for number in range(5):
        stream = Stream(POOL, 0, 1, number, 1)
        window = closed_loop(lambda _queries: answer, pool, stream, seconds=seconds, known=KNOWN)
        rates.append(len(window.latencies) / window.seconds)
    rate = statistics.median(rates)
    print(f"client alone: {rate:.0f} queries/s per process, {1e6 / rate:.2f} µs per query")
    if rate < FLOOR:
        sys.exit(f"below the floor of {FLOOR} queries/s")


if __name__ == "__main__":
    main()
