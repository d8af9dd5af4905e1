"""Which pins of a lock hold on a host: markers, and in a graph what can be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.markers import Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.version import InvalidVersion

from mlpstorage.core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from mlpstorage.preflight.lockfile.model import Lock, Need, Pin


def applicable(lock: Lock, markers: Mapping[str, str]) -> Iterator[tuple[Pin, bool]]:
    """The pins that hold on a host with these marker variables, and whether each is required.

    Raises:
        ConfigurationError: a marker compares what cannot be compared.
    """
    if lock.roots:
        required = _reached(lock, lock.roots, markers)
        wider = _reached(lock, (*lock.roots, *lock.optional_roots), markers)
        for index in sorted(wider):
            pin = lock.pins[index]
            if pin.specifier:
                yield pin, index in required
        return
    for pin in lock.pins:
        if holds(pin.marker, markers, pin.where, groups=lock.default_groups):
            yield pin, not pin.optional
        elif lock.format == "pylock" and holds(
            pin.marker, markers, pin.where, extras=lock.extras, groups=lock.groups
        ):
            yield pin, False


def holds(
    marker: str,
    markers: Mapping[str, str],
    where: str,
    *,
    extras: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> bool:
    """Whether a marker is true on the host; the empty one always is.

    Raises:
        ConfigurationError: it compares what cannot be compared.
    """
    if not marker:
        return True
    variables: dict[str, str | AbstractSet[str]] = {
        **markers,
        "extra": "",
        "extras": frozenset(extras),
        "dependency_groups": frozenset(groups),
    }
    try:
        return Marker(marker).evaluate(variables, context="lock_file")
    except (UndefinedComparison, UndefinedEnvironmentName, InvalidVersion) as error:
        raise ConfigurationError(
            f"{where}: cannot evaluate the marker {marker!r}: {error}",
            fix="correct the marker, or make the lockfile again",
        ) from error


def _reached(lock: Lock, roots: Sequence[Need], markers: Mapping[str, str]) -> set[int]:
    """The indexes of the pins that the roots lead to."""
    by_name: dict[str, list[int]] = {}
    for index, pin in enumerate(lock.pins):
        by_name.setdefault(pin.name, []).append(index)
    waiting, seen, reached = list(roots), set[tuple[int, str]](), set[int]()
    while waiting:
        need = waiting.pop()
        if not holds(need.marker, markers, str(lock.path)):
            continue
        for index in by_name.get(need.name, ()):
            pin = lock.pins[index]
            if need.version and f"=={need.version}" != pin.specifier:
                continue
            if not need.version and not holds(pin.marker, markers, pin.where):
                continue
            reached.add(index)
            for extra in ("", *need.extras):
                if (index, extra) not in seen:
                    seen.add((index, extra))
                    waiting += dict(pin.needs_of_extra).get(extra, ()) if extra else pin.needs
    return reached
