"""What the flags of `vectordb run` say, read and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import UsageError, did_you_mean
from mlpstorage.core.units import parse_bytes, parse_seconds
from mlpstorage.kinds.clients import checked_count
from mlpstorage.kinds.vectordb.control_group import LEAST_CAP_BYTES
from mlpstorage.kinds.vectordb.dataset_choice import resolved_data

if TYPE_CHECKING:
    from mlpstorage.kinds.vectordb.options import RunOptions
    from mlpstorage.kinds.vectordb.workload import ResolvedWorkload

CACHE_STATES = ("cold", "warm")
ARRIVALS = ("closed", "open")
_MOST_BATCH = 10_000
_MOST_REQUESTS = 10**12
_MOST_POINTS = 64


@dataclass(frozen=True)
class RunChoices:
    """The checked values; `rates` and `shares` are empty where the loop is closed alone."""

    resolved: ResolvedWorkload
    clients: tuple[int, ...]
    batch: int
    load_batch: int
    most_requests: int
    rates: tuple[float, ...]
    shares: tuple[float, ...]
    cache_state: str
    memory_cap_bytes: int | None
    memory_cap_share: float | None

    @classmethod
    def of(cls, options: RunOptions) -> RunChoices:
        """Read a command's flags.

        Raises:
            UsageError: one of them is wrong, or two contradict each other.
        """
        _known(options.cache_state, CACHE_STATES, "--cache-state")
        _known(options.arrivals, ARRIVALS, "--arrivals")
        if options.runtime and options.queries:
            raise UsageError(
                "--runtime and --queries exclude each other", fix="leave one of them out"
            )
        if options.queries and options.arrivals == "open":
            raise UsageError("--queries ends closed loops only", fix="give --runtime instead")
        resolved = resolved_data(options, _search_flags(options))
        cap_bytes, cap_share = _cap(options.memory_cap)
        rates, shares = _rates(options.rates) if options.arrivals == "open" else ((), ())
        return cls(
            resolved=resolved,
            clients=resolved.workload.search.concurrency,
            batch=checked_count(options.batch_size, "--batch-size", _MOST_BATCH),
            load_batch=_checked_or_zero(
                options.load_batch_size, "--load-batch-size", _MOST_REQUESTS
            ),
            most_requests=_checked_or_zero(options.queries, "--queries", _MOST_REQUESTS),
            rates=rates,
            shares=shares,
            cache_state=options.cache_state,
            memory_cap_bytes=cap_bytes,
            memory_cap_share=cap_share,
        )


def _search_flags(options: RunOptions) -> dict[str, Any]:
    flags: dict[str, Any] = {"search.k": options.search_limit}
    if options.target_recall:
        flags["search.target_recall"] = _number(options.target_recall, "--target-recall")
    if options.runtime:
        flags["search.steady_seconds"] = _seconds(options.runtime, "--runtime")
    if options.num_query_processes:
        flags["search.concurrency"] = _counts(options.num_query_processes)
    # Nothing at all, or 0, stands for the scale's value; a ramp of 0 means none.
    flags = {name: value for name, value in flags.items() if value}
    if options.ramp:
        flags["search.ramp_seconds"] = _seconds(options.ramp, "--ramp")
    return flags


def _counts(text: str) -> list[int]:
    """The clients of each point.

    >>> _counts("1,2,4")
    [1, 2, 4]
    """
    words = text.replace(",", " ").split()
    if not words or len(words) > _MOST_POINTS or not all(word.isdecimal() for word in words):
        raise UsageError(
            f"--num-query-processes is {text!r}", fix="give clients per point, such as 1,2,4,8"
        )
    return [int(word) for word in words]


def _rates(text: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Rates in requests per second, or shares of the closed loop's most.

    >>> _rates("50%,90%"), _rates("100 250")
    (((), (0.5, 0.9)), ((100.0, 250.0), ()))
    """
    words = text.replace(",", " ").split()
    relative = [word.endswith("%") for word in words]
    values = [_number(word.rstrip("%"), "--rates") for word in words]
    mixed = any(relative) and not all(relative)
    if not words or len(words) > _MOST_POINTS or mixed or min(values) <= 0:
        raise UsageError(
            f"--rates is {text!r}",
            fix="give requests per second (100,200) or shares of the closed loop's most (50%,80%)",
        )
    if relative[0]:
        return (), tuple(value / 100 for value in values)
    return tuple(values), ()


def _number(text: str, option: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}", fix="give a number") from error
    if not 0 <= value < float("inf"):
        raise UsageError(f"{option} is {text!r}", fix="give a number from 0 on")
    return value


def _seconds(text: str, option: str) -> float:
    try:
        return parse_seconds(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error.what}", fix=error.fix) from error


def _cap(text: str) -> tuple[int | None, float | None]:
    """A memory cap in bytes, or as a share of the index.

    >>> _cap("1GiB"), _cap("25%"), _cap("")
    ((1073741824, None), (None, 0.25), (None, None))
    """
    if not text:
        return None, None
    if text.endswith("%"):
        share = _number(text.rstrip("%"), "--memory-cap") / 100
        if not 0 < share <= 1:
            raise UsageError(
                f"--memory-cap is {text}", fix="give a share of the index, such as 25%"
            )
        return None, share
    try:
        cap = parse_bytes(text)
    except UsageError as error:
        raise UsageError(f"--memory-cap: {error.what}", fix=error.fix) from error
    if cap < LEAST_CAP_BYTES:
        raise UsageError(
            f"--memory-cap is {text}",
            why="the engine's own processes need some memory",
            fix="give 16MiB or more",
        )
    return cap, None


def _checked_or_zero(value: int, option: str, most: int) -> int:
    return checked_count(value, option, most) if value else 0


def _known(word: str, words: tuple[str, ...], option: str) -> None:
    if word not in words:
        raise UsageError(f"{option} {word!r} is unknown", fix=did_you_mean(word, words))
