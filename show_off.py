"""Every state of the terminal, from canned events: `python show_off.py [STATE ...]`.

It drives the real faces with a clock of its own, so what it prints is the same each time: the
pictures of the documentation and the snapshots of the tests are made from it. `--list` names the
states.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.errors import AccessError, InterruptedRunError
from mlpstorage.core.events import (
    Figure,
    Interruption,
    Note,
    Progress,
    RankFailed,
    RankStarted,
    RunStarted,
    Stage,
)
from mlpstorage.core.rules import Category, Issue, Verdict, incomplete
from mlpstorage.core.run import Status
from mlpstorage.display.jsonl import JsonDisplay
from mlpstorage.display.lines import LinesDisplay
from mlpstorage.display.live import LiveDisplay
from mlpstorage.display.painter import terminal_console
from mlpstorage.display.quiet import QuietDisplay
from mlpstorage.kinds.conclusion import Ending, conclude
from mlpstorage.report.show import complain, publish
from mlpstorage.store.codec import Metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlpstorage.core.events import Event

_GIB = 1 << 30
_PLACE = "results/training/unet3d/run/20261124_150845"


@dataclass
class Clock:
    """A clock that stands where the script has come to."""

    now: float = 0.0

    def __call__(self) -> float:
        """The moment, in seconds."""
        return self.now

    def stamp(self) -> str:
        """The moment as a line begins with it."""
        minutes, seconds = divmod(int(self.now), 60)
        return f"2026-11-24 15:{8 + minutes:02d}:{seconds:02d}"


def beginning() -> list[tuple[float, Event]]:
    """What every run says before its ranks work."""
    return [
        (0.0, Stage("preflight", 1, 7)),
        (1.4, Stage("collecting hosts", 2, 7)),
        (2.0, Note("the clock of node2 is 2.1 s ahead (fix: synchronise it with NTP)", "warning")),
        (2.1, RunStarted("training_run_unet3d", "training run: unet3d on 4 × h100", _PLACE, 4)),
        (2.2, Stage("preparing", 3, 7)),
        (2.3, Stage("measuring 2/6", 4, 7)),
        *((2.9, RankStarted(rank, f"node{1 + rank // 2}", 4200 + rank)) for rank in range(4)),
    ]


def training(seconds: int, *, slow: bool = False) -> list[tuple[float, Event]]:
    """Two hosts, two ranks each; a slow one lets the others wait."""
    script = beginning()
    for second in range(seconds + 1):
        at = 3.0 + second
        epoch, within = divmod(second, 60)
        pace = 20 if not slow else 14
        for rank, host in ((0, "node1"), (2, "node2")):
            moved = round(sum(1.9 + 0.2 * (n % 5) for n in range(within)) * _GIB)
            script.append(
                (
                    at,
                    Progress(
                        rank, f"epoch {epoch + 1}/5", within * pace, 60 * pace, "steps", moved,
                        part=epoch + 1, parts=5, host=host,
                    ),
                )
            )  # fmt: skip
            waits = 31.5 if slow and rank else 6.2
            script.append((at, Figure(rank, "AU", 71.4 if slow else 93.8, "%", 90.0, host=host)))
            script.append(
                (
                    at,
                    Figure(
                        rank, "waits for data", waits, "%", None, "lower",
                        compares_hosts=True, host=host,
                    ),
                )
            )  # fmt: skip
    return script


def generating(seconds: int) -> list[tuple[float, Event]]:
    """Data generation by one rank."""
    script: list[tuple[float, Event]] = [
        (0.0, Stage("preflight", 1, 7)),
        (0.4, Stage("generating", 4, 7)),
    ]
    for second in range(seconds + 1):
        done = second * 14
        moved = done * 146_600_628
        script.append(
            (0.5 + second, Progress(0, "generating", done, 3500, "files", moved, host="node1"))
        )
    return script


def checkpointing(seconds: int) -> list[tuple[float, Event]]:
    """A checkpoint that is being written."""
    script: list[tuple[float, Event]] = [(0.0, Stage("measuring", 4, 7))]
    for second in range(seconds + 1):
        gib = second * 3
        script.append(
            (
                0.1 + second,
                Progress(
                    0, "write checkpoint 3/10", gib << 10, 105 << 10, "MiB", gib * _GIB,
                    part=3, parts=20, host="node1",
                ),
            )
        )  # fmt: skip
    return script


def searching(seconds: int) -> list[tuple[float, Event]]:
    """A point of a sweep: nothing but seconds and figures."""
    script: list[tuple[float, Event]] = [(0.0, Stage("measuring", 4, 7))]
    for second in range(seconds + 1):
        at = 0.1 + second
        script.append((at, Progress(0, "searching, 8 clients", second, 90, "s of all points", 0)))
        script.append((at, Figure(0, "QPS", 1180.0 + 7 * second, "queries/s", combine="sum")))
        script.append((at, Figure(0, "p99", 11.8, "ms", 10.0, "lower", "max")))
    return script


def interrupted(level: int) -> list[tuple[float, Event]]:
    """Ctrl-C, once or twice."""
    text = (
        "finishing the step; interrupt again to stop now on every host",
        "stopping now, on every host; interrupt again to leave without waiting",
    )
    script = training(24)
    script += [(27.5 + n, Interruption("SIGINT", n + 1, text[n])) for n in range(level)]
    return script


def failed() -> list[tuple[float, Event]]:
    """A rank that dies."""
    return [*training(12), (15.5, RankFailed(3, "node2", "killed by SIGKILL"))]


def play_live(script: Sequence[tuple[float, Event]], *, ends: bool = False) -> None:
    """The live face as it stands when the script is over, or as it leaves the terminal."""
    clock = Clock()
    display = LiveDisplay(console=terminal_console(), clock=clock, ticks=False)
    next_tick = 1.0
    for at, event in script:
        while next_tick <= at:
            clock.now = next_tick
            display.tick()
            next_tick += 1.0
        clock.now = at
        display.show(event)
    clock.now = script[-1][0] + 1.0
    display.tick()
    if ends:
        display.__exit__(None, None, None)
    else:
        sys.stderr.write("\n")


def play_lines(script: Sequence[tuple[float, Event]], *, verbose: bool = False) -> None:
    """The lines of a log."""
    clock = Clock()
    with LinesDisplay(
        sys.stderr, verbose=verbose, ticks=False, stamp=clock.stamp, clock=clock
    ) as display:
        for at, event in script:
            clock.now = at
            display.show(event)


def play_json(script: Sequence[tuple[float, Event]]) -> None:
    """The event stream, without the moments that differ each time."""
    clock = Clock()
    with JsonDisplay(sys.stderr, moment=lambda: f"2026-11-24T15:08:{clock.now:09.6f}Z") as display:
        for at, event in script:
            clock.now = at
            display.show(event)


def play_quiet(script: Sequence[tuple[float, Event]]) -> None:
    """Warnings alone."""
    with QuietDisplay() as display:
        for _, event in script:
            display.show(event)


def last_block(*, stopped: bool = False, closed: bool = False) -> None:
    """The end of a run."""
    slow = Issue(
        "3.3.2", Category.INVALID, "accelerator utilisation is below the floor", "AU", ">= 90 %",
        "71.40 %", "emulate fewer accelerators, or use faster storage",
    )  # fmt: skip
    rates = [84.1, 85.9, 85.2, 84.8, 85.5]
    summary = {
        "metric": {
            "train_throughput_samples_per_second": rates,
            "train_throughput_mean_samples_per_second": sum(rates) / 5,
            "train_au_percentage": [93.1, 94.2, 93.9, 93.6, 94.0],
            "train_au_mean_percentage": 93.76,
        },
        "bottleneck": {"verdict": "storage-bound", "explanation": ""},
    }
    found = (slow, incomplete("5 epochs", "epoch 3/5, step 210/420")) if stopped else (slow,)
    verdict = Verdict(Category.CLOSED) if closed else Verdict(Category.INVALID, found)
    metadata = Metadata(
        benchmark_type="training",
        command="run",
        model="unet3d",
        status=Status.COMPLETE,
        executed_command="mlpstorage training run -m unet3d -g h100 -na 4 --data-dir /mnt/storage",
        warnings=("the clock of node2 is 2.1 s ahead (fix: synchronise it with NTP)",),
    )
    ending = Ending(metadata, Path(_PLACE), Path("results"), summary, verdict, stopped=stopped)
    publish((conclude(ending),), {}, as_json=False)


def errors() -> None:
    """What a refusal and an abandoned run look like."""
    complain(
        str(
            AccessError(
                "node03 cannot write to the data directory (read-only file system)",
                why="every host generates its share of unet3d there (1.3 TiB)",
                fix="remount it read-write on node03, or choose another --data-dir",
            )
        )
    )
    complain(
        str(
            InterruptedRunError(
                "left without waiting for the ranks to end",
                why="ranks on node1, node2 may still be there: what watches over each host ends "
                "them within 15 s",
                fix="look for them: ssh node1 pgrep -f mlpstorage.rank",
            )
        )
    )


STATES: dict[str, Callable[[], None]] = {
    "live-preflight": lambda: play_live(beginning()[:1]),
    "live-generating": lambda: play_live(generating(40)),
    "live-training": lambda: play_live(training(100)),
    "live-slow-host": lambda: play_live(training(45, slow=True)),
    "live-checkpointing": lambda: play_live(checkpointing(20)),
    "live-searching": lambda: play_live(searching(30)),
    "live-interrupted": lambda: play_live(interrupted(1)),
    "live-interrupted-twice": lambda: play_live(interrupted(2)),
    "live-failed": lambda: play_live(failed()),
    "live-ended": lambda: play_live(training(70), ends=True),
    "lines": lambda: play_lines(training(130, slow=True)),
    "lines-verbose": lambda: play_lines(failed(), verbose=True),
    "json": lambda: play_json(training(1)),
    "quiet": lambda: play_quiet(failed()),
    "end-closed": lambda: last_block(closed=True),
    "end-invalid": last_block,
    "end-interrupted": lambda: last_block(stopped=True),
    "errors": errors,
}


def main(words: Sequence[str]) -> None:
    """Show the states that are named, or all of them."""
    if list(words) == ["--list"]:
        sys.stdout.write("\n".join(STATES) + "\n")
        return
    for name in words or STATES:
        if len(words) != 1:
            sys.stderr.write(f"\n── {name} ──\n\n")
        STATES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
