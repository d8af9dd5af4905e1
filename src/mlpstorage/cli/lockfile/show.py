"""What `lockfile verify` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.section import Row, Section

if TYPE_CHECKING:
    from mlpstorage.preflight.lockfile.model import Lock
    from mlpstorage.preflight.lockfile.verify import HostCheck, Verification

_ORDER = ("error", "warning", "note")


def host_name(check: HostCheck) -> str:
    """The host's name for people."""
    return check.host or "this host"


def check_section(check: HostCheck, lock: Lock) -> Section:
    """One host: how many packages match, then what differs, the worst first."""
    found = sorted(check.differences, key=lambda difference: _ORDER.index(difference.severity))
    rows = tuple(Row(difference.severity, difference.what) for difference in found)
    asked = any(difference.kind == "host" for difference in found)
    matching = "" if asked else f": {check.matched} of {check.total} packages match {lock.path}"
    return Section(f"{host_name(check)}{matching}", rows=rows)


def mending_section(found: Verification) -> Section:
    """The commands that mend everything, each once."""
    return Section("to mend", lines=tuple(dict.fromkeys(p.fix for p in found.problems())))
