from __future__ import annotations

import subprocess
import sys

# In a process of its own: the mask of signals is inherited by whatever tests start later.
PROGRAM = """
import os, signal, threading, time
from mlpstorage.engine.comm import SoloComm
from mlpstorage.engine.stopping import STOP_SIGNAL, Stopping, signalled_wish
from mlpstorage.kinds.vectordb.wish import Wish, shielded

heard_in_python = signalled_wish()
comm = SoloComm()
comm.stopping = Stopping(comm, heard_in_python)
wish = Wish(comm)
with shielded():
    print(wish.agreed(), wish.waits())
    os.kill(os.getpid(), STOP_SIGNAL)
    time.sleep(0.01)
    seen = []
    watcher = threading.Thread(target=lambda: seen.append(wish.waits()))
    watcher.start()
    watcher.join()
    print(heard_in_python(), seen[0], comm.stopping.stopped)
    print(wish.heard(), wish.agreed(), wish.waits(), comm.stopping.stopped)
    print(STOP_SIGNAL in signal.pthread_sigmask(signal.SIG_BLOCK, []))
print(STOP_SIGNAL in signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_a_wish_waits_while_an_engine_works() -> None:
    """The signal interrupts nothing, any thread sees that it waits, and asking lets it in."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split("\n") == [
        "False False", "False True False", "True True True True", "True", "False", "",
    ]  # fmt: skip
