"""A process that must not outlive its parent asks the kernel to be signalled when the parent ends.

As a script, `python tether.py PARENT SIGNAL PROGRAM ...` does this and becomes the program:
for programs, like mpirun, that cannot ask for it themselves. (A hook between fork and exec could,
but is unsafe as soon as the parent has threads.)
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 1.0


def tie_to_parent(parent: int, signal_number: int) -> None:
    """Have this process signalled when the thread that started it ends.

    If the parent has ended already, the signal comes at once.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal_number)


def die_with_parent() -> None:
    """Have this process, with its group if it leads one, killed within seconds of its parent's end.

    For a rank under MPI. The kernel's signal would come already when the *thread* that started the
    rank ends, and launchers start ranks from threads that end; so a thread looks every second.
    Needed since Open MPI 5 leaves ranks that do not communicate running when its daemon is killed.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_SECONDS)
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="tether", daemon=True).start()


def main(argv: list[str]) -> None:
    """Tie this process to its parent and become the program."""
    parent, signal_number, *program = argv
    tie_to_parent(int(parent), int(signal_number))
    os.execvp(program[0], program)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
