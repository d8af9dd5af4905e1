"""The live face as lines of styled text for a width: a pure function of the scene and the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from mlpstorage.core.units import format_bytes
from mlpstorage.display.estimate import roughly
from mlpstorage.display.sparkline import sparkline
from mlpstorage.display.words import age, counts_time, figure_text, left_text, misses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlpstorage.display.scene import Scene
    from mlpstorage.display.tally import Tally

_MOST_BAR, _LEAST_BAR = 40, 8
_MOST_CURVE = 24
_GAP = "  "


def frame(scene: Scene, now: float, width: int, height: int, *, unicode: bool = True) -> list[Text]:
    """At most `height` lines, none wider than `width` columns."""
    lines = [_flow(_stage(scene, now), width)]
    tally = scene.tally
    if tally is not None:
        lines.append([_bar(tally, width, unicode=unicode)])
        lines.append(_flow(_pace(scene, tally, now, unicode=unicode), width))
        figures = [
            Text(figure_text(figure), "yellow" if misses(figure) else "")
            for figure in scene.figures
        ]
        lines.append(_flow(figures, width))
        slowest = scene.slowest()
        lines.append(_flow([Text(f"slowest host {slowest}", "yellow")] if slowest else [], width))
    lines.append(_flow(_warnings(scene, now), width))
    if scene.stopping:
        lines.append([Text(scene.stopping, "bold yellow")])
    flat = [line for group in lines for line in group]
    for line in flat:
        line.truncate(width, overflow="ellipsis" if unicode else "crop")
    return flat[:height]


def _stage(scene: Scene, now: float) -> Iterable[Text]:
    stage = scene.stage
    if stage is None:
        return
    yield Text.assemble((f"[{stage.number}/{stage.of}] ", "dim"), (stage.name, "bold"))
    if scene.title:
        yield Text(scene.title)
    yield Text(roughly(max(now - scene.stage_began, 0.0)), "dim")


def _bar(tally: Tally, width: int, *, unicode: bool) -> Text:
    count = f"{100 * tally.share:3.0f} %  {tally.done}/{tally.total} {tally.unit}"
    room = width - len(tally.activity) - len(count) - 2 * len(_GAP)
    text = Text(tally.activity + _GAP)
    if room >= _LEAST_BAR:
        bar = min(room, _MOST_BAR)
        full = int(bar * tally.share)
        text.append(("━" if unicode else "#") * full, "green")
        text.append(("─" if unicode else "-") * (bar - full), "bright_black")
        text.append(_GAP)
    text.append(count.strip())
    return text


def _pace(scene: Scene, tally: Tally, now: float, *, unicode: bool) -> Iterable[Text]:
    rates = scene.rates
    rate = Text()
    if counts_time(tally.unit) and not scene.counts_bytes:
        pass  # seconds per second are no rate
    elif rates:
        last = rates[-1]
        shown = f"{format_bytes(last)}/s" if scene.counts_bytes else f"{last:.3g} {tally.unit}/s"
        rate.append(shown, "bold")
        if unicode and len(rates) > 1:
            rate.append(" " + sparkline(list(rates)[-_MOST_CURVE:]), "cyan")
    else:
        rate.append(tally.rate(now), "bold")
    if rate:
        yield rate
    yield Text(f"{roughly(tally.elapsed(now))} elapsed")
    left = left_text(scene)
    if left:
        yield Text(left)


def _warnings(scene: Scene, now: float) -> Iterable[Text]:
    if not scene.warnings:
        return
    last = scene.warnings[-1]
    count = len(scene.warnings)
    many = "1 warning" if count == 1 else f"{count} warnings, the last"
    yield Text(f"{many} {age(now - last.at)}: {last.text}", "yellow")


def _flow(pieces: Iterable[Text], width: int) -> list[Text]:
    """The pieces side by side, on as many lines as they need."""
    lines: list[Text] = []
    for piece in pieces:
        if lines and lines[-1].cell_len + len(_GAP) + piece.cell_len <= width:
            lines[-1].append(_GAP).append_text(piece)
        else:
            lines.append(piece.copy())
    return lines
