"""The commands of `mlpstorage kvcache`: each turns options into an answer or measurements."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from mlpstorage.config import user_path
from mlpstorage.core.plan import Answer
from mlpstorage.core.section import Row, Section, Table
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.kinds.clients import asked_clients, free_bytes
from mlpstorage.kinds.kvcache.plan_figures import REUSE_SHARES, plan_figures
from mlpstorage.kinds.kvcache.planner import Planner
from mlpstorage.kinds.kvcache.run import PIECE_BYTES, RANK_BYTES, KvCacheRun
from mlpstorage.kinds.kvcache.setup import setup_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlpstorage.kinds.kvcache.compiled import CompiledPlan
    from mlpstorage.kinds.kvcache.options import DatasizeOptions, RunOptions
    from mlpstorage.kinds.kvcache.plan_figures import PlanFigures
    from mlpstorage.kinds.kvcache.setup import Setup
    from mlpstorage.kinds.measurement import Measurement

# What the time is worked out with where nothing has been measured yet.
ASSUMED_BYTES_PER_SECOND = 1e9
# A plan of this length shows the rates of a serve run; longer ones have the same.
SHOWN_SECONDS = 60.0
_THREADS = 24


def datasize(options: DatasizeOptions, _sources: Mapping[str, str]) -> Answer:
    """Space, memory, time, and what the plan says of hits, reads and writes."""
    folder = user_path(options.cache_dir, "--cache-dir") if options.cache_dir else None
    free = free_bytes(folder or user_path(options.results_dir, "--results-dir"))
    setup = setup_of(options, free)
    clients = asked_clients(options)
    ranks = options.num_processes or sum(host.slots or 1 for host in clients.hosts) or 1
    planner = Planner(setup, 0, ranks if setup.private else 1)
    users, plan = _plan(setup, planner)
    figures = plan_figures(plan) if plan else None
    filled = setup.capacity_bytes if setup.mode in {"serve", "restore"} else 0
    document: dict[str, Any] = {
        "mode": setup.mode,
        "model": setup.model.model,
        "bytes_per_token": setup.shape.bytes_per_token,
        "block_tokens": setup.shape.block_tokens,
        "block_bytes": setup.shape.block_bytes,
        "padding_bytes_per_block": setup.shape.padding_bytes,
        "capacity_bytes": setup.capacity_bytes,
        "capacity_blocks": setup.capacity_blocks,
        "capacity_tokens": setup.capacity_blocks * setup.shape.block_tokens,
        "populate_bytes": filled,
        "space_bytes": min(setup.capacity_bytes, figures.peak_bytes)
        if figures and not filled
        else setup.capacity_bytes,
        "free_bytes": free,
        "ranks": ranks,
        "memory_bytes_per_rank": RANK_BYTES
        + _THREADS * min(PIECE_BYTES, setup.shape.block_bytes)
        + setup.cpu_bytes_per_rank(ranks),
        "seconds": _seconds(setup, filled, plan),
        "assumed_fill_bytes_per_second": ASSUMED_BYTES_PER_SECOND,
        "users": users,
        "max_users": planner.most_users if filled else None,
        "plan": _described(figures) if figures else None,
        "plan_hash": planner.digest(plan) if plan else None,
        "commands": [_next_command(options, folder)],
    }
    return Answer(_sections(document, setup), document)


def _plan(setup: Setup, planner: Planner) -> tuple[int, CompiledPlan | None]:
    """A plan to look at, and its users: of the search, the one with half of the most users."""
    if setup.mode == "replay":
        return 0, planner.replay()
    if setup.mode == "mlperf-v3":
        return setup.users, planner.v3(min(setup.duration_seconds, SHOWN_SECONDS))
    if setup.mode == "serve":
        users = setup.users or max(1, planner.most_users // 2)
        return users, planner.serve(users, min(setup.duration_seconds, SHOWN_SECONDS))
    return setup.users, None


def _seconds(setup: Setup, filled: int, plan: CompiledPlan | None) -> float:
    """How long a run takes: filling at an assumed rate, then measuring."""
    measuring = setup.duration_seconds
    if not measuring and plan is not None and plan.stream.requests:
        measuring = int(plan.stream.arrival_ns[-1]) / 1e9
    return filled / ASSUMED_BYTES_PER_SECOND + measuring


def _described(figures: PlanFigures) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(figures)
    found["hit_rate"] = figures.hit_rate
    found["read_write_ratio"] = figures.read_write_ratio
    found["reuse"]["quantiles"] = list(REUSE_SHARES)
    return found


def _sections(document: dict[str, Any], setup: Setup) -> tuple[Section, ...]:
    free, space = document["free_bytes"], document["space_bytes"]
    rows = [
        Row(
            "block",
            format_bytes(document["block_bytes"]),
            f"{document['block_tokens']} tokens of {document['bytes_per_token']:,.0f} bytes",
        ),
        Row(
            "cache",
            format_bytes(setup.capacity_bytes),
            f"{document['capacity_blocks']} blocks, {document['capacity_tokens']:,} tokens",
        ),
        Row(
            "space",
            format_bytes(space),
            f"{format_bytes(free)} free"
            + ("" if free >= space else f": {format_bytes(space - free)} too little"),
        ),
        Row("memory", format_bytes(document["memory_bytes_per_rank"]), "of each rank"),
        Row("time", format_seconds(document["seconds"]), "filling at 1 GB/s, then measuring"),
    ]
    if document["max_users"]:
        rows.append(Row("users", f"at most {document['max_users']}", "with a session that goes on"))
    sections = [Section(f"KV cache {setup.mode}: {setup.model.model}", rows=tuple(rows))]
    if document["plan"]:
        sections.append(_plan_section(document))
    sections.append(Section("next", lines=tuple(document["commands"])))
    return tuple(sections)


def _plan_section(document: dict[str, Any]) -> Section:
    plan, users = document["plan"], document["users"]
    reuse, ratio = plan["reuse"], plan["read_write_ratio"]
    size = plan["block_bytes"]
    rows = (
        Row("requests", str(plan["requests"]), f"of {plan['sessions']} sessions"),
        Row(
            "hit rate",
            f"{100 * plan['hit_rate']:.1f} % of tokens",
            f"accelerator {100 * plan['hit_gpu']:.1f} %, host {100 * plan['hit_cpu']:.1f} %, "
            f"storage {100 * plan['hit_storage']:.1f} %",
        ),
        Row("reads", format_bytes(plan["read_blocks"] * size), f"{plan['read_blocks']} blocks"),
        Row(
            "writes",
            format_bytes(plan["written_blocks"] * size),
            f"{plan['written_blocks']} blocks",
        ),
        Row("deletes", f"{plan['deleted_blocks']} blocks"),
        Row("reads : writes", "-" if ratio is None else f"{ratio:.2f}"),
        Row(
            "any cache",
            f"{100 * reuse['infinite_hit']:.1f} % of blocks",
            f"{reuse['references']} references to {reuse['unique']} blocks",
        ),
        Row("plan hash", document["plan_hash"][:16]),
    )
    table = None
    if reuse["distances"]:
        head = ("reuse distance", *(f"p{100 * share:.0f}" for share in REUSE_SHARES))
        table = Table(head, (("blocks", *(f"{value:,}" for value in reuse["distances"])),))
    title = f"plan of {users} users" if users else "plan"
    return Section(title, rows=rows, table=table)


def _next_command(options: DatasizeOptions, folder: Path | None) -> str:
    """The run that goes with this size; a test parses it."""
    words = ["mlpstorage", "kvcache", "run"]
    given = {
        "--model": (options.model, "llama3.1-8b"),
        "--model-file": (options.model_file, ""),
        "--profile": (options.profile, ""),
        "--kv-dtype": (options.kv_dtype, "model"),
        "--block-tokens": (options.block_tokens, 0),
        "--tensor-parallel": (options.tensor_parallel, 1),
        "--mode": (options.mode, "auto"),
        "--option": (options.option, 1),
        "--trace": (options.trace, ""),
        "--speed": (options.speed, 1.0),
        "--limit": (options.limit, 0),
        "--num-users": (options.num_users, 0),
        "--workload": (options.workload, "auto"),
        "--workload-file": (options.workload_file, ""),
        "--rag-num-docs": (options.rag_num_docs, 10),
        "--generation-mode": (options.generation_mode, "fast"),
        "--seed": (options.seed, 42),
        "--capacity": (options.capacity, ""),
        "--gpu-mem-gb": (options.gpu_mem_gb, "0"),
        "--cpu-mem-gb": (options.cpu_mem_gb, "0"),
        "--write-policy": (options.write_policy, "inclusive"),
        "--key-space": (options.key_space, "shared"),
        "--duration": (options.duration, ""),
        "--num-processes": (options.num_processes, 0),
        "--hosts": (",".join(options.hosts), ""),
        "--results-dir": (options.results_dir, "results"),
    }
    for name, (value, default) in given.items():
        if value != default:
            words += [name, str(value)]
    flags = ("disable_multi_turn", "disable_prefix_caching", "enable_rag")
    words += [f"--{name.replace('_', '-')}" for name in flags if getattr(options, name)]
    words += ["--cache-dir", str(folder) if folder else "CACHE_DIR"]
    words += ["--classes", *options.classes] if options.classes else []
    return shlex.join(words)


def run(options: RunOptions, _sources: Mapping[str, str]) -> Sequence[Measurement]:
    """The benchmark, once."""
    return [KvCacheRun(options)]
