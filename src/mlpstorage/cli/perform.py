"""Carrying out what a command's action returned: an answer to show, or measurements to execute."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.surroundings import Audience, deliver
from mlpstorage.core.errors import EXIT_OK
from mlpstorage.core.plan import Answer
from mlpstorage.display import display_for
from mlpstorage.report.show import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpstorage.kinds.measurement import Measurement


def perform(
    action: Callable[[Any, Mapping[str, str]], Answer | Sequence[Measurement] | int],
    options: Any,  # noqa: ANN401 (the command's dataclass)
    values: Mapping[str, Any],
    sources: Mapping[str, str],
    argv: tuple[str, ...],
) -> int:
    """Run an action and publish what comes of it; the worst exit code of its measurements.

    Raises:
        MlpstorageError: whatever the action or a measurement raises.
    """
    found = action(options, sources)
    if isinstance(found, int):
        return found
    as_json = bool(values["json"])
    if isinstance(found, Answer):
        deliver(partial(publish, found.sections, found.document, as_json=as_json))
        return EXIT_OK
    from mlpstorage.record import Invocation
    from mlpstorage.workflow import execute

    invocation = Invocation(("mlpstorage", *argv), values, sources)
    worst = EXIT_OK
    for measurement in found:
        display = display_for(
            quiet=bool(values["quiet"]), verbose=bool(values["verbose"] or values["debug"])
        )
        with Audience(display) as audience:
            done = execute(measurement, invocation, audience.show)
        kept = str(done.document.get("result_dir", ""))
        deliver(partial(publish, done.sections, done.document, as_json=as_json), kept=kept)
        worst = max(worst, done.exit_code)
    return worst
