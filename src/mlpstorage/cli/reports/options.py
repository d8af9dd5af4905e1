"""The options of `mlpstorage reports …`."""

from __future__ import annotations

from dataclasses import dataclass

from mlpstorage.cli.binding import POSITIONAL
from mlpstorage.core.options import opt

_WHO = "Who submits what"


@dataclass(frozen=True, kw_only=True)
class ReportgenOptions:
    """Options of `reports reportgen`."""

    results_dir: str = opt(
        "results", "Results of any tool: ours, DLIO's, a published tree.", short="-rd"
    )
    output_dir: str = opt("", "Where the files go; the results directory by default.", short="-o")
    kind: tuple[str, ...] = opt(
        (), "Only these benchmarks: training, checkpointing, vectordb, kvcache.", many=True
    )
    no_html: bool = opt(False, "Leave out report.html.")
    json: bool = opt(False, "Print the report as JSON as well.")


@dataclass(frozen=True, kw_only=True)
class ValidateOptions:
    """Options of `reports validate`."""

    tree: str = opt("", "The root of the submission tree.", group=POSITIONAL)
    edition: str = opt("", "Judge by the rules of this round: 2.0 or 3.0; the tree's by default.")
    output: str = opt("", "Write the findings to this file as JSON, too.", short="-o")
    json: bool = opt(False, "Print the findings as JSON.")


@dataclass(frozen=True, kw_only=True)
class PackageOptions:
    """Options of `reports package`."""

    results_dir: str = opt("results", "Root of all results.", short="-rd")
    output_dir: str = opt("", "Where the tree is made; it must not exist.", short="-o")
    organisation: str = opt("", "Who submits.", group=_WHO)
    system: str = opt("", "The name of the system that was measured.", group=_WHO)
    system_file: str = opt(
        "", "The system's description; made from the hosts when left out.", group=_WHO
    )
    closed: bool = opt(False, "Package sets of the CLOSED division.", group=_WHO)
    open: bool = opt(False, "Package sets of the OPEN division.", group=_WHO)
    set: tuple[str, ...] = opt(
        (), "The sets, by id; all valid ones by default.", many=True, group=_WHO
    )
    what_if: bool = opt(False, "Say what would be packaged, and stop.", group=_WHO)
    json: bool = opt(False, "Print the result as JSON.")
