"""Sizes and durations: parsed once at the border, formatted once for people."""

from __future__ import annotations

import re

from mlpstorage.core.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
TIB = 1 << 40

_BINARY = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": TIB, "p": 1 << 50}
_DECIMAL = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15}
_SIZE = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)\s*(?P<prefix>[kmgtp]?)(?P<binary>i?)(?P<byte>b?)", re.IGNORECASE
)
_SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>ms|s|min|m|h|d|)", re.IGNORECASE)


def parse_bytes(text: str, *, bare_unit: int = 1) -> int:
    """The number of bytes that a size names.

    `GiB` and `G` are binary, as fio reads them; `GB` is decimal. A bare number is counted in
    `bare_unit` bytes.

    >>> parse_bytes("32GiB"), parse_bytes("32GB"), parse_bytes("1.5k"), parse_bytes("7")
    (34359738368, 32000000000, 1536, 7)
    >>> parse_bytes("128", bare_unit=GIB) == 128 * GIB
    True

    Raises:
        UsageError: the text is not a size, or is negative.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a size",
            fix="give a non-negative number with an optional unit: 4096, 64KiB, 32GiB, 2TB",
        )
    number = float(match["number"])
    prefix = match["prefix"].lower()
    if not prefix and not match["byte"]:
        return round(number * bare_unit)
    decimal = bool(match["byte"]) and not match["binary"]
    return round(number * (_DECIMAL if decimal else _BINARY)[prefix])


def parse_seconds(text: str) -> float:
    """The number of seconds that a duration names.

    >>> parse_seconds("90"), parse_seconds("1.5m"), parse_seconds("250ms")
    (90.0, 90.0, 0.25)

    Raises:
        UsageError: the text is not a duration, or is negative.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"{text!r} is not a duration",
            fix="give a number with an optional unit: 90, 90s, 5m, 2h",
        )
    return float(match["number"]) * _SECONDS[match["unit"].lower()]


def format_bytes(count: float) -> str:
    """A byte count for people, in binary units.

    >>> format_bytes(0), format_bytes(1536), format_bytes(146_600_628), format_bytes(5 * TIB)
    ('0 B', '1.50 KiB', '139.8 MiB', '5.00 TiB')
    """
    value = float(count)
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = 0
    while abs(value) >= KIB and power < len(units) - 1:
        value /= KIB
        power += 1
    if power == 0:
        return f"{value:.0f} B"
    return f"{value:.2f} {units[power]}" if abs(value) < 100 else f"{value:.1f} {units[power]}"  # noqa: PLR2004


def format_seconds(seconds: float) -> str:
    """A duration for people.

    >>> format_seconds(0.0042), format_seconds(12.34), format_seconds(75), format_seconds(7384)
    ('4.2 ms', '12.3 s', '1 min 15 s', '2 h 03 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
