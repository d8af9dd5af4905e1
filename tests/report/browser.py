"""A headless Chromium, spoken to through two pipes: no driver, no library and no port is needed.

The protocol is Chromium's own (DevTools over `--remote-debugging-pipe`): JSON messages that end in
a NUL, in on descriptor 3, out on descriptor 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE_SECONDS = 60.0
# A shell cannot: many know no descriptors above 9.
_AS_3_AND_4 = """
import fcntl, os, sys
here = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for descriptor, target in zip(here, (3, 4)):
    os.dup2(descriptor, target)
os.execv(sys.argv[3], sys.argv[3:])
"""


def chromium() -> str | None:
    """The path of an installed Chromium."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class BrowserError(Exception):
    """The browser refused, or did not answer in time."""


@dataclass
class Page:
    """One open page; `errors` collects what its console says of errors and refused content."""

    to: int
    by: int
    session: str = ""
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""
    _loaded: bool = False

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        """Send a command and wait for its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.to, data) :]
        while True:
            found = self._next()
            if found.get("id") == self._number:
                if "error" in found:
                    raise BrowserError(f"{method}: {found['error']}")
                result: dict[str, Any] = found["result"]
                return result

    def _next(self) -> dict[str, Any]:
        """The next message; events are taken note of."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.by], [], [], max(until - time.monotonic(), 0))
            part = os.read(self.by, 1 << 20) if ready else b""
            if not part:
                raise BrowserError("the browser ended, or did not answer in time")
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(told["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning"}:
            self.errors.append(json.dumps(told["args"])[:500])
        elif method == "Log.entryAdded" and told["entry"]["level"] in {"error", "warning"}:
            self.errors.append(told["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def open(self, path: Path) -> None:
        """Load a file and wait until it is shown."""
        self._loaded = False
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not self._loaded:
            self._next()

    def size(self, width: int, height: int = 900, scale: float = 1) -> None:
        """Give the page a size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=False,
        )  # fmt: skip

    def media(self, *, dark: bool = False, paper: bool = False) -> None:
        """Show the page as in the dark, or as on paper."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        media = "print" if paper else ""
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])

    def run(self, script: str) -> Any:  # noqa: ANN401 (a JSON value)
        """The value of an expression of JavaScript, awaited if it is a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise BrowserError(json.dumps(found["exceptionDetails"])[:800])
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + _PATIENCE_SECONDS
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > until:
                raise BrowserError(f"never true: {condition}")
            self.run("new Promise((done) => setTimeout(done, 20))")

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element."""
        self.pointer(selector, "mousePressed", "mouseReleased")

    def hover(self, selector: str, share: float = 0.5) -> None:
        """Move the mouse over an element, at a share of its width."""
        self.pointer(selector, "mouseMoved", share=share)

    def pointer(self, selector: str, *kinds: str, share: float = 0.5) -> None:
        """Send mouse events to an element, after bringing it into view."""
        box = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.left, b.top, b.width, b.height]; })()"
        )
        self.run("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))")
        for kind in kinds:
            self.call(
                "Input.dispatchMouseEvent", type=kind, x=box[0] + share * box[2],
                y=box[1] + box[3] / 2, button="none" if kind == "mouseMoved" else "left",
                clickCount=0 if kind == "mouseMoved" else 1,
            )  # fmt: skip

    def picture(self, path: Path, *, height: int | None = None, top: float = 0) -> None:
        """Save what is shown, or `height` pixels of the page from `top` on, as PNG."""
        clip: dict[str, Any] = {}
        if height is not None:
            width = self.run("document.documentElement.clientWidth")
            clip = {
                "clip": {"x": 0, "y": top, "width": width, "height": height, "scale": 1},
                "captureBeyondViewport": True,
            }
        found = self.call("Page.captureScreenshot", format="png", **clip)
        path.write_bytes(base64.b64decode(found["data"]))

    def paper(self, path: Path) -> None:
        """Print the page to a PDF file."""
        found = self.call(
            "Page.printToPDF", printBackground=True, paperWidth=8.27, paperHeight=11.7
        )
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Page]:
    """A Chromium with one empty page; `profile` is a directory of its own."""
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    child = subprocess.Popen(
        [
            sys.executable, "-c", _AS_3_AND_4, str(read_commands), str(write_answers), program,
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--no-first-run",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
            f"--user-data-dir={profile}", "about:blank",
        ],
        pass_fds=(read_commands, write_answers),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(read_commands)
    os.close(write_answers)
    page = Page(write_commands, read_answers)
    try:
        target = page.call("Target.createTarget", url="about:blank")["targetId"]
        attached = page.call("Target.attachToTarget", targetId=target, flatten=True)
        page.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        yield page
        page.session = ""
        page.call("Browser.close")
        child.wait(timeout=10)
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait(timeout=10)
        os.close(write_commands)
        os.close(read_answers)
