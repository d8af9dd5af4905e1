"""The one place where results and errors reach standard output and standard error."""

from __future__ import annotations

import json
import math
import shutil
import sys
from typing import TYPE_CHECKING, Any

from mlpstorage.report.terminal import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpstorage.core.section import Section


def publish(sections: Sequence[Section], document: dict[str, Any], *, as_json: bool) -> None:
    """Print the result on standard output: text for people, or one JSON document."""
    if as_json:
        print(json.dumps(_finite(document), indent=2, ensure_ascii=False))
    else:
        print(render(sections, _screen_width()))
    sys.stdout.flush()


def _screen_width() -> int | None:
    """The columns of the terminal; None where the text goes to a file or another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def say(text: str) -> None:
    """Print text on standard output."""
    print(text, flush=True)


def complain(text: str) -> None:
    """Print an error on standard error."""
    print(text, file=sys.stderr, flush=True)


def _finite(value: Any) -> Any:  # noqa: ANN401 (any JSON-ready value)
    """NaN and infinity as null: JSON has no words for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
