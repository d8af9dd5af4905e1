"""A controller in a process of its own: WAY RUN_DIR WORKER SIZE STOPS_AFTER GRACE ARGUMENT.

Prints each event as a line of JSON, then what came of the run.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import MlpstorageError
from mlpstorage.launch import RankJob
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.launch.local import LocalLauncher
from mlpstorage.launch.mpi import MpiLauncher

if TYPE_CHECKING:
    from mlpstorage.core.events import Event


def show(event: Event) -> None:
    """Print an event."""
    print(json.dumps(event.as_dict()), flush=True)  # noqa: T201 - the test reads it


def main(words: list[str]) -> None:
    """Run the job."""
    way, run_dir, worker, size, stops_after, grace, argument = words
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # as the command line does
    launcher: LocalLauncher | MpiLauncher = LocalLauncher(grace_seconds=float(grace))
    if way == "mpi":
        options = MpiOptions(oversubscribe=True, allow_run_as_root=True)
        launcher = MpiLauncher([Host("localhost")], options, grace_seconds=float(grace))
    job = RankJob(worker, json.loads(argument), int(size), Path(run_dir), stops_after)
    try:
        results = launcher.run(job, show)
    except MlpstorageError as error:
        end = {"error": type(error).__name__, "what": error.what, "why": error.why}
    else:
        end = {"results": [[result.data, result.stopped] for result in results]}
    print(json.dumps({"type": "end", **end}), flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(sys.argv[1:])
