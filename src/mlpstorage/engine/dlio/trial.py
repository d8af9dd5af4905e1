"""A trial of an unknown DLIO on a few tiny files, as `python -m mlpstorage.engine.dlio.trial`.

The known fatal defects of later trees show in what they do, and not in what they call themselves:
one of 2026-05 (#339) drops all files of several samples, does no step and ends with code 0; the tag
v2.0.1 reports an AU and a throughput of 0. So a tree that is not the release of 2024 must generate
a few files and read them before it is trusted with a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlpstorage.engine.dlio import session
from mlpstorage.engine.dlio.prepare import Settings, prepare

if TYPE_CHECKING:
    from pathlib import Path

_FILES, _BATCH = 4, 2
_SECONDS = 180.0
_MARK = "mlpstorage-trial "


@dataclass(frozen=True)
class Verdict:
    """What a trial showed; `why` is empty where the tree did what it was asked for."""

    why: str
    log: str = ""


def try_tree(root: Path, samples_per_file: int) -> Verdict:
    """Have the DLIO in a directory generate and read tiny files, in a process of its own.

    It runs as an MPI job of one rank, without a launcher, and takes about ten seconds.
    """
    samples = 1 if samples_per_file == 1 else _BATCH
    command = [sys.executable, "-m", __spec__.name, str(root), str(samples)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(f"it did not end within {_SECONDS:.0f} s on {_FILES} tiny files")
    _, found, answer = done.stdout.rpartition(_MARK)
    if not found:
        return Verdict("it failed on a few tiny files", done.stderr[-2000:])
    return Verdict(_judged(json.loads(answer), _FILES * samples // _BATCH), done.stderr[-2000:])


def _judged(answer: dict[str, Any], expected: int) -> str:
    """What is wrong with an answer, or nothing.

    >>> _judged({"steps": 0, "au": 0.0, "throughput": -7.0}, 4)
    'it did 0 of 4 steps and ended as if all were well (as trees since #339 of 2026-05)'
    >>> _judged({"steps": 4, "au": 0.0, "throughput": 0.0}, 4)
    'it reports an AU of 0.0 and a throughput of 0.0 (as the tag v2.0.1)'
    """
    steps, au, throughput = answer["steps"], answer["au"], answer["throughput"]
    if steps != expected:
        return (
            f"it did {steps} of {expected} steps and ended as if all were well "
            "(as trees since #339 of 2026-05)"
        )
    if not (au > 0 and throughput > 0):
        return f"it reports an AU of {au} and a throughput of {throughput} (as the tag v2.0.1)"
    return ""


def _document(folder: Path, samples: int) -> dict[str, Any]:
    lengths = {"record_length": 4096, "record_length_bytes": 4096}
    return {
        "model": "trial",
        "framework": "pytorch",
        "workflow": {"generate_data": True, "train": True},
        "dataset": {
            "data_folder": str(folder),
            "format": "npz",
            "num_files_train": _FILES,
            "num_samples_per_file": samples,
            **lengths,
        },
        "reader": {"data_loader": "pytorch", "batch_size": _BATCH, "read_threads": 1},
        "train": {"epochs": 1, "computation_time": 0.001},
        "checkpoint": {"model_size": 0, "layer_parameters": []},
    }


def main(root: str, samples: str) -> None:
    """Run the trial in this process and say what came of it, after a mark on standard output."""
    answers = os.dup(1)
    os.dup2(2, 1)
    with session.scratch_folder() as scratch:
        prepare(Settings(path=root, scratch=str(scratch)))
        output = scratch / "output"
        session.write_configuration(output, _document(scratch / "data", int(samples)))
        session.call(output)
        own = json.loads((output / "0_output.json").read_text("utf-8"))
        summary = json.loads((output / "summary.json").read_text("utf-8"))
    metric = summary["metric"]
    answer = {
        "steps": sum(len(block) for block in own.get("1", {}).get("proc", {}).values()),
        "au": metric.get("train_au_mean_percentage", 0.0),
        "throughput": metric.get("train_throughput_mean_samples_per_second", 0.0),
    }
    os.write(answers, f"{_MARK}{json.dumps(answer)}\n".encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
