"""The sentences that several faces share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.core import events
from mlpstorage.core.units import format_seconds
from mlpstorage.display.estimate import roughly

if TYPE_CHECKING:
    from mlpstorage.core.events import Figure
    from mlpstorage.display.scene import Scene


def figure_text(figure: Figure, when: str = " so far") -> str:
    """A figure so far, or at the end of an activity, and what is needed.

    >>> from mlpstorage.core.events import Figure
    >>> figure_text(Figure(0, "AU", 91.25, "%", 90.0))
    'AU 91.2 % so far (needs 90 %)'
    """
    most = "at most " if figure.better == "lower" else ""
    needed = f" (needs {most}{figure.needed:g} {figure.unit})" if figure.needed is not None else ""
    return f"{figure.name} {_short(figure.value)} {figure.unit}{when}{needed}"


def final_text(figure: Figure) -> str:
    """A figure at the end of an activity."""
    return figure_text(figure, "")


def misses(figure: Figure) -> bool:
    """Whether a figure is not what is needed."""
    if figure.needed is None:
        return False
    enough = (
        figure.value <= figure.needed
        if figure.better == "lower"
        else (figure.value >= figure.needed)
    )
    return not enough


def counts_time(unit: str) -> bool:
    """Whether what is counted is time itself, such as the seconds of a sweep."""
    return unit.partition(" ")[0] in {"s", "seconds"}


def left_text(scene: Scene) -> str:
    """The time left; `in all` where it covers more than the current activity."""
    left = scene.left
    if left is None:
        return ""
    return f"{left}{' in all' if scene.tally and scene.tally.has_parts else ''}"


def stage_took(name: str, seconds: float) -> str:
    """How long a stage took."""
    return f"{name} took {format_seconds(max(seconds, 0.0))}"


def said_of(event: events.Event, *, verbose: bool) -> str:
    """The line of an event that is shown once; empty for one that has none.

    >>> said_of(events.Note("2 s ahead", "warning"), verbose=False)
    'warning: 2 s ahead'
    """
    if isinstance(event, events.RunStarted):
        return f"{event.title}, recorded in {event.directory}"
    if isinstance(event, events.Note) and (event.level != "detail" or verbose):
        return f"{'warning: ' if event.level == 'warning' else ''}{event.text}"
    if isinstance(event, events.Interruption):
        return f"{event.signal}: {event.text}"
    if isinstance(event, events.RankFailed):
        return f"rank {event.rank} on {event.host} failed: {event.what}"
    if isinstance(event, events.RankStarted) and verbose:
        return f"rank {event.rank} runs on {event.host}, process {event.pid}"
    return ""


def age(seconds: float) -> str:
    """How long ago something was.

    >>> age(0.4), age(70)
    ('just now', '1 min 10 s ago')
    """
    return "just now" if seconds < 1 else f"{roughly(seconds)} ago"


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1000 else f"{value:.0f}"  # noqa: PLR2004
