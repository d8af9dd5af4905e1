"""What synthetic users ask: typed figures, read from a YAML file."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from mlpstorage.config import convert, load_yaml, parse_yaml
from mlpstorage.core.errors import ConfigurationError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mlpstorage.config import Document

_MOST = 1 << 24
Amount = Annotated[float, Meta(ge=1, le=_MOST)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z")]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of a workload file: frozen, and strict about its names."""


class Spread(_Section, frozen=True):
    """A lognormal distribution: its median and its 95th percentile."""

    p50: Amount
    p95: Amount


class Shared(_Section, frozen=True):
    """Prefixes that sessions have in common; the k-th is chosen with a weight of 1 / k."""

    count: Annotated[int, Meta(ge=0, le=1 << 20)]
    tokens: Spread


class UserClass(_Section, frozen=True):
    """One class of users.

    `turns` is the mean of a geometric distribution; `first` the tokens of the first prompt beyond
    what is shared, `growth` those that a later turn adds; `think` in milliseconds.
    """

    share: Annotated[float, Meta(ge=0, le=1e6)]
    slo: Literal["interactive", "agent", "batch"]
    shares_document: bool
    turns: Annotated[float, Meta(ge=1, le=1000)]
    first: Spread
    growth: Spread
    output: Spread
    think: Spread


class Workload(_Section, frozen=True):
    """All classes of users; `context_tokens` is where a session ends at the latest."""

    workload: Name
    context_tokens: Annotated[int, Meta(ge=64, le=_MOST)]
    system_prompts: Shared
    documents: Shared
    classes: dict[Name, UserClass]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the file."""
        return tuple(self.classes)


def packaged_workloads() -> tuple[str, ...]:
    """The names of the workloads that the package ships, sorted.

    >>> packaged_workloads()
    ('small', 'standard')
    """
    folder = resources.files(__package__) / "workloads"
    return tuple(
        sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


def workload_of(name: str, classes: Sequence[str] = (), file: Path | None = None) -> Workload:
    """A packaged workload or the user's, with other shares of the classes if they are given.

    Args:
        name: Of a packaged workload; without effect where a file is given.
        file: The user's own file.
        classes: Words such as `chat` or `chat=3`; classes that are not named have no share.

    Raises:
        UsageError: a class is unknown, or its share is no number.
        NotFoundError, AccessError, ConfigurationError: the file is missing or wrong.
    """
    workload = _loaded(name, file)
    if not classes:
        return workload
    shares = dict(_share(word) for text in classes for word in text.split(",") if word)
    for word in shares:
        if word not in workload.classes:
            raise UsageError(
                f"--classes: unknown class {word!r}", fix=did_you_mean(word, workload.names)
            )
    chosen = {
        word: msgspec.structs.replace(kind, share=shares.get(word, 0.0))
        for word, kind in workload.classes.items()
    }
    if not sum(shares.values()):
        raise UsageError("--classes leaves no class a share", fix="name one, such as chat")
    return msgspec.structs.replace(workload, classes=chosen)


def _share(word: str) -> tuple[str, float]:
    name, _, text = word.partition("=")
    try:
        share = float(text or 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1e6:  # noqa: PLR2004 (as the schema)
        raise UsageError(f"--classes: {word!r} is not a share", fix="write chat or chat=3")
    return name, share


def _loaded(name: str, file: Path | None) -> Workload:
    if file is None:
        where = f"{name}.yaml"
        text = (resources.files(__package__) / "workloads" / where).read_text("utf-8")
        return _checked(parse_yaml(text, where), where)
    return _checked(load_yaml(file), str(file))


def _checked(document: Document, where: str) -> Workload:
    workload = convert(document, Workload, where)
    if not sum(kind.share for kind in workload.classes.values()):
        raise ConfigurationError(f"{where}: no class has a share", fix="give one a share above 0")
    if len(workload.classes) > 100:  # noqa: PLR2004 (an index of 8 bits)
        raise ConfigurationError(f"{where}: more than 100 classes", fix="leave some out")
    spreads = {
        f"classes.{name}.{part}": getattr(kind, part)
        for name, kind in workload.classes.items()
        for part in ("first", "growth", "output", "think")
    }
    spreads["system_prompts.tokens"] = workload.system_prompts.tokens
    spreads["documents.tokens"] = workload.documents.tokens
    for name, spread in spreads.items():
        if spread.p95 < spread.p50:
            raise ConfigurationError(
                f"{document.sources.get(f'{name}.p95', where)}: {name}.p95 is below p50",
                fix="give a 95th percentile that is no smaller than the median",
            )
    return workload
