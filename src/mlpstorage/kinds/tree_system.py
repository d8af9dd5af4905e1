"""The description of a system that was measured: its schema, and a draft from recorded hosts.

What only the submitter knows (what the storage is, how it is reached) stands in the draft as text
to be replaced, which the validation refuses.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta
from ruamel.yaml import YAML

from mlpstorage.config import convert, parse_yaml
from mlpstorage.core.errors import ConfigurationError
from mlpstorage.store.files import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mlpstorage.kinds.run_details import HostRecord

TO_DO = "TO BE FILLED IN"
UNFILLED = "not filled in:"
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z", max_length=100)]
Text = Annotated[str, Meta(min_length=1, max_length=2000)]
Quantity = Annotated[int, Meta(ge=1, le=1_000_000)]
Size = Annotated[int, Meta(ge=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the description: frozen, and strict about its names."""


class Processor(_Part, frozen=True):
    """The processors of one host."""

    model: Text
    cores: Quantity
    threads: Quantity
    sockets: Quantity = 1
    architecture: str = ""


class ClientNodes(_Part, frozen=True):
    """Client hosts that are alike, and how many of them there are."""

    quantity: Quantity
    memory_bytes: Size
    processor: Processor
    operating_system: Text
    kernel: Text
    chassis: str = ""
    rack_units: float | None = None
    power_supplies: int | None = None
    networking: tuple[Text, ...] = ()
    sysctl: dict[str, str] = {}
    mpi: str = ""


class Storage(_Part, frozen=True):
    """What was measured.

    `simultaneous_read_write` says whether a checkpoint can be read on one host while it is written
    on another; if not, `remap_seconds` is what switching takes, and counts in recovery.
    """

    product: Text
    access: Literal["file", "block", "object"]
    protocol: Text
    usable_capacity_bytes: Size
    simultaneous_read_write: bool
    remap_seconds: Annotated[float, Meta(ge=0)] = 0.0
    nodes: Quantity = 1
    rack_units: float | None = None
    power_watts: float | None = None
    notes: str = ""


class SystemDescription(_Part, frozen=True):
    """A system and its clients."""

    schema: Literal[1]
    name: Name
    organisation: Name
    storage: Storage
    clients: Annotated[tuple[ClientNodes, ...], Meta(min_length=1)]


def read_system(path: Path) -> SystemDescription:
    """The description in a file.

    Raises:
        MlpstorageError: it cannot be read, does not fit the schema (the message names the line), or
            has parts that nobody has filled in.
    """
    document = parse_yaml(read_text(path), str(path))
    unfilled = [name for name, value in document.leaves() if value == TO_DO]
    if unfilled:
        lines = (document.sources.get(name, "").rpartition(":")[2] for name in unfilled)
        named = (
            f"{name} (line {line})" if line else name
            for name, line in zip(unfilled, lines, strict=True)
        )
        raise ConfigurationError(
            f"{path}: {UNFILLED} {', '.join(named)}",
            fix=f"replace {TO_DO!r} by what is true of the system",
        )
    return convert(document, SystemDescription, str(path))


def draft(name: str, organisation: str, hosts: Iterable[HostRecord], mpi: str = "") -> str:
    """The description of a system as YAML text, with what its hosts tell of themselves."""
    alike = Counter(_node(host) for host in hosts)
    clients = [{"quantity": count, **dict(_plain(node))} for node, count in alike.items()]
    for client in clients:
        client["mpi"] = mpi
    document = {
        "schema": 1,
        "name": name,
        "organisation": organisation,
        "storage": {
            "product": TO_DO,
            "access": "file",
            "protocol": TO_DO,
            "usable_capacity_bytes": TO_DO,
            "simultaneous_read_write": True,
            "remap_seconds": 0,
            "nodes": 1,
        },
        "clients": clients,
    }
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment] # as ruamel documents it
    yaml.dump(document, text)
    return text.getvalue()


_Node = tuple[tuple[str, object], ...]


def _node(host: HostRecord) -> _Node:
    """What makes hosts alike; hashable."""
    cpu = host.cpu
    processor = (
        ("model", (cpu.model if cpu else "") or TO_DO),
        ("cores", (cpu.num_cores if cpu else None) or TO_DO),
        ("threads", (cpu.num_logical_cores if cpu else None) or TO_DO),
        ("sockets", (cpu.num_sockets if cpu else None) or 1),
        ("architecture", (cpu.architecture if cpu else "") or ""),
    )
    return (
        ("memory_bytes", host.memory_bytes or TO_DO),
        ("processor", processor),
        ("operating_system", host.operating_system or TO_DO),
        ("kernel", host.kernel or TO_DO),
        ("chassis", host.chassis_model or ""),
    )


def _plain(node: _Node) -> Iterable[tuple[str, object]]:
    for name, value in node:
        yield name, dict(value) if isinstance(value, tuple) else value
