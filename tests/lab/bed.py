"""The lab as its owner holds it; the owner's own process stays where it is."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from lab.host import Host
from lab.inventory import Inventory
from lab.needs import LabError, missing
from lab.network import CONTROLLER, MOST_HOSTS, places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

_TESTS = Path(__file__).resolve().parents[1]
_START_LIMIT_SECONDS = 70
_STOP_LIMIT_SECONDS = 60


class Lab:
    """Hosts h1, h2 … and a controller, while the `with` block lasts.

    Args:
        hosts: How many hosts besides the controller.
        share: Folders that all of them see although they lie in a private place (/tmp, /var/tmp,
            /dev/shm, /run, root's home), as a shared file system would be.

    Raises:
        LabError: on entry, the machine cannot have a lab, or it did not start.
    """

    def __init__(self, hosts: int, *, share: Iterable[str | os.PathLike[str]] = ()) -> None:
        if not 1 <= hosts <= MOST_HOSTS:
            raise LabError(f"a lab has 1 to {MOST_HOSTS} hosts, not {hosts}")
        self._places = places(hosts)
        self._share = [Path(folder).resolve(strict=True) for folder in share]
        self._all: dict[str, Host] = {}
        self._warden: subprocess.Popen[str] | None = None

    def __enter__(self) -> Lab:
        why = missing()
        if why:
            raise LabError(why)
        argv = [sys.executable, "-m", "lab.warden", str(len(self._places) - 1)]
        self._warden = subprocess.Popen(
            [*argv, *map(str, self._share)],
            env={**os.environ, "PYTHONPATH": str(_TESTS)},
            cwd="/",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt from the terminal is the owner's to handle
        )
        try:
            inventory = Inventory.from_line(_first_line(self._warden))
        except BaseException:
            self._stop()
            raise
        self._all = {place.name: Host(place, inventory) for place in self._places}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = self._stop()
        for host in self._all.values():
            host.close()
        if code and error is None:
            raise LabError("the lab was not cleared away", why="the warden's words are above")

    def _stop(self) -> int:
        """Tell the warden to clear away; its exit code."""
        if self._warden is None or self._warden.stdin is None or self._warden.stdout is None:
            return 0
        self._warden.stdin.close()
        code = self._warden.wait(_STOP_LIMIT_SECONDS)
        self._warden.stdout.close()
        return code

    @property
    def warden(self) -> int:
        """The process id of the lab's warden."""
        return self._warden.pid if self._warden else 0

    @property
    def names(self) -> list[str]:
        """The hosts' names, without the controller's."""
        return [place.name for place in self._places if place.name != CONTROLLER]

    @property
    def controller(self) -> Host:
        """The host from which the others are used."""
        return self._all[CONTROLLER]

    def host(self, name: str) -> Host:
        """A host by its name.

        Raises:
            LabError: there is none, or the lab does not run.
        """
        if name not in self._all:
            raise LabError(f"no host {name} in the lab", fix=f"use one of: {', '.join(self.names)}")
        return self._all[name]

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/tmp",  # noqa: S108 (the controller's own)
        timeout: float = 60,
        check: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the controller; see `Host.run`."""
        return self.controller.run(argv, env=env, cwd=cwd, timeout=timeout, check=check)

    def popen(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = "/tmp",  # noqa: S108 (the controller's own)
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command on the controller; see `Host.popen`."""
        return self.controller.popen(
            argv, env=env, cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr
        )


def _first_line(warden: subprocess.Popen[str]) -> str:
    line = ""
    if warden.stdout and select.select([warden.stdout], [], [], _START_LIMIT_SECONDS)[0]:
        line = warden.stdout.readline()
    if not line:
        warden.terminate()
        raise LabError("the lab did not start", why="the warden's words are above")
    return line
