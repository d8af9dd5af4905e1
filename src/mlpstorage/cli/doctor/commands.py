"""The action of `mlpstorage doctor`."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.doctor.asked import needs_of
from mlpstorage.cli.surroundings import deliver
from mlpstorage.core.errors import EXIT_OK
from mlpstorage.core.problems import ProblemsError
from mlpstorage.core.section import Section, Table
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.preflight.checks import CHECKS, examine
from mlpstorage.preflight.findings import Severity
from mlpstorage.preflight.hints import system_name
from mlpstorage.report.show import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.doctor.options import DoctorOptions
    from mlpstorage.preflight.checks import Check, Examination
    from mlpstorage.preflight.facts import HostFacts, PlaceFacts
    from mlpstorage.preflight.needs import Place

_NOT_NEEDED = "not needed"
_OK = "ok"
_PARTLY = "ok where asked"
_HERE = "this host"


def doctor(options: DoctorOptions, _sources: Mapping[str, str]) -> int:
    """Check, and show everything found; the exit code is the first error's."""
    needs = needs_of(options)
    began = time.monotonic()
    done = examine(needs)
    document = {"seconds": time.monotonic() - began, **_document(done)}
    sections = (_hosts(done), *_places(done), _checks(done), _found(done))
    deliver(partial(publish, sections, document, as_json=options.json))
    return done.errors[0].exit_code if done.errors else EXIT_OK


def _document(done: Examination) -> dict[str, Any]:
    return {
        "ok": not done.errors,
        "errors": len(done.errors),
        "warnings": len(done.warnings),
        "hosts": [_host_document(host) for host in done.facts.all],
        "directories": [
            {"host": host.name or _HERE, "path": str(place.path), **asdict(told)}
            for place, host, told in _seen(done)
        ],
        "checks": [
            {"id": check.id, "title": check.title, "result": _result(check, done)}
            for check in CHECKS
        ],
        "findings": [finding.as_dict() for finding in done.findings],
    }


def _host_document(host: HostFacts) -> dict[str, Any]:
    system, imports = host.system, host.imports
    return {
        "host": host.name or _HERE,
        "reached": host.reached,
        "seconds": host.seconds,
        "system": system_name(system.os_release, system.platform) if system else None,
        "python": host.python.version if host.python else None,
        "mlpstorage": imports.mlpstorage if imports else None,
        "mpi_library": imports.library if imports else None,
        "clock_offset_seconds": host.clock.offset_seconds if host.clock else None,
        "clock_error_seconds": host.clock.error_seconds if host.clock else None,
        "memory_available_bytes": system.memory_available_bytes if system else None,
        "open_files": system.open_files if system else None,
        "locked_bytes": system.locked_bytes if system else None,
    }


def _result(check: Check, done: Examination) -> str:
    """What came of a check; `ok where asked` when a host did not answer for it."""
    if not check.applies(done.needs):
        return _NOT_NEEDED
    mine = [finding.severity for finding in done.findings if finding.check == check.id]
    if mine:
        return "error" if Severity.ERROR in mine else "warning"
    silent = len(done.facts.hosts) < len(done.needs.hosts) or not all(
        host.finished for host in done.facts.all
    )
    return _PARTLY if check.per_host and silent else _OK


def _hosts(done: Examination) -> Section:
    head = ("host", "system", "Python", "mlpstorage", "clock", "free memory", "answered in")
    return Section(
        f"hosts: {len(done.facts.all)}",
        table=Table(head, tuple(_host_row(host) for host in done.facts.all)),
    )


def _host_row(host: HostFacts) -> tuple[str, ...]:
    system = host.system
    memory = system.memory_available_bytes if system else None
    return (
        host.name or _HERE,
        system_name(system.os_release, system.platform) if system else "-",
        host.python.version if host.python else "-",
        (host.imports.mlpstorage if host.imports else None) or "-",
        _clock(host),
        "-" if memory is None else format_bytes(memory),
        format_seconds(host.seconds) if host.reached else "-",
    )


def _clock(host: HostFacts) -> str:
    if host.is_local or host.clock is None:
        return "-"
    sign = "+" if host.clock.offset_seconds >= 0 else "-"
    return f"{sign}{format_seconds(abs(host.clock.offset_seconds))}"


def _seen(done: Examination) -> list[tuple[Place, HostFacts, PlaceFacts]]:
    """Every directory, as each host that was asked for it sees it."""
    return [
        (place, host, host.places[place.name])
        for place in done.needs.places
        for host in done.facts.all
        if place.name in host.places
    ]


def _places(done: Examination) -> tuple[Section, ...]:
    """What the directories are on; one that is missing may be a filesystem that is not mounted."""
    body = tuple(
        (
            place.name,
            str(place.path),
            host.name or _HERE,
            told.filesystem or "-",
            format_bytes(told.free_bytes),
            "" if told.exists else f"is not there: it would be made in {told.base}",
        )
        for place, host, told in _seen(done)
    )
    head = ("directory", "path", "host", "filesystem", "free", "")
    return (Section("directories", table=Table(head, body)),) if body else ()


def _checks(done: Examination) -> Section:
    found = [(check.title, _result(check, done)) for check in CHECKS]
    body = tuple(row for row in found if row[1] != _NOT_NEEDED)
    left_out = f"{len(found) - len(body)} others are not needed for this"
    return Section("checks", lines=(left_out,), table=Table(("check", "result"), body))


def _found(done: Examination) -> Section:
    """Everything found, in the form in which a benchmark would refuse to start."""
    lines: list[str] = []
    for finding in done.findings:
        text = str(ProblemsError([finding.as_problem()]))
        if finding.severity is Severity.WARNING:
            text = text.replace("error:", "warning:", 1)
        lines += text.splitlines()
    title = f"{_counted(len(done.errors), 'error')}, {_counted(len(done.warnings), 'warning')}"
    return Section(title, lines=tuple(lines))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
