"""A slow network card: frames wait in a relay process before they go on, or are lost.

`tc netem` would do it in the kernel, where the kernel has it; many do not. The relay makes two
TAP devices, one at the switch and one that becomes the host's eth0, and passes frames between
them: `delay.py PORT CARD`, a program of its own. On standard input it takes lines `SECONDS LOSS`,
each of which replaces the settings before it.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

_TUNSETIFF = 0x400454CA
_IFF_TAP_NO_PI = 0x0002 | 0x1000
_FRAMES_AT_ONCE = 64
_LONGEST_FRAME = 65536


def tap(name: str) -> int:
    """Make a TAP device; it lives as long as the descriptor that is returned."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP_NO_PI))
    return descriptor


class Relay:
    """Passes frames between two TAP devices, later than they came.

    Args:
        ends: The descriptors of the two devices.
    """

    def __init__(self, ends: tuple[int, int]) -> None:
        self._other = {ends[0]: ends[1], ends[1]: ends[0]}
        self._waiting: deque[tuple[float, int, bytes]] = deque()
        self._seconds = 0.0
        self._loss = 0.0

    def run(self) -> None:
        """Relay until standard input ends."""
        while True:
            readable, _, _ = select.select([0, *self._other], [], [], self._patience())
            for end in readable:
                if end:
                    self._take(end)
                elif not self._settle():
                    return
            self._pass_on()

    def _patience(self) -> float | None:
        """Seconds until the first waiting frame is due."""
        return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None

    def _settle(self) -> bool:
        words = os.read(0, 4096).decode().splitlines()
        if words:
            self._seconds, self._loss = map(float, words[-1].split())
            sys.stdout.write("set\n")
            sys.stdout.flush()
        return bool(words)

    def _take(self, end: int) -> None:
        try:
            for _ in range(_FRAMES_AT_ONCE):
                frame = os.read(end, _LONGEST_FRAME)
                if random.random() >= self._loss:  # noqa: S311 (no secret)
                    due = time.monotonic() + self._seconds
                    self._waiting.append((due, self._other[end], frame))
        except OSError:  # nothing more to read, or the device is down: frames to it are lost
            return

    def _pass_on(self) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, end, frame = self._waiting.popleft()
            try:
                os.write(end, frame)
            except OSError:  # the device is down or full: a network loses such a frame
                continue


if __name__ == "__main__":
    Relay((tap(sys.argv[1]), tap(sys.argv[2]))).run()
