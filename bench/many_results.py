"""How long reports and the history take over many runs: CPU seconds, memory, wall seconds.

    python bench/many_results.py [runs]

Makes the runs in a temporary directory, each with a record of real size, and starts the installed
commands on them. Wall seconds mean something on an idle machine only.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from results_made import Results, host, training_summary

_HOSTS = 32


def make(root: Path, runs: int) -> None:
    results = Results(root)
    filler = {"name": "x" * 100, "counters": list(range(40))}
    cluster = {"hosts": [{**host(f"node{n:02d}"), "disks": [filler] * 3} for n in range(_HOSTS)]}
    size = len(json.dumps(cluster))
    print(f"record of about {3 * size / 1000:.0f} kB each")
    for number in range(runs):
        model = f"m{number // 6 % 50}"
        results.add(
            segments=("training", model, "run"),
            model=model,
            summary=training_summary(40 + number % 6 / 10),
            set_id=f"set{number // 6}",
            set_role="measured" if number % 6 else "warm-up",
            seed=number,
            system_info=cluster,
            cluster_snapshots={"start": cluster, "end": cluster},
        )


def measure(*words: str) -> None:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "mlpstorage", *words], check=True, stdout=subprocess.DEVNULL
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{' '.join(words[:2]):20} {cpu:6.2f} s CPU {wall:6.2f} s wall {after.ru_maxrss >> 10} MiB"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        make(Path(name) / "results", int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
        for _ in range(2):
            measure("history", "list", "-rd", f"{name}/results")
            measure("reports", "reportgen", "-rd", f"{name}/results", "-o", f"{name}/out")
