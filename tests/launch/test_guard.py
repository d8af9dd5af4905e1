from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mlpstorage.launch import guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., subprocess.Popen[bytes]]

SLEEP = [sys.executable, "-I", "-S", "-c", "print(1, flush=True); import time; time.sleep(100)"]


@pytest.fixture
def mark() -> str:
    """The mark of a run of this test alone."""
    return secrets.token_hex(16)


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process with pipes, in a run if it is given a mark; it is ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(argv: list[str], mark: str | None = None) -> subprocess.Popen[bytes]:
        env = {**os.environ, **({guard.RUN_MARK: mark} if mark else {})}
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def sleeper(start: Start, mark: str) -> subprocess.Popen[bytes]:
    """A running process of a run."""
    process = start(SLEEP, mark)
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    return process


def guarding(start: Start, mark: str, *silence: str) -> subprocess.Popen[bytes]:
    """A guard that has said how many processes there are."""
    process = start([sys.executable, "-m", guard.MODULE, "0", mark, *silence])
    assert process.stdout is not None
    assert process.stdout.readline().startswith(f"{guard.greeting(mark)} has ".encode())
    return process


def test_the_end_kills_the_run_and_nothing_else(start: Start, mark: str) -> None:
    """Told to end, the guard kills what carries the run's mark, says how many, and ends."""
    ours, another = sleeper(start, mark), sleeper(start, secrets.token_hex(16))
    said, _ = guarding(start, mark).communicate(guard.BEAT + guard.ASK + guard.END, timeout=20)
    assert said.endswith(f"{guard.greeting(mark)} ended 1\n".encode())
    assert ours.wait(5) == -9
    assert another.poll() is None


def test_it_counts_the_processes_of_the_run(start: Start, mark: str) -> None:
    """Asked, the guard says how many processes of the run it sees."""
    watching = guarding(start, mark)
    assert watching.stdin is not None
    assert watching.stdout is not None
    sleeper(start, mark)
    watching.stdin.write(guard.ASK)
    watching.stdin.flush()
    assert watching.stdout.readline() == f"{guard.greeting(mark)} has 1\n".encode()


def test_silence_is_the_end_too(start: Start, mark: str) -> None:
    """A controller that says nothing any more is gone, though its connection seems to stand."""
    ours = sleeper(start, mark)
    watching = guarding(start, mark, "0.2")
    assert ours.wait(10) == -9
    assert watching.wait(10) == 0


def test_a_new_guard_takes_the_place_of_the_old(start: Start, mark: str) -> None:
    """The guard of a lost connection is ended by the next one, and the run goes on."""
    ours = sleeper(start, mark)
    first = guarding(start, mark)
    second = guarding(start, mark)
    assert first.wait(5) == -9
    assert second.poll() is None
    assert ours.poll() is None
