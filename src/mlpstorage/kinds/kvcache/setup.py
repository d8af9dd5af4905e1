"""All that a plan follows from, resolved from options and checked; it travels to the ranks."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.config import parse_yaml, user_path
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.units import GIB, format_bytes, parse_bytes, parse_seconds
from mlpstorage.kinds.clients import checked_count
from mlpstorage.kinds.kvcache.mlperf_v3 import ENTRY_BLOCK_TOKENS, v3_profile
from mlpstorage.kinds.kvcache.models import (
    KvModel,  # noqa: TC001 (msgspec needs it)
    Shape,
    model_of,
)
from mlpstorage.kinds.kvcache.trace import TRACE_BLOCK_TOKENS
from mlpstorage.kinds.kvcache.workload import (
    Shared,
    Workload,  # noqa: TC001 (msgspec needs it)
    packaged_workloads,
    workload_of,
)

if TYPE_CHECKING:
    from mlpstorage.kinds.kvcache.mlperf_v3 import V3Option
    from mlpstorage.kinds.kvcache.options import WorkloadOptions

DEFAULT_MODEL = "llama3.1-8b"
DEFAULT_BLOCK_TOKENS = 256
DEFAULT_SECONDS = 60.0
MODES = ("serve", "restore", "store", "replay", "raw", "mlperf-v3")
POLICIES = ("inclusive", "exclusive")
KEY_SPACES = ("shared", "private")
DECODE_NS = {"none": 0, "fast": 2_000_000, "realistic": 30_000_000}
# What a laptop can spare, and what is filled within seconds.
DEFAULT_CAPACITY_BYTES = 16 * GIB
FREE_PARTS = 4
# A cache for which the standard workload has enough sessions to choose from.
STANDARD_BYTES = 512 * GIB
MOST_USERS = 100_000
# Requests at a time of restore and store, in each rank.
DEFAULT_IN_FLIGHT = 4
MOST_BLOCK_TOKENS = 1 << 20
_MOST_BYTES = 1 << 56
_MOST_SECONDS = 30 * 86_400


class TraceChoice(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of which trace is replayed, and how fast."""

    path: str
    speed: float
    limit: int | None


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of storage; sizes in bytes over all ranks together.

    `users` is 0 where the most users are searched for; `first_users` is where the search begins.
    """

    mode: str
    model: KvModel
    shape: Shape
    profile: str
    workload: Workload
    trace: TraceChoice | None
    v3_option: str
    users: int
    first_users: int
    multi_turn: bool
    shared_prefixes: bool
    decode_ns_per_token: int
    seed: int
    gpu_bytes: int
    cpu_bytes: int
    capacity_bytes: int
    write_policy: str
    key_space: str
    duration_seconds: float

    @property
    def prefill_tokens_per_second(self) -> float:
        """How fast the emulated accelerators compute a prompt."""
        return self.model.prefill_tokens_per_second(self.shape.tensor_parallel)

    @property
    def capacity_blocks(self) -> int:
        """How many blocks the storage tier holds."""
        return self.capacity_bytes // self.shape.block_bytes

    def cpu_bytes_per_rank(self, ranks: int) -> int:
        """Host memory that a rank takes; the published options give each client all of it."""
        return self.cpu_bytes if self.v3_option else self.cpu_bytes // ranks

    @property
    def private(self) -> bool:
        """Whether every rank has a cache of its own."""
        return self.key_space == "private"

    @property
    def searches(self) -> bool:
        """Whether the number of users is what is looked for."""
        return self.mode == "serve" and not self.users


def setup_of(
    options: WorkloadOptions, free_bytes: int, *, search: bool = False, throughput: bool = False
) -> Setup:
    """The setup that options describe.

    Args:
        options: What the user said.
        free_bytes: What is free where the cache will be.
        search: Search for the number of users, beginning at the one that is given.
        throughput: Whether `--mode auto` means peak reading.

    Raises:
        MlpstorageError: an option is malformed, or two of them contradict each other.
    """
    mode = _mode(options, throughput=throughput)
    v3 = _v3_option(options) if mode == "mlperf-v3" else None
    model, shape = _model(options, mode, v3)
    capacity = _capacity(options, free_bytes, shape)
    users = options.num_users and checked_count(options.num_users, "--num-users", MOST_USERS)
    return Setup(
        mode=mode,
        model=model,
        shape=shape,
        profile=options.profile or ("" if v3 else _profile_of(options, model, shape)),
        workload=_workload(options, capacity),
        trace=_trace(options, mode),
        v3_option=str(options.option) if v3 else "",
        users=0 if search else users or (v3.users if v3 else 0),
        first_users=users or 1,
        multi_turn=not options.disable_multi_turn,
        shared_prefixes=not options.disable_prefix_caching,
        decode_ns_per_token=DECODE_NS["none"]
        if v3
        else DECODE_NS[_one_of(options.generation_mode, "--generation-mode", tuple(DECODE_NS))],
        seed=_seed(options.seed),
        gpu_bytes=_bytes(options.gpu_mem_gb, "--gpu-mem-gb", GIB),
        cpu_bytes=_bytes(options.cpu_mem_gb, "--cpu-mem-gb", GIB) or (v3.cpu_gb * GIB if v3 else 0),
        capacity_bytes=capacity,
        write_policy=_one_of(options.write_policy, "--write-policy", POLICIES),
        key_space="private" if v3 else _one_of(options.key_space, "--key-space", KEY_SPACES),
        duration_seconds=_duration(options.duration, mode),
    )


def _mode(options: WorkloadOptions, *, throughput: bool) -> str:
    if options.mode == "auto":
        return "replay" if options.trace else "restore" if throughput else "serve"
    mode = _one_of(options.mode, "--mode", MODES)
    if mode == "replay" and not options.trace:
        raise UsageError("--mode replay has no trace", fix="name one with --trace")
    if options.trace and mode != "replay":
        raise UsageError(f"--mode {mode} replays no trace", fix="leave --trace or --mode out")
    return mode


def _one_of(value: str, option: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise UsageError(f"{option} {value!r} is unknown", fix=did_you_mean(value, known))
    return value


def _v3_option(options: WorkloadOptions) -> V3Option:
    known = v3_profile().options
    if str(options.option) not in known:
        raise UsageError(f"--option {options.option} is unknown", fix="choose 1, 2 or 3")
    return known[str(options.option)]


def profiles() -> dict[str, dict[str, int | str]]:
    """The profiles of the CLOSED division, by name."""
    text = (resources.files(__package__) / "profiles.yaml").read_text("utf-8")
    return parse_yaml(text, "profiles.yaml").values


def _model(options: WorkloadOptions, mode: str, v3: V3Option | None) -> tuple[KvModel, Shape]:
    name, tokens, parallel = options.model, options.block_tokens, options.tensor_parallel
    if options.profile:
        known = profiles()
        figures = known[_one_of(options.profile, "--profile", tuple(known))]
        own = (name, tokens, parallel)
        name, tokens = str(figures["model"]), int(figures["block_tokens"])
        parallel = int(figures["tensor_parallel"])
        if any(
            v not in {d, p}
            for v, d, p in zip(own, (DEFAULT_MODEL, 0, 1), (name, tokens, parallel), strict=True)
        ):
            raise UsageError(
                f"--profile {options.profile} is {name} in blocks of {tokens} tokens, split over "
                f"{parallel}",
                fix="leave --profile out, or --model, --block-tokens and --tensor-parallel",
            )
    if v3 is not None:
        if (
            options.profile
            or name not in {DEFAULT_MODEL, v3.model}
            or tokens not in {0, ENTRY_BLOCK_TOKENS}
        ):
            raise UsageError(
                f"--option {options.option} of mlperf-v3 is {v3.model}, stored in blocks of "
                f"{ENTRY_BLOCK_TOKENS} tokens",
                fix="leave --model, --block-tokens and --profile out",
            )
        name, tokens = v3.model, ENTRY_BLOCK_TOKENS
    file = user_path(options.model_file, "--model-file") if options.model_file else None
    model = model_of(name, file).with_dtype(options.kv_dtype)
    tokens = tokens or (TRACE_BLOCK_TOKENS if mode == "replay" else DEFAULT_BLOCK_TOKENS)
    checked_count(tokens, "--block-tokens", MOST_BLOCK_TOKENS)
    checked_count(parallel, "--tensor-parallel", 1 << 10)
    return model, Shape.of(model, tokens, parallel)


def _profile_of(options: WorkloadOptions, model: KvModel, shape: Shape) -> str:
    """The profile whose model and blocks these are, though nobody has named it; empty for none."""
    if options.model_file or options.kv_dtype != "model":
        return ""
    mine = (model.model, shape.block_tokens, options.tensor_parallel)
    for name, figures in profiles().items():
        if mine == (figures["model"], figures["block_tokens"], figures["tensor_parallel"]):
            return name
    return ""


def _capacity(options: WorkloadOptions, free_bytes: int, shape: Shape) -> int:
    """The storage tier in bytes: whole blocks."""
    asked = _bytes(options.capacity, "--capacity", 1) if options.capacity else 0
    chosen = asked or min(DEFAULT_CAPACITY_BYTES, free_bytes // FREE_PARTS)
    if chosen < shape.block_bytes:
        raise UsageError(
            f"the storage tier of {format_bytes(chosen)} holds no block of "
            f"{format_bytes(shape.block_bytes)}",
            why="" if asked else f"{format_bytes(free_bytes)} are free where the cache would be",
            fix="give a larger --capacity, or smaller --block-tokens",
        )
    return chosen // shape.block_bytes * shape.block_bytes


def _workload(options: WorkloadOptions, capacity_bytes: int) -> Workload:
    if options.workload_file:
        file = user_path(options.workload_file, "--workload-file")
        workload = workload_of("", options.classes, file)
    else:
        known = ("auto", *packaged_workloads())
        name = _one_of(options.workload, "--workload", known)
        if name == "auto":
            name = "standard" if capacity_bytes >= STANDARD_BYTES else "small"
        workload = workload_of(name, options.classes)
    if not options.enable_rag:
        return workload
    count = checked_count(options.rag_num_docs, "--rag-num-docs", 1 << 20)
    return msgspec.structs.replace(
        workload,
        documents=Shared(count=count, tokens=workload.documents.tokens),
        classes={
            name: msgspec.structs.replace(kind, shares_document=True)
            for name, kind in workload.classes.items()
        },
    )


def _trace(options: WorkloadOptions, mode: str) -> TraceChoice | None:
    if mode != "replay":
        return None
    if options.limit < 0:
        raise UsageError(f"--limit is {options.limit}", fix="give a number of requests, or 0")
    if not 0 < options.speed <= 1e6:  # noqa: PLR2004 (false for nan)
        raise UsageError(f"--speed is {options.speed}", fix="give a number above 0, such as 1")
    path = user_path(options.trace, "--trace")
    return TraceChoice(path=str(path), speed=options.speed, limit=options.limit or None)


def _seed(seed: int) -> int:
    if not 0 <= seed < 1 << 63:
        raise UsageError(f"--seed is {seed}", fix="give a number from 0 to 2⁶³ - 1")
    return seed


def _bytes(text: str, option: str, unit: int) -> int:
    fix = "give a size such as 64GiB or 1TB" + (", or a number of GiB" if unit > 1 else "")
    try:
        found = parse_bytes(text, bare_unit=unit)
    except UsageError as error:
        raise UsageError(f"{option}: {error.what}", fix=fix) from error
    if found > _MOST_BYTES:
        raise UsageError(f"{option} is {text}", fix=fix)
    return found


def _duration(text: str, mode: str) -> float:
    """Seconds; 0 for all of a trace."""
    if not text:
        published = float(v3_profile().duration)
        return {"replay": 0.0, "mlperf-v3": published}.get(mode, DEFAULT_SECONDS)
    try:
        seconds = parse_seconds(text)
    except UsageError as error:
        raise UsageError(f"--duration: {error.what}", fix=error.fix) from error
    if not 1 <= seconds <= _MOST_SECONDS:
        raise UsageError(f"--duration is {text}", fix="give a time such as 60, 5m or 1h")
    return seconds
