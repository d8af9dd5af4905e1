"""Whether the directories can be used: there, writable, shared, apart, with room, with O_DIRECT."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core.units import format_bytes
from mlpstorage.preflight.findings import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.preflight.facts import Facts, HostFacts, PlaceFacts
    from mlpstorage.preflight.needs import Needs, Place

_ACCESS = 4
_NOT_FOUND = 3


def any_place(needs: Needs) -> bool:
    """Whether there are directories at all."""
    return bool(needs.places)


def any_shared(needs: Needs) -> bool:
    """Whether hosts must see the same files somewhere."""
    return any(place.shared for place in needs.places) and len(needs.hosts) > 0


def any_apart(needs: Needs) -> bool:
    """Whether directories belong on different filesystems."""
    return bool(needs.apart)


def any_written(needs: Needs) -> bool:
    """Whether it is known how much will be written."""
    return any(place.bytes_needed for place in needs.places)


def any_direct(needs: Needs) -> bool:
    """Whether files are opened with O_DIRECT."""
    return any(place.direct for place in needs.places)


def _seen(needs: Needs, facts: Facts, place: Place) -> Iterator[tuple[HostFacts, PlaceFacts]]:
    """What each host that uses a place has told of it."""
    for host in facts.using(needs, place.name):
        told = host.places.get(place.name)
        if told is not None:
            yield host, told


def _another(place: Place) -> str:
    return f"choose another {place.option}" if place.option else "choose another directory"


def usable(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """Every directory can be entered, and written where something is written."""
    for place in needs.places:
        for host in facts.using(needs, place.name):
            told = host.places.get(place.name)
            if told is not None:
                ours = facts.here.places.get(place.name)
                if not (_other_files(place, host, told) and ours and ours.exists):
                    yield from _unusable(needs, place, host, told)
            elif host.finished:
                yield Finding(
                    "places.usable",
                    f"the filesystem of the {place.name} directory {place.path} does not answer",
                    why=f"{needs.purpose} would hang there",
                    fix=f"see on that host: findmnt -T {place.path}; dmesg; or {_another(place)}",
                    host=host.name,
                )


def _unusable(needs: Needs, place: Place, host: HostFacts, told: PlaceFacts) -> Iterator[Finding]:
    named = f"the {place.name} directory {place.path}"
    base = "" if told.exists else f" ({told.base} is the nearest that is there)"
    if told.base and not told.is_directory:
        yield Finding(
            "places.usable", f"{told.base} is not a directory", f"{named} is wanted",
            _another(place), host.name,
        )  # fmt: skip
    elif place.must_exist and not told.exists:
        yield Finding(
            "places.usable",
            f"{named} does not exist{base}",
            why=f"{needs.purpose} reads it",
            fix=f"make it, mount its filesystem, or {_another(place)}",
            host=host.name,
            exit_code=_NOT_FOUND,
        )
    elif told.error:
        yield Finding(
            "places.usable",
            f"cannot enter {named}{base}: {told.error}",
            why=f"{needs.purpose} uses it",
            fix=f"let this user in (chmod, chown), or {_another(place)}",
            host=host.name,
            exit_code=_ACCESS,
        )
    elif told.write_error:
        yield Finding(
            "places.usable",
            f"cannot write to {named}{base}: {told.write_error}",
            why=f"{needs.purpose} writes there",
            fix=_write_fix(told.write_error, place),
            host=host.name,
            severity=Severity.ERROR if place.write_required else Severity.WARNING,
            exit_code=_ACCESS,
        )


def _write_fix(error: str, place: Place) -> str:
    mend = {
        "Read-only file system": "remount it read-write",
        "No space left on device": "free space",
        "Disk quota exceeded": "free space or raise the quota",
    }.get(error, "make it writable (chmod, chown)")
    return f"{mend}, or {_another(place)}"


def _other_files(place: Place, host: HostFacts, told: PlaceFacts) -> bool:
    """Whether the host sees another directory than this one does: another check says so."""
    return place.shared and not host.is_local and told.probe_seen is False and not told.error


def shared(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """A file that was made here is seen by every host, or else the directory is the same one."""
    for place in needs.places:
        ours = facts.here.places.get(place.name)
        if not place.shared or ours is None or (place.must_exist and not ours.exists):
            continue  # a file could only be made above it, on a filesystem that may be another
        for host, told in _seen(needs, facts, place):
            if host.is_local:
                continue
            if place.name in facts.probed:
                if _other_files(place, host, told):
                    yield _unshared(place, host, ours, told)
            elif (ours.inode, ours.changed_ns) != (told.inode, told.changed_ns):
                yield _perhaps_unshared(place, host, told)


def _unshared(place: Place, host: HostFacts, ours: PlaceFacts, told: PlaceFacts) -> Finding:
    nearest = "" if told.base == ours.base else f"; the nearest directory there is {told.base}"
    return Finding(
        "places.shared",
        f"it does not see the same files in the {place.name} directory {place.path}",
        why=f"a file made here in {ours.base} ({ours.filesystem}) is not there "
        f"({told.filesystem}){nearest}",
        fix=f"mount the same filesystem at {ours.base} on every host (see: findmnt -T {ours.base})"
        f", or {_another(place)}",
        host=host.name,
    )


def _perhaps_unshared(place: Place, host: HostFacts, told: PlaceFacts) -> Finding:
    return Finding(
        "places.shared",
        f"it may not see the same files in the {place.name} directory {place.path}",
        why=f"no file could be made here to look for, and {told.base} has another inode number or "
        "time of change there",
        fix=f"compare: findmnt -T {place.path}",
        host=host.name,
        severity=Severity.WARNING,
    )


def apart(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """Places that belong on different filesystems are on different ones, seen from this host."""
    for first, second in needs.apart:
        one, other = facts.here.places.get(first), facts.here.places.get(second)
        place = needs.place(second)
        if one is None or other is None or place is None or one.device != other.device:
            continue
        yield Finding(
            "places.apart",
            f"{first} and {second} are on the same filesystem ({one.base}, {other.base})",
            why=f"what goes to {second} would be part of what is measured",
            fix=_another(place),
            severity=Severity.ERROR if needs.apart_required else Severity.WARNING,
        )


def room(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """What will be written fits: all of it in a shared place, a host's share in its own."""
    counts = needs.ranks_by_host()
    for place in needs.places:
        if not place.bytes_needed:
            continue
        for host, told in _seen(needs, facts, place):
            need = place.bytes_needed
            if not place.shared and host.name in counts and needs.ranks:
                need = -(-need * counts[host.name] // needs.ranks)
            if told.base and told.free_bytes < need:
                yield Finding(
                    "places.room",
                    f"the {place.name} directory {place.path} has {format_bytes(told.free_bytes)} "
                    f"free, {format_bytes(need)} are needed",
                    why=f"{needs.purpose} would stop when it is full",
                    fix=f"free {format_bytes(need - told.free_bytes)}, or {_another(place)}",
                    host=host.name,
                )


def direct(needs: Needs, facts: Facts) -> Iterator[Finding]:
    """A block can be read or written there past the page cache."""
    for place in needs.places:
        for host, told in _seen(needs, facts, place):
            if place.direct and told.direct_error:
                yield Finding(
                    "places.direct",
                    f"O_DIRECT does not work in the {place.name} directory {place.path} "
                    f"({told.filesystem}): {told.direct_error}",
                    why=f"{needs.purpose} asks for direct I/O",
                    fix=f"do without ({place.buffered_option}), or {_another(place)}",
                    host=host.name,
                )
