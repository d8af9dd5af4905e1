"""A controller as a process of its own, for tests that signal or kill it.

`python lone_controller.py local|mpi RUN_DIR WORKER SIZE` prints `rank PID` for every rank that has
started, and at the end the class of the error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import MlpstorageError
from mlpstorage.core.events import RankStarted
from mlpstorage.launch import RankJob
from mlpstorage.launch.dialects import MpiOptions
from mlpstorage.launch.local import LocalLauncher
from mlpstorage.launch.mpi import MpiLauncher

if TYPE_CHECKING:
    from mlpstorage.core.events import Event


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _on_event(event: Event) -> None:
    if isinstance(event, RankStarted):
        _say(f"rank {event.pid}")


def main(way: str, run_dir: str, worker: str, size: str) -> None:
    """Launch, and say what happens."""
    options = MpiOptions(allow_run_as_root=os.geteuid() == 0)
    launcher = LocalLauncher() if way == "local" else MpiLauncher([Host("localhost")], options)
    try:
        launcher.run(RankJob(worker, {}, int(size), Path(run_dir)), _on_event)
    except MlpstorageError as error:
        _say(f"error {type(error).__name__}")


if __name__ == "__main__":
    main(*sys.argv[1:])
