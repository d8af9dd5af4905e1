"""What the faces show, worked out from events and moments."""

from __future__ import annotations

from mlpstorage.core.events import Figure, Note, Progress, Stage
from mlpstorage.display.frame import frame
from mlpstorage.display.scene import Scene


def waiting(rank: int, host: str, percent: float) -> Figure:
    """A rank's wait for data."""
    return Figure(rank, "waits", percent, "%", better="lower", compares_hosts=True, host=host)


def test_figures_of_ranks_become_one() -> None:
    """A mean, a sum or the worst, as the figure says."""
    scene = Scene()
    for rank, value in enumerate((10.0, 20.0)):
        scene.take(Figure(rank, "AU", value, "%"), 0.0)
        scene.take(Figure(rank, "QPS", value, "queries/s", combine="sum"), 0.0)
        scene.take(Figure(rank, "p99", value, "ms", combine="max"), 0.0)
    assert [(one.name, one.value) for one in scene.figures] == [
        ("AU", 15.0),
        ("QPS", 30.0),
        ("p99", 20.0),
    ]


def test_a_host_stands_out_only_among_others() -> None:
    """One host is never the slowest; equal hosts have none; a slow one is named with why."""
    scene = Scene()
    scene.take(waiting(0, "h1", 50.0), 0.0)
    assert scene.slowest() == ""
    scene.take(waiting(1, "h2", 50.5), 0.0)
    assert scene.slowest() == ""
    scene.take(waiting(1, "h2", 80.0), 0.0)
    assert scene.slowest() == "h2: waits 80.0 %, the others 50.0 %"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """Bytes of all ranks over the last ticks, though a tick may see no report or two."""
    scene = Scene()
    for second in range(12):
        if second % 2 == 0:
            scene.take(Progress(0, "epoch 1/1", second, 100, "steps", second * 1000), float(second))
        scene.tick(float(second))
    assert all(600 <= rate <= 1400 for rate in list(scene.rates)[3:])


def test_the_first_bytes_have_a_rate() -> None:
    """A first step that takes seconds is counted from its beginning, not from its report."""
    scene = Scene()
    scene.take(Progress(0, "epoch 1/1", 0, 3, "steps", 0), 0.0)
    for second in range(1, 5):
        scene.tick(float(second))
    scene.take(Progress(0, "epoch 1/1", 1, 3, "steps", 5000), 5.0)
    scene.tick(5.0)
    scene.tick(6.0)
    assert list(scene.rates) == [1250.0, 1000.0]


def test_what_comes_after_an_activity_is_no_part_of_it() -> None:
    """The pause after a checkpoint neither lengthens it nor lowers its rate."""
    scene = Scene()
    for rank in (0, 1):
        scene.take(Progress(rank, "write checkpoint 1/2", 0, 8, "MiB", 0), 0.0)
    for rank, at in ((0, 1.0), (1, 2.0)):
        scene.take(Progress(rank, "write checkpoint 1/2", 8, 8, "MiB", 8 << 20), at)
    assert scene.tally is not None
    assert scene.tally.text(9.0) == (
        "write checkpoint 1/2: 100 % (16/16 MiB), 8.00 MiB/s, 2.0 s elapsed"
    )


def test_a_new_stage_forgets_the_activity() -> None:
    """What a stage showed is not shown in the next one; warnings are, with their age."""
    scene = Scene()
    scene.take(Stage("measuring", 4, 7), 0.0)
    scene.take(Progress(0, "epoch 1/1", 1, 2, "steps", 3), 1.0)
    scene.take(Note("the clock is late", "warning"), 2.0)
    scene.take(Stage("judging", 6, 7), 3.0)
    text = "\n".join(line.plain for line in frame(scene, 63.0, 80, 20))
    assert "epoch" not in text
    assert "1 warning 1 min 00 s ago: the clock is late" in text


def test_a_frame_fits_its_terminal() -> None:
    """No line is wider than the terminal, and no more lines are drawn than it has."""
    scene = Scene()
    scene.take(Stage("measuring", 4, 7), 0.0)
    scene.take(Progress(0, "a long activity " * 9, 1, 2, "steps", 3), 1.0)
    scene.take(Note("warning " * 40, "warning"), 2.0)
    for width in (1, 7, 20, 79, 300):
        for height in (1, 3, 20):
            lines = frame(scene, 9.0, width, height)
            assert len(lines) <= height
            assert all(line.cell_len <= width for line in lines)


def test_a_terminal_without_unicode_gets_plain_letters() -> None:
    """In an encoding that has no bars, the frame is ASCII."""
    scene = Scene()
    scene.take(Stage("measuring", 4, 7), 0.0)
    for second in range(9):
        scene.take(Progress(0, "epoch 1/1", second, 10, "steps", second), float(second))
        scene.tick(float(second))
    lines = frame(scene, 9.0, 60, 20, unicode=False)
    assert all(line.plain.isascii() for line in lines)
