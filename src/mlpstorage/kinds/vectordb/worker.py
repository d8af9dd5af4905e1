"""What one rank does in `vectordb run`: one client, and on rank 0 the preparation as well.

    rank 0        load and index, if that is not done
    all           open; calibrate the effort; measure the recall over all known queries
    every point   caches into their state; ramp; the measured window

The ranks that a point does not need wait at its barriers. Before each of these steps they ask
together whether the user wants to stop; then the rest is left out.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

from mlpstorage.kinds.vectordb.generator import ONE_THREAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm

_PR_SET_TIMERSLACK = 29


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do everything that this rank has to do; its record.

    Raises:
        MlpstorageError: the data set, the collection or the environment is not as asked.
    """
    # A client is one thread, and so is its arithmetic; the BLAS reads this when numpy is imported.
    os.environ.update(ONE_THREAD)
    # The default slack of 50 µs would delay every arrival of an open loop.
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    import msgspec

    from mlpstorage.kinds.vectordb.client import Argument, Client
    from mlpstorage.kinds.vectordb.wish import shielded

    wanted = msgspec.convert(argument, Argument)
    with shielded():
        done: dict[str, Any] = msgspec.to_builtins(Client(wanted, comm, emit).run())
    return done
