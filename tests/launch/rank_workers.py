"""Workers that the tests have ranks run; each behaves in one way that a launcher must handle."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import AccessError
from mlpstorage.core.events import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm

Argument = dict[str, Any]


def who(argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Report some progress, and say who this rank is."""
    emit(Progress(comm.rank, "counting", 1, 1, "steps", 0))
    gathered = comm.gather({"rank": comm.rank, "word": argument.get("word")})
    comm.barrier()
    return {
        "size": comm.size,
        "local": [comm.local_rank, comm.local_size],
        "gathered": gathered,
        "variable": os.environ.get("MLPSTORAGE_TEST_VARIABLE"),
    }


def staggered(argument: Argument, comm: Comm, _: object) -> dict[str, Any]:
    """Meet at barriers after random delays, noting when this rank came and left."""
    delay = random.Random(comm.rank)  # noqa: S311 - not a secret
    came, left = [], []
    for _turn in range(argument["turns"]):
        time.sleep(delay.choice([0, 0, 0, 0.0002, 0.004]))
        came.append(time.monotonic_ns())
        comm.barrier()
        left.append(time.monotonic_ns())
    return {"came": came, "left": left}


def junk_and_big(argument: Argument, _: Comm, __: object) -> dict[str, Any]:
    """Write rubbish wherever a library could, then return a big result."""
    print("a banner of some library")  # noqa: T201 - that is the test
    os.write(1, b"half a line without an end")
    os.system("echo from a child process")  # noqa: S605 - writes to descriptor 1
    return {"payload": "x" * argument["bytes"]}


def suicide(argument: Argument, comm: Comm, _: object) -> dict[str, Any]:
    """One rank kills itself while the others wait for it or sleep."""
    comm.barrier()
    if comm.rank == argument["who"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if argument.get("others") == "wait":
        comm.barrier()
    time.sleep(120)
    return {}


def failing(argument: Argument, comm: Comm, _: object) -> dict[str, Any]:
    """One rank raises, the others wait for it at a barrier."""
    if comm.rank == argument["who"]:
        if argument.get("known"):
            raise AccessError("cannot write here", why="it is read-only", fix="remount it")
        raise ValueError("a surprise\nin two lines")
    comm.barrier()
    return {}


def leaves(argument: Argument, comm: Comm, _: object) -> dict[str, Any]:
    """One rank ends its process without a word."""
    comm.barrier()
    if comm.rank == argument["who"]:
        print("last words", file=sys.stderr, flush=True)  # noqa: T201 - the log must show them
        os._exit(argument["code"])
    comm.barrier()
    return {}


def exits(_: Argument, __: Comm, ___: object) -> dict[str, Any]:
    """Call sys.exit(0), as a script would."""
    sys.exit(0)


def skips_barrier(_: Argument, comm: Comm, __: object) -> dict[str, Any]:
    """Rank 1 makes one collective call fewer than the others."""
    if comm.rank != 1:
        comm.barrier()
    return {}


def sleeps(_: Argument, __: Comm, ___: object) -> dict[str, Any]:
    """Do nothing for long, as if in a read that does not return, with a child of its own."""
    pid = os.fork()
    if pid == 0:
        time.sleep(120)
        os._exit(0)
    time.sleep(120)
    return {}


def stubborn(_: Argument, __: Comm, ___: object) -> dict[str, Any]:
    """Ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(120)
    return {}


def not_json(_: Argument, comm: Comm, __: object) -> dict[str, Any]:
    """Return what JSON cannot say, on rank 1."""
    return {"set": {1}} if comm.rank == 1 else {}


def steps(argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Work in step until the user wants to stop; every step takes a while."""
    done = 0
    for step in range(argument["steps"]):
        time.sleep(argument.get("first", argument["seconds"]) if step == 0 else argument["seconds"])
        done = step + 1
        if step == 0:
            emit(Progress(comm.rank, "working", done, argument["steps"], "steps", 0))
        if done < argument["steps"] and comm.stopping.step_done():
            break
    return {"done": done}


def alone(argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Work without the others; the first rank has less to do."""
    count = argument["steps"] // (10 if comm.rank == 0 else 1)
    done = 0
    while done < count and not comm.stopping.heard():
        time.sleep(argument["seconds"])
        done += 1
        if done == 1:
            emit(Progress(comm.rank, "working", done, count, "files", 0))
    return {"done": done}


def deaf(_: Argument, comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Ignore SIGTERM, and say so."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    comm.barrier()
    emit(Progress(comm.rank, "working", 1, 2, "steps", 0))
    time.sleep(120)
    return {}


def last_step(argument: Argument, comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do the last step, after which there is nothing left to stop."""
    emit(Progress(comm.rank, "working", 0, 1, "steps", 0))
    time.sleep(argument["seconds"])
    comm.barrier()
    return {"done": 1}
