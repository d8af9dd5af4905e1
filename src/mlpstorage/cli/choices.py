"""The values that options know, for completion; loaded only when somebody asks.

What stands in a public place, such as the packaged models, the backends or the rules, is read
there. What a command keeps to itself stands here, and a test asks the program whether it is all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlpstorage.cli.binding import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_DROP_CACHES = ("auto", "system", "files", "off")
_ENGINES = ("native", "dlio")


def choices_of(group: str, name: str) -> tuple[str, ...]:
    """The words that an option takes, in the order to show them; none if it takes any.

    Args:
        group: The name of the group of commands, such as `training`.
        name: The name of the option's field, such as `accelerator_type`.
    """
    found = _CHOICES.get(f"{group}.{name}", _CHOICES.get(name, ()))
    return found if isinstance(found, tuple) else tuple(dict.fromkeys(found()))


def _from(reference: str) -> Callable[[], Iterable[str]]:
    """The words in what `module:attribute` names: a tuple, a mapping, or a function of either."""

    def words() -> Iterable[str]:
        found = load(reference)
        return tuple(found() if callable(found) else found)

    return words


def _training_accelerators() -> Iterable[str]:
    """Every accelerator that some packaged workload has figures for."""
    for text in _packaged("mlpstorage.kinds.training", "workloads"):
        yield from text["accelerators"]


def _checkpointing_accelerators() -> Iterable[str]:
    (table,) = _packaged("mlpstorage.kinds.checkpointing", "accelerators.yaml")
    return tuple(table)


def _classes() -> Iterable[str]:
    """The classes of users in every packaged workload."""
    for text in _packaged("mlpstorage.kinds.kvcache", "workloads"):
        yield from text["classes"]


def _packaged(package: str, place: str) -> Iterable[dict[str, dict[str, object]]]:
    """The YAML file at a place in a package, or those in a folder there, by name."""
    from importlib import resources

    from mlpstorage.config import parse_yaml

    root = resources.files(package) / place
    files = sorted(root.iterdir(), key=lambda file: file.name) if root.is_dir() else [root]
    for file in files:
        if file.name.endswith(".yaml"):
            yield parse_yaml(file.read_text("utf-8"), file.name).values


def _backends() -> Iterable[str]:
    return (backend.name for backend in load("mlpstorage.kinds.vectordb.backends:BACKENDS"))


def _indexes() -> Iterable[str]:
    """What some backend can build."""
    for backend in load("mlpstorage.kinds.vectordb.backends:BACKENDS"):
        yield from (index.name for index in backend.indexes)


def _metrics() -> Iterable[str]:
    return (name.upper() for name in load("mlpstorage.engine.vectors.distances:METRICS"))


def _benchmarks() -> Iterable[str]:
    return (kind.name for kind in load("mlpstorage.kinds:KINDS"))


def _rule_groups() -> Iterable[str]:
    return (entry.group for entry in load("mlpstorage.kinds.rulebook:rulebook")())


def _phases() -> Iterable[str]:
    return (phase.value for phase in load("mlpstorage.core.rules:Phase"))


# By the group's name and the option's, or by the option's alone where all groups have it alike.
_CHOICES: dict[str, tuple[str, ...] | Callable[[], Iterable[str]]] = {
    "progress": _from("mlpstorage.display:FACES"),
    "exec_type": ("auto", "local", "mpi"),
    "training.model": _from("mlpstorage.kinds.training.workload:packaged_models"),
    "training.accelerator_type": _training_accelerators,
    "training.format": _from("mlpstorage.engine.formats:FORMAT_NAMES"),
    "training.engine": _ENGINES,
    "training.dlio_start_method": ("fork", "spawn"),
    "training.drop_caches": _DROP_CACHES,
    "checkpointing.model": _from("mlpstorage.kinds.checkpointing.workload:packaged_models"),
    "checkpointing.accelerator_type": _checkpointing_accelerators,
    "checkpointing.engine": _ENGINES,
    "checkpointing.drop_caches": _DROP_CACHES,
    "checkpointing.verify": ("stamps", "full", "off"),
    "vectordb.scale": _from("mlpstorage.kinds.vectordb.workload:packaged_scales"),
    "vectordb.config": ("default", "10m"),
    "vectordb.metric_type": _metrics,
    "vectordb.distribution": _from("mlpstorage.engine.vectors.recipe:DISTRIBUTIONS"),
    "vectordb.vdb_engine": _backends,
    "vectordb.index_type": _indexes,
    "vectordb.vector_dtype": ("FLOAT_VECTOR",),
    "vectordb.arrivals": _from("mlpstorage.kinds.vectordb.choices:ARRIVALS"),
    "vectordb.cache_state": _from("mlpstorage.kinds.vectordb.choices:CACHE_STATES"),
    "kvcache.model": _from("mlpstorage.kinds.kvcache.models:packaged_models"),
    "kvcache.profile": _from("mlpstorage.kinds.kvcache.setup:profiles"),
    "kvcache.kv_dtype": lambda: ("model", *load("mlpstorage.kinds.kvcache.models:DTYPE_BYTES")),
    "kvcache.mode": lambda: ("auto", *load("mlpstorage.kinds.kvcache.setup:MODES")),
    "kvcache.option": ("1", "2", "3"),
    "kvcache.workload": lambda: (
        "auto",
        *load("mlpstorage.kinds.kvcache.workload:packaged_workloads")(),
    ),
    "kvcache.classes": _classes,
    "kvcache.generation_mode": _from("mlpstorage.kinds.kvcache.setup:DECODE_NS"),
    "kvcache.write_policy": _from("mlpstorage.kinds.kvcache.setup:POLICIES"),
    "kvcache.key_space": _from("mlpstorage.kinds.kvcache.setup:KEY_SPACES"),
    "kvcache.layout": _from("mlpstorage.kinds.kvcache.run:LAYOUTS"),
    "kvcache.verify": ("stamps", "full"),
    "kvcache.slo": _from("mlpstorage.kinds.kvcache.slo:SLOS"),
    "kvcache.performance_profile": ("latency", "throughput"),
    "kvcache.autoscaler_mode": ("qos", "predictive"),
    "reports.kind": _benchmarks,
    "reports.edition": _from("mlpstorage.core.rules:EDITIONS"),
    "rules.id": _from("mlpstorage.cli.rules.commands:numbers"),
    "rules.kind": _rule_groups,
    "rules.phase": _phases,
    "rules.edition": _from("mlpstorage.core.rules:EDITIONS"),
    "explain.id": _from("mlpstorage.cli.explain.commands:ids"),
    "doctor.for_": _benchmarks,
    "doctor.engine": _ENGINES,
    "engine.engine": lambda: (load("mlpstorage.preflight.dlio:ENGINE"),),
    "completion.shell": _from("mlpstorage.cli.completion.shells:SHELLS"),
}
