"""What the report of a KV-cache run shows, from its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping


def sections_of(summary: Mapping[str, Any]) -> tuple[Section, ...]:
    """The result first, then the load curve, then the table of raw speeds."""
    found = []
    if "metric" in summary:
        found.append(_headline(summary))
    if summary.get("search"):
        found.append(_curve(summary))
    if summary.get("raw"):
        found.append(_raw(summary))
    return tuple(found)


def _headline(summary: Mapping[str, Any]) -> Section:
    metric = summary["metric"]
    ttft, speedup = metric["ttft_storage_ms"]["all"], metric["restore_speedup"]
    rows = []
    cut = [trial for trial in summary["trials"] if "cut_after_seconds" in trial]
    if cut:
        seconds = format_seconds(cut[0]["cut_after_seconds"])
        rows.append(Row("window", seconds, "cut short: the run was interrupted"))
    if "max_users_at_slo" in summary:
        rows.append(Row("users at SLO", str(summary["max_users_at_slo"]), _search_note(summary)))
    if metric["reads"]:
        rate = metric["tokens_restored_per_s"]
        rows.append(Row("restored", f"{metric['read_gbps']:.2f} GB/s", f"{rate:,.0f} tokens/s"))
    if metric["writes"]:
        rate = metric["tokens_stored_per_s"]
        rows.append(Row("stored", f"{metric['write_gbps']:.2f} GB/s", f"{rate:,.0f} tokens/s"))
    if ttft["n"]:
        name = "restore" if metric["reads"] else "request"
        rows.append(Row(name, _latency(ttft), f"of {ttft['n']} requests"))
    for name in ("read", "write"):
        found = metric[f"block_{name}_ms"]
        if found["n"]:
            rows.append(Row(f"block {name}", _latency(found), f"of {found['n']} blocks"))
    if speedup is not None:
        rows.append(Row("speed-up", f"{speedup:.1f} ×", "of restoring over computing the tokens"))
    rows += _evidence(summary, metric)
    limit = summary.get("bottleneck")
    if limit:
        rows.append(Row("bottleneck", limit["verdict"], limit["explanation"]))
    return Section("result", rows=tuple(rows))


def _search_note(summary: Mapping[str, Any]) -> str:
    if not summary["slo_confirmed"]:
        found = f"no number was confirmed to meet {summary['slo']}"
        return f"{found}; what follows is of {summary['users']}"
    if not summary["search_bounded"]:
        return f"{summary['slo']}; all that the cache has sessions for: give a larger --capacity"
    return str(summary["slo"])


def _evidence(summary: Mapping[str, Any], metric: Mapping[str, Any]) -> list[Row]:
    rows, figures = [], summary["plan"]["figures"]
    if figures:
        planned = metric["planned_hit_rate_tokens_storage"]
        rows.append(
            Row(
                "hit rate",
                f"{100 * metric['hit_rate_tokens_storage']:.1f} % of tokens",
                f"from storage; planned for these requests {100 * planned:.1f} %",
            )
        )
        rows.append(Row("plan", summary["plan"]["hash"][:16], f"seed {summary['plan']['seed']}"))
    check, cores = metric["verification"], metric["cpu_cores_per_GBps"]
    if check["blocks"]:
        wrong = f"{check['bad']} wrong" if check["bad"] else "all as written"
        rows.append(Row("verified", f"{check['blocks']} blocks", wrong))
    if cores is not None:
        share = 100 * summary["cpu_share_of_busiest_rank"]
        rows.append(
            Row("client CPU", f"{cores:.2f} cores per GB/s", f"{share:.0f} % of a rank's part")
        )
    return rows


def _latency(found: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {format_seconds(found[name] / 1e3)}"
        for name in ("p50", "p95", "p99", "max")
        if found[name] is not None
    ]
    return ", ".join(parts)


def _curve(summary: Mapping[str, Any]) -> Section:
    body = tuple(
        (
            str(point["users"]),
            f"{point['read_bytes_per_second'] / 1e9:.2f}",
            f"{point['write_bytes_per_second'] / 1e9:.2f}",
            str(point["requests"]),
            f"{point['restore_p50_ms']:.0f}",
            f"{point['restore_p95_ms']:.0f}",
            f"{100 * point['slo_share_used_p95']:.0f} %",
            _slo_met(point),
        )
        for point in sorted(
            [*summary["search"], *summary.get("trials", ())], key=lambda point: int(point["users"])
        )
    )
    head = (
        "users",
        "read GB/s",
        "write GB/s",
        "requests",
        "p50 ms",
        "p95 ms",
        "p95 of limit",
        "SLO",
    )
    return Section("load curve", table=Table(head, body))


def _slo_met(point: Mapping[str, Any]) -> str:
    if "cut_after_seconds" in point:
        return "window cut short"
    return "met" if point["met"] else str(point["violations"][0])


def _raw(summary: Mapping[str, Any]) -> Section:
    body = tuple(
        (
            point["direction"],
            format_bytes(point["block_bytes"]),
            str(point["queue_depth"]),
            f"{point['rate'] / 1e9:.2f}",
            f"{point['p50_ns'] / 1e6:.2f}",
            f"{point['p99_ns'] / 1e6:.2f}",
            "-" if point["fio_rate"] is None else f"{point['fio_rate'] / 1e9:.2f}",
            "-" if point["efficiency"] is None else f"{point['efficiency']:.2f}",
        )
        for point in summary["raw"]
    )
    head = ("raw", "block", "depth", "GB/s", "p50 ms", "p99 ms", "fio GB/s", "ours / fio")
    return Section("raw speeds", table=Table(head, body))
