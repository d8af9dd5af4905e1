"""Options of a command as plain dataclass fields, so that no benchmark depends on a CLI library.

A command's options are one frozen dataclass; each field is made by `opt`. The `cli` room turns
them into a command line, environment variables and config-file keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dataclasses

_KEY = "mlpstorage.opt"


@dataclass(frozen=True)
class Opt:
    """How one option is spelled and explained.

    `many` takes every word up to the next flag; `dashes` lets values begin with one.
    """

    text: str
    short: str = ""
    group: str = "Options"
    many: bool = False
    dashes: bool = False


def opt(
    default: Any,  # noqa: ANN401 (as dataclasses.field)
    text: str,
    *,
    short: str = "",
    group: str = "Options",
    many: bool = False,
    dashes: bool = False,
) -> Any:  # noqa: ANN401 (as dataclasses.field)
    """A dataclass field that is an option; `text` is its help."""
    return field(default=default, metadata={_KEY: Opt(text, short, group, many, dashes)})


def opt_of(spec: dataclasses.Field[Any]) -> Opt:
    """The `Opt` of a field made by `opt`."""
    found: Opt = spec.metadata[_KEY]
    return found
