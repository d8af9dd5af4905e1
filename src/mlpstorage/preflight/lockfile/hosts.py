"""What this host and others have installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.preflight.lockfile import probe
from mlpstorage.preflight.lockfile.model import Facts
from mlpstorage.preflight.lockfile.text import clipped
from mlpstorage.preflight.remote import SSH_FAILED, run_on_hosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.cluster import Host
    from mlpstorage.preflight.remote import RemoteResult

# Reading the metadata of hundreds of packages from a cold network filesystem takes a while.
_LIMIT_SECONDS = 30.0
_NOT_FOUND = 127


def facts_here() -> Facts:
    """What this interpreter finds on this host."""
    found: dict[str, Any] = probe.facts()
    return msgspec.convert(found, Facts)


def facts_of(hosts: Sequence[Host]) -> list[tuple[str, Facts | str]]:
    """What the same interpreter finds on each host, or the cause why that is not known.

    The order is the hosts'; one that fails does not keep the others from being asked.
    """
    source = Path(probe.__file__).read_text(encoding="utf-8")
    argv = [sys.executable, "-"]
    try:
        results = run_on_hosts(hosts, argv, stdin=source, time_limit_seconds=_LIMIT_SECONDS)
    except FileNotFoundError as error:
        cause = f"there is no program {error.filename} here"
        return [(host.name, cause) for host in hosts]
    return [(result.host, _facts(result)) for result in results]


def _facts(result: RemoteResult) -> Facts | str:
    if result.code is None:
        return f"no answer within {_LIMIT_SECONDS:.0f} s"
    last = clipped(next((s for s in reversed(result.err.splitlines()) if s.strip()), ""))
    if result.code == SSH_FAILED:
        return f"ssh failed: {last or 'no reason given'}"
    if result.code == _NOT_FOUND:
        return f"there is no {sys.executable} there"
    line = next((s for s in result.out.splitlines() if s.startswith(probe.MARK)), "")
    if result.code != 0 or not line:
        return f"{sys.executable} ended with code {result.code}: {last or 'it said nothing'}"
    try:
        return msgspec.convert(json.loads(line.removeprefix(probe.MARK)), Facts)
    except (ValueError, msgspec.ValidationError, RecursionError) as error:
        return f"{sys.executable} answered something else: {clipped(error)}"
