"""The options of `mlpstorage kvcache …`, one dataclass per command."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.core.options import opt
from mlpstorage.kinds.options import (
    HOW,
    JUDGE,
    WHAT,
    WHERE,
    ClusterOptions,
    LaunchOptions,
    SeriesOptions,
)

USERS = "Who asks"
CACHE = "How it is cached"


@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    """Which model, who asks, and how it is cached: all that a plan follows from."""

    model: str = opt(
        "llama3.1-8b",
        "Model whose KV cache is offloaded: llama3.1-8b, deepseek-v3, …, or of --model-file.",
        short="-m",
        group=WHAT,
    )
    model_file: str = opt("", "Your own model file (YAML, same schema).", group=WHAT)
    profile: str = opt("", "Model and blocks of the CLOSED division: K1, K2 or K3.", group=WHAT)
    kv_dtype: str = opt("model", "Number format of the cache: model, fp16 or fp8.", group=WHAT)
    block_tokens: int = opt(
        0, "Tokens of a block; 256 by default, with --trace the trace's own 512.", group=WHAT
    )
    tensor_parallel: int = opt(
        1,
        "Accelerators that a model is split over; a block is one's share.",
        short="-tp",
        group=WHAT,
    )
    mode: str = opt(
        "auto",
        "What is measured: serve, restore, store, replay, raw or mlperf-v3; auto is replay "
        "with --trace, else serve.",
        group=WHAT,
    )
    option: int = opt(1, "Option of --mode mlperf-v3: 1, 2 or 3.", group=WHAT)
    trace: str = opt("", "Trace to replay, in Mooncake's format (JSON lines).", group=USERS)
    speed: float = opt(1.0, "How much faster than recorded the trace is replayed.", group=USERS)
    limit: int = opt(0, "Replay the first requests of the trace only; 0 is all.", group=USERS)
    num_users: int = opt(
        0,
        "Users at a time (serve), or requests in flight (restore, store); 0 searches for the most "
        "users that meet the SLO.",
        short="-nu",
        group=USERS,
    )
    workload: str = opt(
        "auto", "Synthetic users: standard, or small for disks of some gigabytes.", group=USERS
    )
    workload_file: str = opt("", "Your own workload file (YAML, same schema).", group=USERS)
    classes: tuple[str, ...] = opt(
        (), "Classes of users and their shares: chat=3 agent.", group=USERS, many=True
    )
    disable_multi_turn: bool = opt(False, "Sessions of one turn only.", group=USERS)
    disable_prefix_caching: bool = opt(
        False, "Sessions share no system prompts and no documents.", group=USERS
    )
    enable_rag: bool = opt(False, "Every class of users asks about shared documents.", group=USERS)
    rag_num_docs: int = opt(10, "Documents of --enable-rag.", group=USERS)
    generation_mode: str = opt(
        "fast",
        "Emulated decoding: none, fast (2 ms per token) or realistic (30 ms per token).",
        group=USERS,
    )
    seed: int = opt(42, "What sessions and order follow from.", group=USERS)
    capacity: str = opt(
        "",
        "Size of the storage tier, all ranks together; a quarter of what is free, at most 16 GiB, "
        "by default.",
        group=CACHE,
    )
    gpu_mem_gb: str = opt(
        "0",
        "Accelerator memory for KV blocks in GiB, all ranks together; emulated: capacity only.",
        group=CACHE,
    )
    cpu_mem_gb: str = opt(
        "0",
        "Host memory for KV blocks in GiB, all ranks together; really taken.",
        group=CACHE,
    )
    write_policy: str = opt(
        "inclusive", "inclusive (write-through) or exclusive (write-on-evict).", group=CACHE
    )
    key_space: str = opt(
        "shared", "shared: all ranks use one cache; private: each its own.", group=CACHE
    )
    cache_dir: str = opt(
        "", "Directory of the storage tier; kvcache_data in the run's directory by default.",
        group=WHERE,
    )  # fmt: skip
    duration: str = opt(
        "",
        "Seconds of measurement, of all load points together; by default 60, for mlperf-v3 300, "
        "for a trace all of it.",
        short="-d",
        group=HOW,
    )
    num_processes: int = opt(
        0, "Ranks over all hosts; one per host by default.", short="-np", group=HOW
    )


@dataclass(frozen=True, kw_only=True)
class DatasizeOptions(ClusterOptions, WorkloadOptions):
    """Options of `kvcache datasize`."""


@dataclass(frozen=True, kw_only=True)
class RunOptions(SeriesOptions, LaunchOptions, WorkloadOptions):
    """Options of `kvcache run`."""

    layout: str = opt(
        "files", "How blocks lie on storage: files (one each) or slab (slots).", group=CACHE
    )
    threads: int = opt(16, "Reads in flight per rank, for waiting requests.", group=HOW)
    write_threads: int = opt(8, "Writes in flight per rank, in the background.", group=HOW)
    buffered: bool = opt(False, "Use the page cache; never CLOSED.", group=HOW)
    durable: bool = opt(False, "Make every block durable before it is visible.", group=HOW)
    verify: str = opt(
        "stamps",
        "What is compared of the blocks read: stamps (of every sector, and 1 % in full) or full.",
        group=HOW,
    )
    keep_cache: bool = opt(False, "Leave the blocks in --cache-dir at the end.", group=HOW)
    raw: bool = opt(
        False, "Measure plain reads and writes first, with fio beside them; CLOSED asks for it.",
        group=HOW,
    )  # fmt: skip
    trials: int = opt(
        0, "Measure this many times; 1 by default, 3 for mlperf-v3 and --closed.", group=HOW
    )
    slo: str = opt(
        "break-even",
        "What a restore may take: break-even (no longer than computing it), interactive or none.",
        group=JUDGE,
    )
    performance_profile: str = opt(
        "latency",
        "latency: the SLO decides; throughput: it is shown, and --mode auto is restore.",
        group=JUDGE,
    )
    enable_autoscaling: bool = opt(
        False, "Search for the number of users, beginning at --num-users.", group=USERS
    )
    autoscaler_mode: str = opt(
        "qos", "What the search goes by: qos (the SLO); predictive is not known here.", group=USERS
    )
    kvcache_bin_path: str = opt(
        "", "Without effect: the benchmark is part of this program.", group=HOW
    )
    closed: bool = opt(False, "Judge by the rules of the CLOSED division.", group=JUDGE)
    open: bool = opt(False, "Judge by the rules of the OPEN division (the default).", group=JUDGE)
    allow_invalid_params: bool = opt(
        False, "Run although the plan is INVALID, and exit 0.", short="-aip", group=JUDGE
    )
