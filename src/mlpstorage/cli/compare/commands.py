"""The action of `mlpstorage compare`."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from mlpstorage.cli.surroundings import deliver
from mlpstorage.compare import compare as compare_sides
from mlpstorage.compare.differences import Scale
from mlpstorage.compare.gates import parse_gate
from mlpstorage.compare.sides import side_of
from mlpstorage.config import user_path
from mlpstorage.core.errors import UsageError
from mlpstorage.report.show import publish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlpstorage.cli.compare.options import CompareOptions

_PERCENT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%?\s*")
_LEAST_CONFIDENCE, _MOST_CONFIDENCE = 50.0, 99.9


def compare(options: CompareOptions, _sources: Mapping[str, str]) -> int:
    """Compare, and show what came of it; exit code 1 if a condition of --fail-if holds."""
    gates = [parse_gate(text) for text in options.fail_if]
    confidence = _percent(options.confidence, "--confidence")
    if not _LEAST_CONFIDENCE <= confidence <= _MOST_CONFIDENCE:
        raise UsageError(
            f"--confidence is {options.confidence}",
            fix=f"give {_LEAST_CONFIDENCE:g}% to {_MOST_CONFIDENCE:g}%",
        )
    scale = Scale(confidence / 100, _percent(options.least, "--least"))
    root = user_path(options.results_dir, "--results-dir")
    found = compare_sides(
        side_of(options.baseline, root),
        side_of(options.candidate, root),
        gates=gates,
        scale=scale,
        force=options.force,
    )
    deliver(partial(publish, found.sections(), found.as_dict(), as_json=options.json))
    return found.exit_code


def _percent(text: str, option: str) -> float:
    match = _PERCENT.fullmatch(text)
    if match is None:
        raise UsageError(f"{option} {text!r} is no percentage", fix="write one such as 95%")
    return float(match[1])
