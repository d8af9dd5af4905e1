"""Scales, rates, samples and the geometry of charts."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.report.html import samples as reading
from mlpstorage.report.html.charts import MOST_LINES, SIDE, Data, Look, chart_of, with_bands
from mlpstorage.report.html.panels import rank_panel, time_panel
from mlpstorage.report.html.rates import decimated, rates_of, steps_of
from mlpstorage.report.html.samples import HostSamples, read_samples
from mlpstorage.report.html.scales import axis_of, number, sane
from mlpstorage.report.model import PhaseSpan, RankSpread
from report.html_documents import sample, write_series

if TYPE_CHECKING:
    from pathlib import Path

FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(sane)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.booleans())
def test_an_axis_holds_its_values(values: list[float], from_zero: bool) -> None:
    """Every value lies on its axis, ticks are few and in order, whatever the numbers are."""
    axis = axis_of(values, from_zero=from_zero)
    assert axis.low < axis.high
    assert all(0 <= axis.place(value) <= 1 for value in values)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 15
    assert all(math.isfinite(tick.at) for tick in ticks)
    assert [tick.at for tick in ticks] == sorted(tick.at for tick in ticks)


@given(st.floats())
def test_a_number_for_people_is_short(value: float) -> None:
    """No number takes more than a dozen letters."""
    assert len(number(value)) <= 14


@given(st.lists(st.tuples(st.integers(0, 10**6), st.none() | FLOATS), max_size=400), st.integers(2))
def test_a_short_line_keeps_its_extremes(raw: list[tuple[int, float | None]], most: int) -> None:
    """A shortened line has points of the long one, in order, its peak and its trough among them."""
    points = [(float(x), y) for x, y in sorted(raw, key=lambda p: p[0])]
    short = decimated(points, most)
    assert [x for x, _ in short] == sorted(x for x, _ in short)
    known = [y for _, y in points if y is not None]
    kept = [y for _, y in short if y is not None]
    assert set(kept) <= set(known)
    if known:
        assert (min(kept), max(kept)) == (min(known), max(known))
    if len(points) > most:
        assert len(short) <= max(most, 2) * 1.5 + 1


def test_gaps_and_restarts_are_no_rates() -> None:
    """A missed sample, a host that was started anew and a counter that went back give no rate."""
    host = HostSamples(wall=[0, 1, 2, 5, 6, 7], uptime=[10, 11, 12, 15, 1, 2])
    steps = steps_of(host, 1.0)
    assert steps == [1, 1, None, None, 1]
    counts = [(0.0,), (5.0,), (9.0,), (20.0,), (1.0,), (3.0,)]
    assert rates_of(counts, 0, steps) == [5, 4, None, None, 2]


def test_lines_and_document_give_the_same(tmp_path: Path) -> None:
    """Our lines, read alone, tell the same numbers as the document made of them."""
    from mlpstorage.watch.sampler import Sampler
    from mlpstorage.watch.timeseries import write_document

    lines, document = tmp_path / "a_timeseries.jsonl", tmp_path / "b_timeseries.json"
    sampler = Sampler((), 0.5, lines, tmp_path / "a_timeseries.json")
    sampler.start()
    import time

    time.sleep(1.2)
    sampler.stop()
    write_document(lines, document)
    one, other = read_samples(lines), read_samples(document)
    assert one.interval_seconds == other.interval_seconds == 0.5
    assert list(one.hosts) == list(other.hosts)
    (ours,), (theirs,) = one.hosts.values(), other.hosts.values()
    assert len(ours) == len(theirs) >= 3
    assert ours.wall == pytest.approx(theirs.wall, abs=1e-5)
    for name in ("uptime", "disks", "interfaces", "cpu", "memory"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.memory["MemTotal"][0]


def test_a_long_file_of_lines_is_read_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of lines beyond the limit every n-th sample is taken; the rates stay what they are."""
    path = tmp_path / "x_timeseries.jsonl"
    head = {
        "kind": "head", "interval_seconds": 1.0,
        "columns": {"disk": [{"name": "sectors_read"}, {"name": "sectors_written"}]},
    }  # fmt: skip
    lines = [head, {"kind": "layout", "host": "a", "disks": ["sda"]}]
    lines += [
        {"kind": "sample", "host": "a", "seq": n, "sent_wall_ns": n * 10**9, "disk": [[8 * n, n]]}
        for n in range(100)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind": "sam')
    assert len(read_samples(path).hosts["a"]) == 100
    monkeypatch.setattr(reading, "MOST_LINES_BYTES", path.stat().st_size // 3)
    part = read_samples(path)
    host = part.hosts["a"]
    assert len(host) == 25
    assert part.interval_seconds == 4.0
    steps = steps_of(host, part.interval_seconds)
    assert set(rates_of(host.disks["sda"], 0, steps)) == {8 * 512.0}


def test_a_document_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document beyond what may be read whole is refused with its size."""
    series = write_series(tmp_path / "x_timeseries.json", {"a": [sample(1)]})
    monkeypatch.setattr(reading, "MOST_DOCUMENT_BYTES", 10)
    with pytest.raises(ConfigurationError, match="x_timeseries"):
        read_samples(series.path)


def test_lines_that_are_a_link_are_not_followed(tmp_path: Path) -> None:
    """A link beside the document, to wherever, is not read in its place."""
    series = write_series(tmp_path / "x_timeseries.json", {"a": [sample(1), sample(2)]})
    series.path.with_suffix(".jsonl").symlink_to("/etc/passwd")
    assert len(read_samples(series.path).hosts["a"]) == 2


def test_a_gap_breaks_the_line() -> None:
    """A missing value lifts the pen; a lone point between gaps is still on the path."""
    found = chart_of(
        "t", [Data("l", [(0, 0.0), (1, None), (2, 10.0), (4, 5.0)])], x_label="x", unit="u",
        look=Look(y_range=(0.0, 10.0), x_range=(0.0, 4.0)),
    )  # fmt: skip
    assert found is not None
    assert found.strokes[0].path == f"M0 {SIDE}M{SIDE // 2} 0 {SIDE} {SIDE // 2}"
    assert found.strokes[0].dots == ""


def test_nothing_to_draw_is_no_chart() -> None:
    """Lines without a single number make no chart."""
    assert chart_of("t", [Data("l", [(0, None)])], x_label="", unit="") is None
    assert chart_of("t", [], x_label="", unit="") is None
    assert rank_panel(RankSpread("r", "", (), (), ())) is None


def test_too_many_lines_are_said() -> None:
    """A chart draws at most a dozen lines and says that there are more."""
    lines = [Data(str(n), [(0, 1.0), (1, 2.0)]) for n in range(30)]
    found = chart_of("t", lines, x_label="", unit="")
    assert found is not None
    assert len(found.strokes) == MOST_LINES
    assert "of 30" in found.note


def test_phases_lie_behind_the_lines() -> None:
    """A phase is a band from its begin to its end, cut at the axis; one outside is left out."""
    found = chart_of("t", [Data("l", [(0, 1.0), (10, 2.0)])], x_label="", unit="")
    assert found is not None
    bands = with_bands(found, [("in", 2, 4), ("over", 8, 99), ("after", 20, 30)]).bands
    assert [(band.name, band.left, band.width) for band in bands] == [
        ("in", 20, 20),
        ("over", 80, 20),
    ]


def test_small_differences_of_ranks_look_small() -> None:
    """The axis of ranks reaches at least 5 % to each side of the median."""
    panel = rank_panel(RankSpread("r", "s", (0, 1, 2), ("a", "a", "b"), (100.0, 100.5, 101.0)))
    assert panel is not None
    assert panel.chart is not None
    assert panel.chart.y.low < 95.6
    assert panel.chart.y.high > 105.4
    assert panel.highest == "101 s (rank 2 on b)"
    assert [stroke.name for stroke in panel.chart.strokes] == ["a", "b"]


def test_many_hosts_are_shown_by_their_extremes(tmp_path: Path) -> None:
    """Beyond a dozen hosts a chart has the lowest, the median and the highest of them."""
    hosts = {f"n{k}": [sample(s, cached_kib=1000 + k) for s in range(5)] for k in range(20)}
    samples = read_samples(write_series(tmp_path / "x_timeseries.json", hosts).path)
    phases = [PhaseSpan("epoch 1", "2026-11-24T17:22:01Z", "2026-11-24T17:22:03Z")]
    panel = time_panel(samples, phases, most_points=100, most_hosts=2)
    assert panel is not None
    cache = panel.together[-1]
    assert [stroke.name for stroke in cache.strokes] == [
        "highest host",
        "median host",
        "lowest host",
    ]
    assert [host.name for host in panel.hosts] == ["n0", "n1"]
    assert panel.note.startswith("18 more hosts")
    assert [(band.left, band.width) for band in cache.bands] == [(25, 50)]


def test_partitions_do_not_count_twice(tmp_path: Path) -> None:
    """A host's reads are its disks', not once more those of their partitions."""
    hosts = {name: [sample(s) for s in range(5)] for name in ("a", "b")}
    samples = read_samples(write_series(tmp_path / "x_timeseries.json", hosts).path)
    panel = time_panel(samples, (), most_points=100, most_hosts=2)
    assert panel is not None
    assert panel.together[0].spoken.startswith("Read from disks: a 4.096 to 4.096 MB/s")
