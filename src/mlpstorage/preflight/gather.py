"""Everything that the checks want to know, found out once: every host is asked in parallel."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import secrets
import shutil
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import ConfigurationError
from mlpstorage.launch.dialects import Family
from mlpstorage.launch.mpi import ask_dialect, find_launcher
from mlpstorage.preflight import dlio
from mlpstorage.preflight.conversation import talk_to_all
from mlpstorage.preflight.facts import Facts, LauncherFacts, host_facts
from mlpstorage.preflight.remote import is_here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.preflight.needs import Needs, Place

_HERE = Host("localhost")
_BLOCK = bytes(4096)
_PLACING_SECONDS = 2.0
# What the launcher starts on every other host to be its hand there.
_HANDS = {
    Family.OPEN_MPI_4: "orted",
    Family.OPEN_MPI_5: "prted",
    Family.MPICH: "hydra_pmi_proxy",
    Family.INTEL: "hydra_pmi_proxy",
}


def gather(needs: Needs) -> Facts:
    """Ask this host and all others, each once, and wait no longer than `needs.most_seconds`."""
    ssh = shutil.which("ssh")
    launcher = _launcher(needs) if needs.uses_mpi else None
    remote = tuple(host for host in needs.hosts if not is_here(host))
    asked = (_HERE, *(remote if ssh else ()))
    token = f".mlpstorage-probe-{secrets.token_hex(6)}"
    with _probe_files(needs, token, at_all=bool(remote)) as probed:
        request = _request(needs, launcher, token, probed)
        talks = talk_to_all(asked, request, most_seconds=needs.most_seconds)
    here = host_facts("", talks[0], is_local=True)
    told = {host.name: talk for host, talk in zip(asked[1:], talks[1:], strict=True)}
    hosts = tuple(
        here.named(host.name)
        if host not in remote
        else host_facts(host.name, told[host.name], is_local=False)
        for host in needs.hosts
        if host not in remote or ssh
    )
    return Facts(here, hosts or ((here,) if not remote else ()), ssh, launcher, frozenset(probed))


def _launcher(needs: Needs) -> LauncherFacts:
    try:
        path = find_launcher(needs.mpi.mpi_bin)
    except ConfigurationError as error:
        return LauncherFacts("", None, error.what, error.why, error.fix, missing=True)
    try:
        return LauncherFacts(path, ask_dialect(path))
    except ConfigurationError as error:
        return LauncherFacts(path, None, error.what, error.why, error.fix)


def launcher_hand(launcher: LauncherFacts | None) -> str:
    """The program beside the launcher that it starts on other hosts; empty where none is there."""
    if launcher is None or launcher.dialect is None:
        return ""
    hand = Path(launcher.path).parent / _HANDS[launcher.dialect.family]
    return str(hand) if hand.exists() else ""


def _library_path(launcher: LauncherFacts | None) -> str:
    """Where Open MPI lets ranks find its library: called by its path, it sets the prefix's."""
    if launcher is None or launcher.dialect is None or not launcher.dialect.family.is_open_mpi:
        return ""
    prefix = Path(launcher.path).parent.parent
    return "" if prefix in {Path("/usr"), Path("/usr/local"), Path("/")} else str(prefix / "lib")


def _request(
    needs: Needs, launcher: LauncherFacts | None, token: str, probed: dict[str, Path]
) -> dict[str, Any]:
    hand = launcher_hand(launcher)
    return {
        "python": sys.executable,
        "mpi": needs.uses_mpi,
        "library_path": _library_path(launcher),
        "packages": [*own_packages(), *(dlio.PACKAGES if needs.engine == dlio.ENGINE else ())],
        "modules": [*dlio.modules(needs.engine_path), *needs.engine_modules]
        if needs.engine == dlio.ENGINE
        else [],
        "programs": [hand] if hand else [],
        "places": [_asked(place, token, probed.get(place.name)) for place in needs.places],
        "endpoints": [
            {"name": point.name, "host": point.host, "port": point.port}
            for point in needs.endpoints
        ],
    }


def _asked(place: Place, token: str, probed_in: Path | None) -> dict[str, Any]:
    return {
        "name": place.name,
        "path": str(place.path.absolute()),
        "write": place.write,
        "direct": place.direct,
        "token": token,
        "probe": token if probed_in else "",
        "probe_directory": str(probed_in) if probed_in else "",
    }


def own_packages() -> tuple[str, ...]:
    """What mlpstorage itself depends on, and mpi4py: ranks should have the same everywhere."""
    required = importlib.metadata.requires("mlpstorage") or []
    plain = [line for line in required if "extra ==" not in line]
    names = (match[0] for line in plain if (match := re.match(r"[\w.-]+", line)))
    return (*sorted(names), "mpi4py")


@contextmanager
def _probe_files(needs: Needs, token: str, *, at_all: bool) -> Iterator[dict[str, Path]]:
    """Make a file in each place that must be shared; where, by the place's name.

    Where this host may not write, or the filesystem hangs, there is none.
    """
    made: dict[str, Path] = {}
    late = threading.Event()
    wanted = [place for place in needs.places if place.shared] if at_all else []

    def make(place: Place) -> None:
        base = place.path.absolute()
        while not base.exists() and base != base.parent:
            base = base.parent
        # Whoever may not write here is told so by the checks; the shared place is then compared
        # by what the hosts see of the directory itself.
        with contextlib.suppress(OSError):
            (base / token).write_bytes(_BLOCK)
            made[place.name] = base
            if late.is_set():
                (base / token).unlink()

    threads = [threading.Thread(target=make, args=(place,), daemon=True) for place in wanted]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PLACING_SECONDS)
    late.set()
    there = dict(made)
    try:
        yield there
    finally:
        for base in set(there.values()):
            with contextlib.suppress(OSError):  # another place's file may be the same one
                (base / token).unlink()
