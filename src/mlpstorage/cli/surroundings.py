"""The process around a command: its streams, which may be closed or full, and its signals."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlpstorage.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

    from mlpstorage.core.events import Event
    from mlpstorage.display import Display

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def secure_streams() -> None:
    """Give closed standard streams /dev/null, and let none refuse a character.

    Otherwise the next file that is opened would be taken for the closed stream by all that write
    to it, children included.
    """
    for descriptor in range(3):
        _open_if_closed(descriptor)
    sys.stdout = sys.stdout or _writer(1)
    sys.stderr = sys.stderr or _writer(2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:  # the lowest free number, which open takes, is this one
        os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _writer(descriptor: int) -> io.TextIOWrapper:
    return open(descriptor, "w", encoding="utf-8", closefd=False)


@contextmanager
def signals_end_in_order() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the program as Ctrl-C does: in order, and with a record.

    A signal that is ignored (nohup) stays ignored. While ranks run, the launcher handles signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    default = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in default:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in default:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, _: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


class Audience:
    """A display whose loss does not end a run: when nobody can be shown, the run goes on."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._present = True

    def __enter__(self) -> Audience:
        with self._may_leave():
            self._display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the terminal in order, if it is still there."""
        with self._may_leave():
            self._display.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        """Show an event to whoever is left."""
        if self._present:
            with self._may_leave():
                self._display.show(event)

    @contextmanager
    def _may_leave(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # a closed pipe or a full disk under standard error
            self._present = False
            _silence(2)


def deliver(write: Callable[[], None], *, kept: str = "") -> None:
    """Write to standard output; a reader that has left (such as `| head`) is no error.

    Args:
        write: Writes and flushes.
        kept: The directory that also holds what is written, if there is one.

    Raises:
        ConfigurationError: it cannot be written for another reason, such as a full disk.
    """
    try:
        write()
    except BrokenPipeError:
        _silence(1)
    except OSError as error:
        _silence(1)
        raise ConfigurationError(
            f"cannot write to standard output: {error.strerror}",
            why=f"the run is complete, and its result kept in {kept}" if kept else "",
            fix="free space where the output goes, or send it elsewhere",
        ) from error


def _silence(descriptor: int) -> None:
    """Send what is still buffered to nowhere, or the interpreter would fail on it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
