"""Reports made by hand, for the tests of the page that shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlpstorage.core.rules import Category
from mlpstorage.report.model import (
    Better,
    Curve,
    Finding,
    HostView,
    Limit,
    Line,
    Metric,
    PhaseSpan,
    RankSpread,
    ReportDocument,
    Role,
    RunDetails,
    RunSet,
    RunView,
    SeriesReference,
    Setting,
    Spread,
    Unjudged,
)

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_795_540_975.0
_STAMP = "2026-11-24T17:22:{:06.3f}Z"


def sample(second: int, *, device: str = "vda", cached_kib: int = 1000) -> dict[str, object]:
    """A sample of the document of time series: 4 MB/s read, half of one of two processors busy."""
    return {
        "timestamp": _STAMP.format(second),
        "diskstats": [
            {"device_name": device, "sectors_read": 8000 * second, "sectors_written": 10 * second},
            {"device_name": f"{device}1", "sectors_read": 8000 * second, "sectors_written": 0},
        ],
        "netdev": [{"interface_name": "eth0", "rx_bytes": 500 * second, "tx_bytes": 100 * second}],
        "cpu": {"user": 50 * second, "idle": 140 * second, "iowait": 10 * second},
        "meminfo": {"MemTotal": 4000, "Cached": cached_kib},
        "host_uptime_seconds": 100.0 + second,
    }


def write_series(path: Path, hosts: dict[str, list[dict[str, object]]]) -> SeriesReference:
    """A document of time series, and the reference to it."""
    document = {"collection_interval_seconds": 1.0, "samples_by_host": hosts}
    path.write_text(json.dumps(document))
    return SeriesReference(path, 1.0, tuple(hosts), None)


def details(text: str = "node01", series: SeriesReference | None = None) -> RunDetails:
    """Everything that a run may have, with `text` wherever a name stands."""
    epochs = (1.0, 2.0, 3.0)
    return RunDetails(
        curves=(
            Curve(
                f"AU {text}", "epoch", "%", (Line(text, epochs, (91.0, None, 92.0)),),
                limit=90.0, limit_label=f"floor {text}",
            ),
        ),
        ranks=(RankSpread(f"ranks {text}", "samples/s", (0, 1), (text, text), (10.0, 12.0)),),
        phases=(PhaseSpan(text, _STAMP.format(2), _STAMP.format(6)),),
        series=series,
        settings=(Setting(f"train.{text}", text, f"flag {text}"),),
        hosts=(HostView(text, ((text, text),)),),
        problems=(f"summary.json: {text}",),
    )  # fmt: skip


def run(
    number: int, text: str = "unet3d", more: Callable[[], RunDetails] = details, status: str = ""
) -> RunView:
    """A run of a set; number 0 is the warm-up."""
    return RunView(
        run_id=f"training_run_{text}_{number}",
        kind="training",
        command="run",
        model=text,
        accelerator="h100",
        role=Role.MEASURED if number else Role.WARM_UP,
        status=status or "complete",
        reason=f"it broke: {text}" if status else "",
        verdict=None if status else Category.OPEN,
        findings=(finding(text),),
        metrics=(Metric("au", "AU", 91.0 + number, "%"),),
        start=_STAMP.format(1),
        end=_STAMP.format(9),
        runtime_seconds=8.0,
        ranks=2,
        hosts=1,
        directory=Path("/results") / "x",
        executed_command=f"mlpstorage training run --model {text}",
        warnings=(f"warning {text}",),
        limits=(Limit("mixed" if number % 2 else "storage-bound", f"why {text}"),),
        details=more,
    )


def finding(text: str) -> Finding:
    """A finding that makes a run OPEN."""
    return Finding(
        "T.1", f"title {text}", Category.OPEN, f"what {text}", text, text, text, f"fix {text}"
    )


def run_set(*runs: RunView, text: str = "unet3d") -> RunSet:
    """A set of these runs."""
    values = tuple(r.metrics[0].value for r in runs if r.counts)
    spreads = (
        Spread(
            "au", f"AU {text}", "%", Better.HIGHER, True, values,
            sum(values) / len(values), 0.5, min(values), max(values),
        ),
    ) if values else ()  # fmt: skip
    return RunSet(
        id="one", kind="training", model=text, accelerator="h100", organisation=text, system=text,
        origin="mlpstorage", edition="3.0", asked="OPEN", ranks=2, hosts=1, runs=runs,
        verdict=Category.OPEN if values else None, findings=(),
        unjudged=(Unjudged("3.9", f"title {text}", f"why {text}"),), metrics=spreads,
    )  # fmt: skip


def document(*sets: RunSet, text: str = "lab") -> ReportDocument:
    """A report of these sets."""
    return ReportDocument(
        title=f"Results of {text}",
        root=f"/results/{text}",
        created="2026-11-24T18:00:00Z",
        version="0.1.0",
        sets=sets,
        others=(replace(run(0, text), role=Role.OTHER, command="datagen"),),
        problems=(f"x_metadata.json: {text}",),
    )
