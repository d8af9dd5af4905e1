"""The report of real runs in a real browser: charts drawn, details opened, on screen and paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from checkpointing_tiny import Words
from conftest import Program
from mlpstorage.report.html.page import write_html
from report.browser import browser, chromium
from report.html_documents import document, run, run_set
from vectordb_program import made
from vectordb_program import run as search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from report.browser import Page

CLICK_OPEN = "for (const d of document.querySelectorAll('details')) d.open = true"
# Each drawn thing: whether it has a size, and how many points its longest line has.
CHARTS = """[...document.querySelectorAll('.chart')].map((chart) => {
  const area = chart.querySelector('.area').getBoundingClientRect();
  const strokes = [...chart.querySelectorAll('svg path:not(.none)')];
  return {
    title: chart.querySelector('figcaption').textContent.trim(),
    width: area.width, height: area.height,
    drawn: strokes.filter((s) => {
      const b = s.getBoundingClientRect();
      return s.getTotalLength() > 0 || (s.matches('.dots') && b.width + b.height >= 0);
    }).length,
    inside: strokes.every((s) => {
      const b = s.getBoundingClientRect();
      return b.left >= area.left - 5 && b.right <= area.right + 5
        && b.top >= area.top - 5 && b.bottom <= area.bottom + 5;
    }),
    colours: new Set(strokes.map((s) => getComputedStyle(s).stroke)).size,
    ticks: chart.querySelectorAll('.grid, .ticks b').length,
  };
})"""
TOO_WIDE = """[...document.querySelectorAll('body *')].filter((e) =>
  !e.closest('.wide') && !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1
).map((e) => e.className || e.tagName)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of small runs of the installed command, one of them with a broken record."""
    home = tmp_path_factory.mktemp("runs")
    program = Program(home)
    assert program.datagen(300).code == 0
    fast = ("--timeseries-interval", "0.5", "-aip", "-p", "train.epochs=3")
    done = [program.run(300, *fast, ranks=2) for _ in range(2)]
    words = [w for w in Words(home)() if w != "--skip-timeseries"]
    done.append(program(*words, "--timeseries-interval", "0.5", "-aip"))
    made(program)
    done.append(search(program))
    assert {one.code for one in done} <= {0, 1}, [one.err for one in done]
    broken = program.run(300, *fast)
    record = next(Path(broken.json["result_dir"]).glob("*_metadata.json"))
    record.write_text('{"benchmark_type": "<img src=x onerror=alert(1)>')
    made_report = program("reports", "reportgen", "--results-dir", "results")
    assert made_report.code == 0, made_report.err
    return home / "results" / "report.html"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser; without one, what needs it is skipped."""
    program = chromium()
    if program is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with browser(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chrome: Page) -> Page:
    """The browser with a clean slate."""
    chrome.errors.clear()
    chrome.requests.clear()
    chrome.media()
    return chrome


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_charts_are_drawn(page: Page, report: Path, width: int, dark: bool) -> None:
    """On a phone and a screen, light and dark: every chart has its lines, inside its frame."""
    page.size(width)
    page.media(dark=dark)
    page.open(report)
    page.run(CLICK_OPEN)
    charts: list[dict[str, Any]] = page.run(CHARTS)
    titles = " ".join(chart["title"] for chart in charts)
    for expected in ("AU", "hroughput", "Devices", "Processors", "Memory"):
        assert expected in titles
    assert len(charts) >= 12
    for chart in charts:
        assert chart["drawn"] >= 1, chart
        assert chart["inside"], chart
        assert chart["ticks"] >= 3, chart
        assert chart["width"] >= (250 if width == 390 else 300), chart
        assert chart["height"] >= 100, chart
    assert page.run(TOO_WIDE) == []
    assert page.run("document.documentElement.scrollWidth") <= width
    ink = page.run("getComputedStyle(document.body).backgroundColor")
    assert (ink == "rgb(255, 255, 255)") is not dark
    assert page.errors == []
    assert [url for url in page.requests if not url.startswith("file:")] == []


def test_clicking_through(page: Page, report: Path) -> None:
    """A row leads to its set, headings open and close, a legend hides its line."""
    page.size(1280)
    page.open(report)
    page.run("for (const d of document.querySelectorAll('details')) d.open = false")
    rows = page.run("document.querySelectorAll('tr[data-set]').length")
    assert rows >= 3
    one = page.run("document.querySelector('.set:has(.configuration)').id")
    page.click(f"tr[data-set='{one}'] a")
    assert page.run("location.hash") == f"#{one}"
    page.wait(f"document.getElementById('{one}').open")
    page.click(f"#{one} .configuration > summary")
    assert page.run(f"document.querySelector('#{one} .settings').checkVisibility()")
    sources = page.run(f"document.querySelector('#{one} .configuration').textContent")
    assert "flag --timeseries-interval" in sources
    page.run(CLICK_OPEN)
    several = ".chart:has(.legend li + li)"
    before = page.run(f"document.querySelectorAll('{several} svg g.is-off').length")
    page.click(f"{several} .legend button")
    assert before == 0
    assert page.run(f"document.querySelectorAll('{several} svg g.is-off').length") == 1
    page.click(f"{several} .legend button")
    assert page.run(f"document.querySelectorAll('{several} svg g.is-off').length") == 0
    assert page.errors == []


def test_values_under_the_pointer(page: Page, report: Path) -> None:
    """The pointer over a chart shows each line's value there; keys move on; leaving hides it."""
    page.size(1280)
    page.open(report)
    page.run(CLICK_OPEN)
    page.run(
        "[...document.querySelectorAll('.chart')].find((c) => "
        "c.textContent.includes('Processors')).id = 'cpu'"
    )
    page.hover("#cpu .area", 0.3)
    told = page.run("document.getElementById('tip').textContent")
    assert "busy" in told
    assert "waiting for I/O" in told
    assert page.run("document.querySelectorAll('.cursor').length") == 1
    first = page.run("document.querySelector('.cursor').style.left")
    page.run("document.getElementById('cpu').focus()")
    key = {"key": "ArrowRight", "code": "ArrowRight"}
    page.call("Input.dispatchKeyEvent", type="keyDown", **key)
    page.wait(f"document.querySelector('.cursor')?.style.left > '{first}'")
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=2)
    page.wait("document.getElementById('tip').hidden")
    assert page.errors == []


def test_markup_in_records_is_shown_as_text(page: Page, report: Path) -> None:
    """A broken record whose text is markup is named, and adds no image and no alert."""
    page.size(1280)
    page.open(report)
    page.run(CLICK_OPEN)
    assert "broken" in page.run("document.querySelector('.tally').textContent")
    assert page.run("document.images.length") == 0
    assert page.errors == []


def test_paper_shows_everything(page: Page, report: Path, tmp_path: Path) -> None:
    """Printed, all details are open, the filter is gone, and afterwards all is as before."""
    page.size(1280)
    page.open(report)
    page.run("for (const d of document.querySelectorAll('details')) d.open = false")
    page.run(
        "addEventListener('beforeprint', () => (window.open_ = "
        "document.querySelectorAll('details:not([open])').length))"
    )
    page.paper(tmp_path / "report.pdf")
    assert page.run("window.open_") == 0
    assert page.run("document.querySelectorAll('details[open]').length") == 0
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert content.count(b"/Type /Page\n") >= 3
    page.media(paper=True, dark=True)
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('.tools')).display") == "none"


def test_packed_details_unpack_when_they_are_opened(page: Page, tmp_path: Path) -> None:
    """In a report of many runs a set's details come when it is opened, or led to by its address."""
    sets = [run_set(run(0), run(1), run(2), text=f"model{n}") for n in range(20)]
    path = tmp_path / "many.html"
    write_html(document(*sets), path)
    page.size(1280)
    page.open(path)
    assert page.run("document.querySelectorAll('.chart').length") == 0
    page.click("#set-3 > summary")
    page.wait("document.querySelector('#set-3 .body')")
    page.run(CLICK_OPEN)
    assert all(chart["drawn"] for chart in page.run(CHARTS))
    page.run(
        "(() => { const f = document.getElementById('filter'); f.value = 'model7 training';"
        "f.dispatchEvent(new Event('input')); })()"
    )
    assert page.run("document.querySelectorAll('tr[data-set]:not([hidden])').length") == 1
    assert page.run("document.querySelectorAll('.set:not([hidden])').length") == 2  # and others
    assert page.run("document.getElementById('shown').textContent") == "1 of 20 sets"
    assert page.errors == []
