"""The HTML report as text: whole, escaped, small, and never stopped by what it shows."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.report.html.budget import Budget
from mlpstorage.report.html.page import render, write_html
from mlpstorage.report.model import Curve, Line, RankSpread, RunDetails, SeriesReference
from report.html_documents import details, document, run, run_set, sample, write_series

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'`{{7*7}}</title>&amp;\u202e"
VOID = {"meta", "img", "input", "br", "path", "link"}


class Reader(HTMLParser):
    """Notes every element with its attributes, all text, and whether elements are nested well."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.misfits: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that holds nothing."""
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Note an end that fits nothing."""
        if not self.open or self.open.pop() != tag:
            self.misfits.append(tag)

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text.append(data)

    def names(self) -> set[str]:
        """The names of all elements."""
        return {name for name, _ in self.elements}


def hostile_page(text: str) -> Reader:
    """A report with this text wherever a text of others can stand."""
    whole = details(text)
    runs = [run(n, text, lambda: whole) for n in (0, 1, 2)]
    broken = run(3, text, lambda: whole, status="broken")
    return Reader(render(document(run_set(*runs, broken, text=text), text=text)))


def test_hostile_names_stay_text() -> None:
    """Markup in names, messages, values and commands adds no element, attribute or handler."""
    tame, hostile = hostile_page("tame"), hostile_page(HOSTILE)
    assert [name for name, _ in hostile.elements] == [name for name, _ in tame.elements]
    for (_, given_attributes), (_, expected) in zip(hostile.elements, tame.elements, strict=True):
        assert given_attributes.keys() == expected.keys()
    assert "img" not in hostile.names()
    assert sum("alert(1)" in part for part in hostile.text) > 20
    assert not hostile.misfits


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(codec=None), min_size=1, max_size=30))
def test_any_text_keeps_the_page_whole(text: str) -> None:
    """Whatever letters a name has, lone surrogates too, the page has the same elements."""
    found = hostile_page(text)
    assert [name for name, _ in found.elements] == [
        name for name, _ in hostile_page("tame").elements
    ]
    assert not found.misfits


def test_nothing_is_loaded_from_outside() -> None:
    """No element names another resource; the policy forbids them; one script runs, by its hash."""
    found = hostile_page("tame")
    for name, attributes in found.elements:
        assert not attributes.keys() & {"src", "srcset", "data", "action", "background"}, name
        assert name not in {"link", "iframe", "object", "embed", "base", "form"}
        assert not (name == "a" and not (attributes["href"] or "").startswith("#"))
    (policy,) = [
        a["content"] or "" for n, a in found.elements
        if n == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]  # fmt: skip
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/=]{44}'", policy)
    html = render(document(run_set(run(1))))
    assert not re.search(r"url\(|@import|https?://", html)


def test_the_page_tells_what_there_is() -> None:
    """Verdict with reasons, metrics with spread, settings with sources, hosts, unjudged rules."""
    text = " ".join(" ".join(hostile_page("unet3d").text).split())
    for expected in (
        "OPEN", "what unet3d", "fix unet3d", "expected unet3d, is unet3d", "92.50", "± 0.5",
        "flag unet3d", "train.unet3d", "why unet3d", "could not be judged", "warm-up", "measured 2",
        "2 ranks on 1 host", "mixed in 1 of 2", "storage-bound in 1 of 2", "why unet3d",
        "lowest 10 samples/s (rank 0 on unet3d)", "mlpstorage training run --model unet3d",
        "warning unet3d", "it broke: unet3d", "summary.json: unet3d", "x_metadata.json: unet3d",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_set_without_a_measured_run_is_shown_as_it_ended() -> None:
    """A set whose only run is broken has that as its state, and a report is made."""
    found = Reader(render(document(run_set(run(1, status="broken")))))
    (row,) = [n for n, (name, a) in enumerate(found.elements) if name == "tr" and "data-set" in a]
    badges = [a for name, a in found.elements[row:] if name == "span" and "badge" in str(a)]
    assert badges[0] == {"class": "badge is-broken"}


def test_the_overview_tells_sets_of_one_workload_apart() -> None:
    """Each row has the start, the id, ranks and hosts in the right number, and what differs."""
    one = replace(
        run_set(run(1)), id="set-a", ranks=1, hosts=1, differs=(("reader.read_threads", "8"),)
    )
    other = replace(run_set(run(1)), id="set-b", not_a_set="not a set: a result needs more")
    text = " ".join(" ".join(Reader(render(document(one, other))).text).split())
    for expected in (
        "set-a", "set-b", "1 rank on 1 host", "2 ranks on 1 host", "reader.read_threads 8",
        "2026-11-24 17:22", "1 set, 1 run, 1 single run", "not a set: a result needs more",
    ):  # fmt: skip
        assert expected in text, expected
    assert "1 ranks" not in text


def test_hosts_over_time_bear_their_own_names(tmp_path: Path) -> None:
    """The host that was asked as localhost is called as everywhere else in the page."""
    samples = [{**sample(n), "hostname": "node07"} for n in range(9)]
    whole = details("n", write_series(tmp_path / "x_timeseries.json", {"localhost": samples}))
    html = render(document(run_set(run(1, more=lambda: whole))))
    assert "node07" in html
    assert "localhost" not in html
    twins = dict.fromkeys(("10.0.0.1", "10.0.0.2"), samples)
    whole = details("n", write_series(tmp_path / "x_timeseries.json", twins))
    html = render(document(run_set(run(1, more=lambda: whole))))
    assert "10.0.0.1" in html
    assert "10.0.0.2" in html


def test_an_empty_report_says_so() -> None:
    """No sets at all make a page that says that nothing was measured."""
    assert "no runs here that measure anything" in render(document())


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x00\xff\xfe", b"{", b"[]", b'{"samples_by_host": 3}', b"[" * 100_000,
        b'{"samples_by_host": {"a": [{"timestamp": 5}]}}',
        b'{"samples_by_host": {"a": [{"timestamp": "yesterday"}]}}',
        b'{"samples_by_host": {"a": [{"timestamp": "9999-12-31T23:59:59-23:59"}]}}',
        b'{"samples_by_host": {"a": [{"timestamp": "2026-01-01", "cpu": {"user": 1e999}}]}}',
    ],
)  # fmt: skip
def test_a_broken_time_series_is_named_and_stops_nothing(tmp_path: Path, content: bytes) -> None:
    """Empty, binary, wrong and absurd files of samples are named in the page, which is made."""
    for name in ("x_timeseries.json", "x_timeseries.jsonl"):
        path = tmp_path / name
        path.write_bytes(content)
        whole = details("node01", SeriesReference(path, None, (), None))
        html = render(document(run_set(run(1, more=lambda whole=whole: whole))))
        assert "cannot be read" in html or "Hosts over time" not in html
        path.unlink()


def test_a_missing_time_series_is_named(tmp_path: Path) -> None:
    """A file that vanished meanwhile is named in the page."""
    whole = details("n", SeriesReference(tmp_path / "gone_timeseries.json", None, (), None))
    assert "gone_timeseries.json: no such file" in render(
        document(run_set(run(1, more=lambda: whole)))
    )


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, float("inf"), float("nan"), 0.0])
def test_absurd_numbers_are_drawn(value: float) -> None:
    """The largest and smallest numbers, infinities and nan make neither an error nor nan."""
    points = (0.0, 1.0, abs(value))
    whole = RunDetails(
        curves=(
            Curve("c", "x", "y", (Line("l", points, (1.0, value, -value)),), limit=value),
            Curve("d", "x", "y", (Line("l", points, (1.0, value, 2.0)),), y_from_zero=False),
        ),
        ranks=(RankSpread("r", "", (0, 1), ("a", "b"), (value, -value)),),
    )
    html = render(document(run_set(run(1, more=lambda: whole))))
    for tag in re.findall(r'style="[^"]*"|data-[xy]="[^"]*"| d="[^"]*"', html):
        assert not re.search(r"nan|inf", tag), tag


def test_many_runs_are_packed_and_unpack_to_the_same(tmp_path: Path) -> None:
    """Details of many runs are compressed in the page; unpacked they are those of few."""
    import base64
    import zlib

    one = document(run_set(run(0), run(1), run(2)))
    few = Budget.of(3)
    packed = render(one, Budget(True, few.points, few.hosts, few.series_bytes))
    (blob,) = re.findall(r'class="packed">([^<]+)<', packed)
    body = zlib.decompress(base64.b64decode(blob)).decode()
    assert body in render(one, few)
    assert len(packed) < len(render(one, few))
    write_html(one, tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == render(one)
    assert [path.name for path in tmp_path.iterdir()] == ["r.html"]


def test_series_beyond_the_budget_are_named_and_not_read(tmp_path: Path) -> None:
    """When time series would be too much, the page says which are not drawn."""
    series = write_series(tmp_path / "x_timeseries.json", {"a": [sample(n) for n in range(9)]})
    whole = details("n", series)
    one = document(run_set(run(1, more=lambda: whole)))
    size = series.path.stat().st_size
    assert "Processors" in render(one, Budget(False, 400, 8, size))
    html = render(one, Budget(False, 400, 8, size - 1))
    assert "Processors" not in html
    assert "x_timeseries.json is not drawn" in html


def test_settings_of_a_run_are_shown_where_they_differ() -> None:
    """The configuration stands once for the set; a run shows only what is its own."""
    first, second = details("same"), details("other")
    html = render(document(run_set(run(1, more=lambda: first), run(2, more=lambda: second))))
    assert html.count("train.same") == 1
    assert html.count("train.other") == 1
    assert html.count("Settings of this run alone") == 1


def test_numbers_in_the_page_are_those_of_the_samples(tmp_path: Path) -> None:
    """The spoken description of each chart has the rates that the counters of the samples tell."""
    hosts = {name: [sample(n) for n in range(9)] for name in ("a", "b")}
    whole = details("n", write_series(tmp_path / "x_timeseries.json", hosts))
    found = Reader(render(document(run_set(run(1, more=lambda: whole)))))
    spoken = [a["aria-label"] or "" for name, a in found.elements if name == "figure"]
    assert "Read from disks: a 4.096 to 4.096 MB/s, mean 4.096; b 4.096" in " ".join(spoken)
    assert any("busy 25 to 25 %" in one for one in spoken)
    assert any("waiting for I/O 5 to 5 %" in one for one in spoken)
    assert any("page cache 1000 to 1000 KiB" in one.replace(",", "") for one in spoken)
    assert json.dumps(spoken)
