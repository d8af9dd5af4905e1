"""What differs between two runs: the work itself, how it was done, and the hosts."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.units import format_bytes
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.kinds.comparing import Comparer
    from mlpstorage.store.codec import Metadata

# Options that say where a result goes and how it is shown, that stand in parameters already, or
# that say what is asked for, which the division does whatever the words were.
_ASIDE = frozenset(
    {
        "config_file", "results_dir", "json", "quiet", "verbose", "debug", "progress", "display",
        "what_if", "params", "loops", "no_warm_up", "model", "accelerator_type",
        "num_accelerators", "num_processes", "closed", "open", "allow_invalid_params",
    }
)  # fmt: skip
_PLACES = ("_dir", "_folder")
_MISSING = "–"
_LONGEST = 60


@dataclass(frozen=True)
class Setting:
    """A value that differs."""

    name: str
    before: str
    after: str

    def as_dict(self) -> dict[str, str]:
        """The setting as JSON-ready values."""
        return {"name": self.name, "baseline": self.before, "candidate": self.after}


@dataclass(frozen=True)
class Differing:
    """All that differs; with `workload`, the figures do not measure the same work."""

    workload: tuple[Setting, ...]
    configuration: tuple[Setting, ...]
    hosts: tuple[Setting, ...]

    def as_dict(self) -> dict[str, Any]:
        """What differs as JSON-ready values."""
        groups = {
            "workload": self.workload,
            "configuration": self.configuration,
            "hosts": self.hosts,
        }
        return {name: [one.as_dict() for one in found] for name, found in groups.items()}


def differing(before: Metadata, after: Metadata, comparer: Comparer) -> Differing:
    """What differs between two runs of one kind."""
    work = [
        Setting(name, _text(a), _text(b))
        for name, a, b in (
            ("model", before.model, after.model),
            ("accelerator", before.accelerator, after.accelerator),
            ("ranks", before.num_processes, after.num_processes),
        )
        if a != b
    ]
    parameters = _changes(_leaves(before.parameters), _leaves(after.parameters))
    work += [one for one in parameters if not comparer.is_tuning(one.name)]
    tuned = [one for one in parameters if comparer.is_tuning(one.name)]
    options = _changes(_options(before), _options(after))
    programs = _changes(_program(before), _program(after))
    hosts = _changes(_hosts(before), _hosts(after))
    return Differing(tuple(work), (*tuned, *options, *programs), tuple(hosts))


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Setting]:
    names = dict.fromkeys([*before, *after])
    return [
        Setting(printable(name), _text(before.get(name)), _text(after.get(name)))
        for name in names
        if before.get(name) != after.get(name)
    ]


def _leaves(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        full = f"{above}{name}"
        found |= _leaves(value, f"{full}.") if isinstance(value, dict) else {full: value}
    return found


def _options(metadata: Metadata) -> dict[str, Any]:
    """Options by their flags, places as they are reached; what hosts say anyway is left to them."""
    return {
        f"--{name.rstrip('_').replace('_', '-')}": _place(name, value, metadata.working_directory)
        for name, value in metadata.args.items()
        if name not in _ASIDE
    }


def _place(name: str, value: Any, here: str) -> Any:  # noqa: ANN401 (any JSON value)
    """A directory with the one that it is relative to; another value as it is.

    >>> _place("data_dir", "data", "/home/a"), _place("data_dir", "/data/", "/home/a")
    ('/home/a/data', '/data')
    """
    if not name.endswith(_PLACES) or not isinstance(value, str) or not value or "://" in value:
        return value
    return posixpath.normpath(posixpath.join(here, value))


def _program(metadata: Metadata) -> dict[str, Any]:
    return {
        "engine": metadata.engine or None,
        "mlpstorage": metadata.mlpstorage_version or None,
        "edition": metadata.edition or None,
        "division": metadata.division or None,
    }


def _hosts(metadata: Metadata) -> dict[str, Any]:
    """How many hosts there are, and what they are like; each text names all that occur."""
    info = metadata.system_info or {}
    hosts = [host for host in info.get("hosts") or () if isinstance(host, dict)]
    if not hosts:
        return {}
    aspects = {
        "names": ("hostname",),
        "processor": ("cpu", "model"),
        "cores": ("cpu", "num_cores"),
        "kernel": ("system", "kernel_version"),
        "system": ("system", "os_release", "PRETTY_NAME"),
    }
    found: dict[str, Any] = {"hosts": len(hosts)}
    for name, path in aspects.items():
        found[name] = _all(_at(host, path) for host in hosts)
    memory = (_at(host, ("memory", "total")) for host in hosts)
    found["memory"] = _all(format_bytes(m) if isinstance(m, (int, float)) else m for m in memory)
    return found


def _all(values: Any) -> str:  # noqa: ANN401 (an iterable of any JSON values)
    return ", ".join(sorted({str(value) for value in values}))


def _at(value: Any, path: tuple[str, ...]) -> Any:  # noqa: ANN401 (any JSON value)
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str:  # noqa: ANN401 (any JSON value)
    if value is None or value in ("", []):
        return _MISSING
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return printable(text, most=_LONGEST)
