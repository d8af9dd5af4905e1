"""What one rank does in a run by DLIO: it calls DLIO, follows it, and hands over what it measured.

The figures come from DLIO's own file of this rank; what the kernel counts comes from around it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlpstorage.core.errors import BenchmarkError
from mlpstorage.engine.dataset import NATIVE
from mlpstorage.engine.dlio import session
from mlpstorage.engine.dlio.prepare import Settings, prepare
from mlpstorage.kinds.training.record import EpochRecord
from mlpstorage.kinds.training.reference_follower import Argument, Rank
from mlpstorage.watch.inventory import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlpstorage.core.events import Event
    from mlpstorage.engine.comm import Comm
    from mlpstorage.engine.dataset import Manifest
    from mlpstorage.kinds.training.reference_follower import Span


def run(argument: dict[str, Any], comm: Comm, emit: Callable[[Event], None]) -> dict[str, Any]:
    """Do all epochs of one rank by DLIO; the epochs' records, and what DLIO says of itself.

    Raises:
        MlpstorageError: the data set is not as asked, or DLIO did not do its steps.
    """
    wanted = msgspec.convert(argument, Argument)
    with (
        session.output_folder(Path(wanted.run_dir), wanted.document, comm) as output,
        session.scratch_folder(output) as scratch,
    ):
        rank = Rank(wanted, comm, emit, scratch)
        modifications = prepare(
            Settings(
                path=wanted.dlio_path,
                stock=wanted.stock,
                scratch=str(scratch),
                table=rank.manifest.spec.table,
                columns=wanted.columns,
                headerless=_is_headerless(rank.manifest),
            )
        )
        if comm.stopping.agreed():  # what was loaded until now takes most of a start
            return {"epochs": [], "complete": 0, "reached": "its start"}
        from mlpstorage.engine.dlio.watch import follow

        follow(rank)
        session.call(output)
        own = _read(output / f"{comm.rank}_output.json")
        summary = _read(output / "summary.json") if comm.rank == 0 else {}
        epochs = [_Epoch.of(own, number) for number, _ in enumerate(rank.spans, 1)]
        left = _left(epochs, wanted, stopped=comm.stopping.stopped)
        comm.stopping.stopped = bool(left)
        planned = planned_bytes(rank.manifest, wanted, comm)
        records = [
            _record(span, epoch, wanted, planned)
            for span, epoch in zip(rank.spans, epochs, strict=True)
            if epoch.steps == wanted.steps  # of one that was left, only how far it got is kept
        ]
    return {
        "epochs": [msgspec.to_builtins(record) for record in records],
        "dlio": {"modifications": modifications, "summary": _small(summary)},
        **left,
    }


def _left(epochs: list[_Epoch], wanted: Argument, *, stopped: bool) -> dict[str, Any]:
    """Nothing if all was done; else how many epochs are complete, and how far the run came.

    Raises:
        BenchmarkError: steps are missing that the user's wish to stop does not explain.
    """
    whole = [epoch.steps == wanted.steps for epoch in epochs]
    complete = len(epochs) if all(whole) else whole.index(False)
    if complete < len(epochs):
        steps = epochs[complete].steps
        if not (stopped and complete == len(epochs) - 1 and 0 < steps < wanted.steps):
            raise BenchmarkError(
                f"DLIO did {steps} of {wanted.steps} steps in an epoch",
                why="its exit code does not tell; the steps in its own files do",
                fix="see dlio.log in the run's directory",
            )
        reached = f"epoch {len(epochs)}/{wanted.epochs}, step {steps}/{wanted.steps}"
    elif not stopped or complete == wanted.epochs:
        return {}
    else:
        reached = f"epoch {complete}/{wanted.epochs}"
    return {"complete": complete, "reached": reached}


def _is_headerless(manifest: Manifest) -> bool:
    return manifest.spec.format == "csv" and manifest.producer == NATIVE


def _read(path: Path) -> dict[str, Any]:
    """A file that DLIO wrote in the end.

    Raises:
        BenchmarkError: it did not.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"DLIO ended, but left no {path.name}: {error}",
            why="its figures are taken from that file",
            fix=f"see {path.with_name('dlio.log')}",
        ) from error
    return found


def _small(summary: dict[str, Any]) -> dict[str, Any]:
    """DLIO's summary without what it copies of /proc, which our record has anyway."""
    return {name: value for name, value in summary.items() if not isinstance(value, dict)} | {
        "metric": summary.get("metric", {})
    }


@dataclass(frozen=True)
class _Epoch:
    """One epoch in DLIO's file of a rank: seconds of each step over all blocks."""

    load: list[float]
    both: list[float]

    @property
    def steps(self) -> int:
        """How many steps were loaded and processed; 0 where the two contradict each other."""
        return len(self.both) if len(self.load) == len(self.both) else 0

    @classmethod
    def of(cls, own: dict[str, Any], number: int) -> _Epoch:
        """The epoch of this number, from 1."""
        epoch = own.get(str(number), {})
        return cls(_flat(epoch.get("load", {})), _flat(epoch.get("proc", {})))


def _flat(blocks: dict[str, list[float]]) -> list[float]:
    return [seconds for steps in blocks.values() for seconds in steps]


def _record(span: Span, epoch: _Epoch, wanted: Argument, planned: int) -> EpochRecord:
    """One epoch as the native engine records it; computing is what a step took beside loading."""
    ticks = os.sysconf("SC_CLK_TCK")
    return EpochRecord(
        start=span.start,
        end=span.end,
        load_us=[round(load * 1e6) for load in epoch.load],
        compute_us=[
            round((both - load) * 1e6) for both, load in zip(epoch.both, epoch.load, strict=True)
        ],
        block_seconds=span.block_seconds,
        samples=epoch.steps * wanted.batch_size,
        bytes_planned=planned,
        rchar=span.used.rchar,
        read_bytes=span.used.read_bytes,
        user_seconds=span.used.user_seconds,
        system_seconds=span.used.system_seconds,
        host_busy_seconds=span.host_busy_ticks / ticks,
        host_iowait_seconds=span.host_iowait_ticks / ticks,
        host_cpus=usable_cpus(),
        reader_busy_seconds=None,
        readers=wanted.read_threads,
        visits=0,
        visit_us={},
        drop_method=span.drop_method,
        drop_seconds=span.drop_seconds,
        processes=1 + wanted.workers,
        network_share=span.network_share,
    )


def planned_bytes(manifest: Manifest, wanted: Argument, comm: Comm) -> int:
    """The bytes of the samples that are this rank's in an epoch.

    DLIO deals the samples to ranks in the order of the files, in equal shares.
    """
    per_file = manifest.spec.samples_per_file
    share = wanted.files * per_file // comm.size
    first = comm.rank * share
    begin, end = first // per_file, -(-(first + share) // per_file)
    inside = np.arange(begin, end)
    samples = np.minimum((inside + 1) * per_file, first + share) - np.maximum(
        inside * per_file, first
    )
    whole = float((manifest.file_bytes[begin:end] * (samples / per_file)).sum())
    if manifest.spec.table is not None:
        from mlpstorage.engine.dlio.parquet import read_share

        path = Path(wanted.data_dir) / manifest.spec.relative_path(int(begin))
        whole *= read_share(str(path), wanted.columns)
    return round(whole * wanted.steps * wanted.batch_size / share)
