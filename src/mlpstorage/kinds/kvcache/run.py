"""`kvcache run` as a measurement: its plan, its checks, its job and its outcome."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from mlpstorage.config import user_path
from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.plan import Identity, Plan
from mlpstorage.core.problems import Problem
from mlpstorage.core.rules import Category, Phase, incomplete, judge
from mlpstorage.core.section import Row, Section
from mlpstorage.core.units import format_bytes, format_seconds
from mlpstorage.kinds.clients import checked_count, clients_of, free_bytes, same_filesystem
from mlpstorage.kinds.exclusive import FolderLock
from mlpstorage.kinds.kvcache import result
from mlpstorage.kinds.kvcache.argument import Argument
from mlpstorage.kinds.kvcache.mlperf_v3 import v3_profile
from mlpstorage.kinds.kvcache.plan_figures import plan_figures
from mlpstorage.kinds.kvcache.planner import Planner
from mlpstorage.kinds.kvcache.result_rules import WRONG_BYTES
from mlpstorage.kinds.kvcache.rules import PLAN_RULES, PlanSubject
from mlpstorage.kinds.kvcache.setup import DEFAULT_IN_FLIGHT, setup_of
from mlpstorage.kinds.kvcache.slo import SLOS, bases_ns, per_token_ns
from mlpstorage.kinds.placement import (
    launcher_for,
    needs_of,
    obstacles,
    safeguards_of,
    series_interval_of,
)
from mlpstorage.launch import RankJob
from mlpstorage.preflight.needs import Place

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.core.events import RankResult
    from mlpstorage.core.plan import Outcome
    from mlpstorage.core.rules import Issue
    from mlpstorage.kinds.clients import Clients
    from mlpstorage.kinds.kvcache.options import RunOptions
    from mlpstorage.kinds.kvcache.setup import Setup
    from mlpstorage.kinds.measurement import Safeguards
    from mlpstorage.launch import Launcher
    from mlpstorage.preflight.needs import Needs

MOST_RANKS = 100_000
MOST_TRIALS = 1000
MOST_THREADS = 1024
CLOSED_TRIALS = 3
# An interpreter with numpy, the pool that blocks are made from, and a plan.
RANK_BYTES = 512 << 20
RANK_FILES = 64
PIECE_BYTES = 4 << 20
LAYOUTS = ("files", "slab")
_VERIFY = ("stamps", "full")
_PERFORMANCE = ("latency", "throughput")
_AUTOSCALERS = ("qos", "predictive")
# Options that make other users of the standard ones.
_CHANGES = (
    "kv_dtype", "classes", "disable_multi_turn", "disable_prefix_caching", "enable_rag",
    "generation_mode", "key_space", "model_file",
)  # fmt: skip
_CACHE_DIR = "--cache-dir"
FOLDER = "kvcache_data"


@dataclass(frozen=True)
class KvCacheRun:
    """One run of the KV-cache benchmark, as the user asked for it."""

    options: RunOptions
    run_number: int = field(default_factory=lambda: random.SystemRandom().randrange(1, 1 << 62))
    locks: list[FolderLock] = field(default_factory=list)
    corrupted: list[str] = field(default_factory=list)
    host_memory: int | None = None

    @property
    def results_dir(self) -> Path:
        """The root of the results tree."""
        return user_path(self.options.results_dir, "--results-dir")

    @property
    def tolerates_invalid(self) -> bool:
        """Wrong bytes are never a success, whatever parameters the user allows."""
        return self.options.allow_invalid_params and not self.corrupted

    @property
    def what_if(self) -> bool:
        """Whether to stop after the plan."""
        return self.options.what_if

    @cached_property
    def clients(self) -> Clients:
        """The client hosts."""
        return clients_of(self.options, here=True, host_memory=self.host_memory)

    def on_hosts(self, memory_bytes: int) -> KvCacheRun:
        """The same run, judged by what its hosts have."""
        return replace(self, host_memory=memory_bytes)

    @cached_property
    def ranks(self) -> int:
        """How many ranks there are: as asked, or as the hosts have slots, or one per host."""
        asked, hosts = self.options.num_processes, self.clients.hosts
        if asked:
            return checked_count(asked, "--num-processes", MOST_RANKS)
        return sum(host.slots or 1 for host in hosts) or 1

    @property
    def cache_home(self) -> Path:
        """Where the cache is, or the root of the results if it will be in the run's directory."""
        asked = self.options.cache_dir
        return user_path(asked, _CACHE_DIR) if asked else self.results_dir

    @cached_property
    def setup(self) -> Setup:
        """What is asked of storage."""
        options = self.options
        return setup_of(
            options,
            free_bytes(self.cache_home),
            search=options.enable_autoscaling,
            throughput=options.performance_profile == "throughput",
        )

    @property
    def trials(self) -> int:
        """How many windows count."""
        options = self.options
        published = v3_profile().trials if self.setup.v3_option else 0
        closed = CLOSED_TRIALS if options.closed else 1
        return checked_count(options.trials or published or closed, "--trials", MOST_TRIALS)

    @property
    def slo(self) -> str:
        """The SLO by which users are counted."""
        throughput = self.options.performance_profile == "throughput"
        return "none" if throughput else self.options.slo

    @cached_property
    def identity(self) -> Identity:
        """What the run is called."""
        return Identity(
            kind="kv_cache",
            command="run",
            model=self.setup.model.model,
            segments=("kv_cache", "run"),
            ranks=self.ranks,
            edition=v3_profile().edition if self.setup.v3_option else "",
        )

    @cached_property
    def plan(self) -> Plan:
        """What will be done, and what the rules say so far.

        Raises:
            MlpstorageError: an option is wrong.
        """
        self._check_options()
        options = self.options
        subject = PlanSubject(
            setup=self.setup,
            trials=self.trials,
            direct=not options.buffered,
            raw=options.raw,
            slo=self.slo,
            memory_bytes=self.clients.judged_bytes,
            hosts=self.clients.count,
            changed=self._changed(),
            own_workload=bool(options.workload_file),
            own_model=bool(options.model_file),
            same_filesystem=same_filesystem(self.cache_home, self.results_dir),
        )
        issues = tuple(judge(PLAN_RULES, subject, phase=Phase.PLAN))
        return Plan(
            identity=self.identity,
            asked=Category.CLOSED if options.closed else Category.OPEN,
            issues=issues,
            stops=self._stops(issues),
            sections=(self._plan_section(),),
            parameters=msgspec.to_builtins(self.setup),
            overrides={name: getattr(options, name) for name in self._changed()},
            sources={},
            place=self.cache_home,
        )

    def _changed(self) -> tuple[str, ...]:
        """The names of options that make the users others than the standard ones."""
        defaults = {f.name: f.default for f in self.options.__dataclass_fields__.values()}
        values = {name: getattr(self.options, name) for name in _CHANGES}
        return tuple(name for name, value in values.items() if value != defaults[name])

    def _check_options(self) -> None:
        options = self.options
        if options.closed and options.open:
            raise UsageError("--closed and --open exclude each other", fix="choose one division")
        safeguards_of(options, (), closed=options.closed)
        series_interval_of(options)
        for value, name, known in (
            (options.layout, "--layout", LAYOUTS),
            (options.verify, "--verify", _VERIFY),
            (options.slo, "--slo", SLOS),
            (options.performance_profile, "--performance-profile", _PERFORMANCE),
            (options.autoscaler_mode, "--autoscaler-mode", _AUTOSCALERS),
        ):
            if value not in known:
                raise UsageError(f"{name} {value!r} is unknown", fix=did_you_mean(value, known))
        checked_count(options.threads, "--threads", MOST_THREADS)
        checked_count(options.write_threads, "--write-threads", MOST_THREADS)
        self._check_sharing()

    def _check_sharing(self) -> None:
        """What one cache of several ranks cannot be."""
        options, setup = self.options, self.setup
        if self.ranks == 1 or setup.private:
            if setup.private and setup.mode == "replay":
                raise UsageError(
                    "a trace is replayed in one key space", fix="leave --key-space private out"
                )
            return
        private = "use --key-space private, or --num-processes 1"
        if options.layout == "slab":
            raise UsageError(
                "ranks cannot share slabs",
                why="slots are known to their own rank only",
                fix=private,
            )
        if setup.write_policy == "exclusive":
            raise UsageError(
                "ranks cannot share an exclusive cache",
                why="what a rank evicts from its memory, others would have to wait for",
                fix=private,
            )

    def _stops(self, issues: tuple[Issue, ...]) -> tuple[Issue, ...]:
        """The issues that end the run before it starts."""
        if self.tolerates_invalid:
            return ()
        least = Category.OPEN if self.options.closed else Category.INVALID
        return tuple(issue for issue in issues if issue.category >= least)

    def _plan_section(self) -> Section:
        setup, shape = self.setup, self.setup.shape
        rows = [
            Row(
                "blocks",
                f"{shape.block_tokens} tokens",
                f"{format_bytes(shape.block_bytes)}, {shape.bytes_per_token:,.0f} bytes per token",
            ),
            Row(
                "cache",
                format_bytes(setup.capacity_bytes),
                f"{setup.capacity_blocks} blocks, {setup.key_space}, {self.options.layout}",
            ),
            Row("asks", self._who(), self._pace()),
            Row("lasts", self._how_long(), f"{self.trials} trial{'s' * (self.trials > 1)}"),
            Row("ranks", str(self.ranks), f"{self.options.threads} reads in flight each"),
        ]
        if setup.trace:
            figures = plan_figures(Planner(setup).replay())
            hit, ever = 100 * figures.hit_rate, 100 * figures.reuse.infinite_hit
            rows.append(
                Row(
                    "trace",
                    f"{figures.requests} requests",
                    f"{hit:.1f} % of tokens hit; at most {ever:.1f} % of blocks",
                )
            )
        return Section(
            f"KV cache {setup.mode}: {setup.model.model}", rows=tuple(rows), lines=self._notes()
        )

    def _who(self) -> str:
        setup = self.setup
        if setup.trace:
            return f"trace at {setup.trace.speed:g} × its speed"
        if setup.v3_option:
            return f"option {setup.v3_option}: {setup.users} users per rank"
        if setup.searches:
            return "the most users that meet the SLO"
        if setup.mode == "serve":
            return f"{setup.users} users"
        in_flight = setup.users or DEFAULT_IN_FLIGHT * self.ranks
        return (
            "plain reads and writes" if setup.mode == "raw" else f"{in_flight} requests in flight"
        )

    def _pace(self) -> str:
        setup = self.setup
        if setup.mode != "serve":
            return ""
        decode = (
            f"{setup.decode_ns_per_token / 1e6:g} ms per token"
            if setup.decode_ns_per_token
            else "none"
        )
        return f"workload {setup.workload.workload}, decoding {decode}, SLO {self.slo}"

    def _how_long(self) -> str:
        seconds = self.setup.duration_seconds
        return format_seconds(seconds) if seconds else "as long as the trace"

    def _notes(self) -> tuple[str, ...]:
        """What options do that have another meaning in the reference tool."""
        options, notes = self.options, []
        if options.enable_autoscaling:
            notes.append("--enable-autoscaling: the most users that meet the SLO are searched for")
        if options.autoscaler_mode == "predictive":
            notes.append("--autoscaler-mode predictive: the search goes by the SLO all the same")
        if options.kvcache_bin_path:
            notes.append("--kvcache-bin-path has no effect: the benchmark is part of this program")
        if self.setup.v3_option:
            notes.append("users wait for their answers here: latencies are not ages in a queue")
        return tuple(notes)

    def prerequisite(self) -> None:
        """Nothing: the cache is filled by the run itself."""

    @property
    def safeguards(self) -> Safeguards:
        """What the user wants checked."""
        return safeguards_of(self.options, self.clients.hosts, closed=self.options.closed)

    @property
    def series_interval(self) -> float | None:
        """Seconds between samples of every host."""
        return series_interval_of(self.options)

    def needs(self) -> Needs:
        """What preflight has to look at for this very run."""
        options, setup, remote = self.options, self.setup, bool(self.clients.hosts)
        cache = Place(
            "cache",
            self.cache_home,
            option=_CACHE_DIR,
            shared=remote and not setup.private,
            bytes_needed=setup.capacity_bytes,
            direct=not options.buffered,
            buffered_option="--buffered",
        )
        threads = options.threads + options.write_threads
        needs = needs_of(
            options, self.clients.hosts, self.ranks, f"KV cache run of {setup.model.model}"
        )
        return replace(
            needs,
            places=(cache,),
            memory_bytes_per_rank=RANK_BYTES
            + threads * min(PIECE_BYTES, setup.shape.block_bytes)
            + setup.cpu_bytes_per_rank(self.ranks),
            open_files_per_rank=threads + RANK_FILES,
        )

    def problems(self) -> Sequence[Problem]:
        """Whatever is wrong with places and sizes; everything that is, not the first."""
        setup = self.setup
        found = obstacles(self.results_dir, "--results-dir", writes=True)
        if self.options.cache_dir:
            found += obstacles(self.cache_home, _CACHE_DIR, writes=True)
        free = free_bytes(self.cache_home)
        if free < setup.capacity_bytes:
            found.append(
                Problem(
                    f"{format_bytes(free)} are free for a cache of "
                    f"{format_bytes(setup.capacity_bytes)}",
                    why=f"it will be in {self.cache_home}",
                    fix="give a smaller --capacity, or another --cache-dir",
                )
            )
        parts = self.ranks if setup.private else 1
        if setup.capacity_blocks // parts < 1:
            found.append(
                Problem(
                    "a rank's part of the cache holds no block",
                    fix="give a larger --capacity, or start fewer ranks",
                )
            )
        return found

    def launcher(self) -> Launcher:
        """Local processes or MPI, as options and hosts say."""
        if self.clients.hosts:
            spread(self.ranks, self.clients.hosts)
        return launcher_for(self.options, self.clients.hosts, self.ranks)

    def job(self, run_dir: Path) -> RankJob:
        """One rank per client, as many as asked for."""
        options = self.options
        home = self.cache_home if options.cache_dir else run_dir
        lock = FolderLock(home, "using the cache", "--cache-dir")
        lock.acquire()
        self.locks.append(lock)
        argument = Argument(
            setup=self.setup,
            cache_dir=str(home / FOLDER),
            layout=options.layout,
            threads=options.threads,
            write_threads=self._write_threads(),
            direct=not options.buffered,
            durable=options.durable,
            verify=options.verify,
            keep_cache=options.keep_cache,
            raw=options.raw or self.setup.mode == "raw",
            trials=self.trials,
            slo_base_ns=bases_ns(self.setup, self.slo),
            slo_per_token_ns=per_token_ns(self.setup, self.slo),
            run_number=self.run_number,
        )
        return RankJob(
            worker="mlpstorage.kinds.kvcache.worker:run",
            argument=msgspec.to_builtins(argument),
            size=self.ranks,
            run_dir=run_dir,
            stops_after="blocks under way"
            + ("" if options.keep_cache else " and deleting the cache"),
        )

    def _write_threads(self) -> int:
        option = self.setup.v3_option
        return v3_profile().options[option].allocations if option else self.options.write_threads

    def outcome(self, results: Sequence[RankResult]) -> Outcome:
        """The metrics, the evidence, and what the result rules say of them."""
        return self._outcome_of(results, stopped=False)

    def stopped(self, results: Sequence[RankResult]) -> Outcome:
        """The same of the load points that are complete, or of a window that was cut short."""
        outcome = self._outcome_of(results, stopped=True)
        planned = result.planned_work(self.setup, self.trials, raw=self.options.raw)
        reached = str(results[0].data["reached"])
        return replace(outcome, issues=(incomplete(planned, reached), *outcome.issues))

    def _outcome_of(self, results: Sequence[RankResult], *, stopped: bool) -> Outcome:
        for lock in self.locks:
            lock.release()
        found = result.outcome_of(
            results, setup=self.setup, folder=self.cache_home, slo=self.slo, stopped=stopped
        )
        self.corrupted.extend(i.what for i in found.issues if i.rule == WRONG_BYTES)
        return found
