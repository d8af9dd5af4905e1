"""Carrying out what a command's action returned: an answer to show, or measurements to execute."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mlpstorage.cli.surroundings import Audience, deliver
from mlpstorage.core.errors import EXIT_OK, InterruptedRunError, UsageError, did_you_mean
from mlpstorage.core.plan import Answer
from mlpstorage.core.run import Turn
from mlpstorage.display import FACES, display_for
from mlpstorage.kinds.repetition import Repetition
from mlpstorage.report.show import publish

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlpstorage.display import Display
    from mlpstorage.kinds.measurement import Measurement
    from mlpstorage.repetition import Step
    from mlpstorage.store.sets import SetEntry
    from mlpstorage.workflow import Execution

    Found = Answer | Sequence[Measurement] | Repetition | int


def perform(
    action: Callable[[Any, Mapping[str, str]], Found],
    options: Any,  # noqa: ANN401 (the command's dataclass)
    values: Mapping[str, Any],
    sources: Mapping[str, str],
    argv: tuple[str, ...],
    resumed: SetEntry | None = None,
) -> int:
    """Run an action and publish what comes of it; the worst exit code of its measurements.

    `resumed` is the set to go on with, where the action makes one.

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
    from mlpstorage.repetition import Step, execute_set

    invocation = Invocation(("mlpstorage", *argv), values, sources)
    if isinstance(found, Repetition):
        done = execute_set(
            found, invocation, partial(_carry_out, values, told=not as_json), resumed
        )
        _tell(done, as_json=as_json)
        return done.exit_code
    worst = EXIT_OK
    for number, measurement in enumerate(found, start=1):
        step = Step(measurement, invocation, Turn(number, len(found)))
        done = _carry_out(values, step)
        worst = max(worst, done.exit_code)
        if done.is_last and number < len(found):
            return InterruptedRunError.exit_code
    return worst


def _carry_out(values: Mapping[str, Any], step: Step, *, told: bool = True) -> Execution:
    """Execute one run, with a display meanwhile; `told` publishes what came of it."""
    from mlpstorage.workflow import execute

    with Audience(_display(values)) as audience:
        step.before(audience.show)
        is_stream = values.get("progress") == "json"  # programs hear every run as if it were alone
        show = audience.show if is_stream else step.heard(audience.show)
        done = execute(step.measurement, step.invocation, show, step.turn)
    sections = step.shown(done)
    if told and sections:
        _tell(replace(done, sections=sections), as_json=bool(values["json"]))
    return done


def _display(values: Mapping[str, Any]) -> Display:
    """The face that the options ask for.

    Raises:
        UsageError: there is no such face.
    """
    face = str(values.get("progress", "auto"))
    if face not in FACES:
        raise UsageError(f"--progress {face!r} is unknown", fix=did_you_mean(face, FACES))
    verbose = bool(values["verbose"] or values["debug"])
    return display_for(face, quiet=bool(values["quiet"]), verbose=verbose)


def _tell(done: Execution, *, as_json: bool) -> None:
    kept = str(done.document.get("result_dir", ""))
    deliver(partial(publish, done.sections, done.document, as_json=as_json), kept=kept)
