"""Results as this program leaves them, made up quickly: for tests of what reads many of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from mlpstorage.core.run import Status
from mlpstorage.kinds.training.workload import resolve_workload
from mlpstorage.store import code
from mlpstorage.store.codec import Metadata, encode, utc_text, write_metadata
from mlpstorage.store.layout import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GIB = 1 << 30
START = datetime(2026, 1, 10, 9, 30, tzinfo=timezone.utc)


def host(name: str = "node01", memory_bytes: int = 16 * GIB) -> dict[str, Any]:
    """A host's record."""
    return {
        "hostname": name,
        "memory": {"total": memory_bytes},
        "cpu": {
            "num_cores": 8,
            "num_logical_cores": 16,
            "num_sockets": 1,
            "model": "Some Processor",
            "architecture": "x86_64",
        },
        "system": {"kernel_version": "6.1.0", "os_release": {"PRETTY_NAME": "Debian 12"}},
        "chassis_model": None,
    }


def training_summary(
    throughput: float = 40.0, au: float = 95.0, files: int = 3500, epochs: int = 5
) -> dict[str, Any]:
    """A summary of training."""
    return {
        "start": utc_text(START),
        "end": utc_text(START + timedelta(seconds=600)),
        "num_accelerators": 1,
        "num_hosts": 1,
        "hostname": "node01",
        "num_files_train": files,
        "num_samples_per_file": 1,
        "epochs": epochs,
        "metric": {
            "train_au_percentage": [au] * epochs,
            "train_au_mean_percentage": au,
            "train_throughput_samples_per_second": [throughput] * epochs,
            "train_throughput_mean_samples_per_second": throughput,
            "train_io_mean_MB_per_second": throughput * 139.8,
        },
        "bottleneck": {"cached_share": 0.0, "host_cpu_share": 0.2},
        "file_read_latency_us": {"p50": 900, "p99": 4000},
    }


def unet3d(seed: int = 1) -> dict[str, Any]:
    """The parameters of a run of unet3d on an H100."""
    found: dict[str, Any] = msgspec.to_builtins(resolve_workload("unet3d", "h100").workload)
    found["train"]["seed"] = seed
    return found


@dataclass
class Results:
    """A results directory that is filled run by run; the clock goes on with each."""

    root: Path
    now: datetime = field(default=START)

    def add(
        self,
        kind: str = "training",
        segments: tuple[str, ...] = ("training", "unet3d", "run"),
        command: str = "run",
        summary: dict[str, Any] | None = None,
        *,
        seconds: float = 600.0,
        pause: float = 60.0,
        verdict: str | None = "CLOSED",
        issues: tuple[dict[str, str], ...] = (),
        system_info: dict[str, Any] | None = None,
        **facts: Any,  # noqa: ANN401 (any field of the metadata)
    ) -> Path:
        """Write a run that ended well, unless the facts say otherwise; its directory."""
        run = RunDirectory.create(self.root, segments, self.now.astimezone(), command=command)
        end = self.now + timedelta(seconds=seconds)
        model = facts.pop("model", "unet3d")
        known: dict[str, Any] = {
            "benchmark_type": kind,
            "model": model,
            "command": command,
            "run_datetime": run.timestamp,
            "run_id": f"{kind}_{command}_{model}_{run.timestamp}",
            "num_processes": 1,
            "accelerator": "h100" if kind == "training" else None,
            "result_dir": str(run.path),
            "status": Status.COMPLETE,
            "exit_code": 0,
            "engine": "native",
            "edition": "3.0",
            "division": "CLOSED",
            "mlpstorage_version": "0.1.0",
            "code_identity": code.code_identity(),
            "start_time": utc_text(self.now),
            "end_time": utc_text(end),
            "runtime": seconds,
            "executed_command": f"mlpstorage {kind} {command}",
            "verification": {"category": verdict, "issues": list(issues)} if verdict else None,
            "system_info": system_info,
        }
        if kind == "training":
            known["parameters"] = unet3d(seed=int(self.now.timestamp()))
        write_metadata(run.metadata, Metadata(**{**known, **facts}))
        if summary is not None:
            run.summary.write_bytes(encode(summary))
        run.cluster_info.write_bytes(encode({"hosts": [host()]}))
        run.events.write_text("", encoding="utf-8")
        run.stdout_log.write_text("", encoding="utf-8")
        rank = {"hostname": "node01", "1": {"au": {"block1": 95.0}, "throughput": {"block1": 40.0}}}
        run.output(0).write_bytes(encode(rank))
        self.now = end + timedelta(seconds=pause)
        return run.path

    def training_set(self, runs: int = 6, throughput: float = 40.0) -> list[Path]:
        """A warm-up and measured runs of unet3d, as `training run --loops` records them."""
        set_id = f"training_set_unet3d_{int(self.now.timestamp())}"
        return [
            self.add(
                summary=training_summary(throughput + 0.1 * number),
                set_id=set_id,
                set_role="measured" if number else "warm-up",
                set_place=number + 1,
                set_size=runs,
                seed=1000 + number,
            )
            for number in range(runs)
        ]

    def datagen(self, files: int = 3500) -> Path:
        """A generation of data."""
        return self.add(
            segments=("training", "unet3d", "datagen"),
            command="datagen",
            summary={"num_files_train": files, "verdict": None},
            verdict=None,
            division="",
            accelerator=None,
        )


def rewrite(path: Path, **changes: Any) -> None:  # noqa: ANN401 (values of a document)
    """Change top-level values of a JSON file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, **changes}), encoding="utf-8")


@pytest.fixture
def small_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small package stands for the installed one, which is large and may change."""
    package = tmp_path / "package"
    (package / "__pycache__").mkdir(parents=True)
    (package / "main.py").write_text("print()", encoding="utf-8")
    (package / "__pycache__" / "main.pyc").write_text("", encoding="utf-8")
    monkeypatch.setattr(code, "_package", lambda: package)
    code.code_identity.cache_clear()
    yield package
    code.code_identity.cache_clear()
