"""The benchmark's hold on the collector: a process of its own that samples the hosts meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import AccessError, ConfigurationError, UsageError
from mlpstorage.core.units import format_seconds
from mlpstorage.watch.collector import stop_seconds
from mlpstorage.watch.ssh import checked_name
from mlpstorage.watch.timeseries import summarize, write_document
from mlpstorage.watch.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from mlpstorage.watch.timeseries import SeriesSummary

SHORTEST_INTERVAL_SECONDS = 0.5
# What the collector may take beyond the time that it gives the hosts for their last words.
_STOP_SECONDS = 4.0
_KILL_SECONDS = 3.0
_THIS_HOST = (Host("localhost"),)


@dataclass(frozen=True)
class Collected:
    """What was collected; `summary` is None when the collector did not even begin.

    `problems` are sentences for the user. None of them makes the run's own figures wrong.
    """

    lines: Path
    document: Path | None
    summary: SeriesSummary | None
    problems: tuple[str, ...]

    def as_metadata(self) -> dict[str, Any] | None:
        """The value of `timeseries_data` in a run's metadata."""
        if self.summary is None:
            return None
        return {
            "file": (self.document or self.lines).name,
            "num_samples": self.summary.num_samples,
            "interval_seconds": self.summary.interval_seconds,
            "hosts_collected": list(self.summary.hosts_collected),
            "lines_file": self.lines.name,
            "missed_samples": {host: n for host, n in self.summary.missed.items() if n},
            "problems": list(self.problems),
        }


class Sampler:
    """Samples the hosts from `start` (or entering) to `stop` (or leaving).

    Args:
        hosts: Whom to sample; this host where none is named.
        interval_seconds: From one sample to the next, 0.5 at least.
        lines: The file of samples, one line each as they come; made here.
        document: The JSON document that `stop` makes of them, if one is wanted.

    Raises:
        UsageError: the interval is too short, or a name cannot be a host's.
        AccessError, ConfigurationError: the file cannot be made.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        interval_seconds: float,
        lines: Path,
        document: Path | None = None,
    ) -> None:
        if not SHORTEST_INTERVAL_SECONDS <= interval_seconds < float("inf"):
            raise UsageError(
                f"cannot sample every {interval_seconds:g} s",
                why="shorter intervals would disturb what they observe",
                fix=f"choose at least {SHORTEST_INTERVAL_SECONDS} s",
            )
        self._names = [checked_name(host.name) for host in tuple(hosts) or _THIS_HOST]
        self._interval = interval_seconds
        self._lines, self._document = lines, document
        self._process: subprocess.Popen[bytes] | None = None
        self._said: IO[bytes] | None = None
        self._collected: Collected | None = None

    @property
    def pid(self) -> int | None:
        """The collector's process, while there is one."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the collector; the first samples come when the hosts are reached."""
        _create(self._lines)
        task = {
            "hosts": self._names,
            "interval_seconds": self._interval,
            "path": str(self._lines.absolute()),
        }
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (open until `stop`)
        # A session of its own, so that Ctrl-C reaches the benchmark only, which then ends this.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlpstorage.watch.collector"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
            start_new_session=True,
        )
        self._tell(json.dumps(task).encode() + b"\n")

    def stop(self) -> Collected:
        """Take the last samples, end the collector, make the document; the second call is free.

        However the collector ended, what it wrote is kept and counted; this never raises for it.
        """
        if self._collected is None:
            problems = self._end()
            self._collected = self._summary(problems)
        return self._collected

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _tell(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            raise ValueError("the sampler was not started")
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # it has died already: `stop` says so

    def _end(self) -> list[str]:
        """End the process; what went wrong with it, a sentence each."""
        if self._process is None or self._process.stdin is None or self._said is None:
            return ["the collector was never started"]
        process, said = self._process, self._said
        early = process.poll()
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            early = process.poll()
        problems = []
        patience = stop_seconds(len(self._names)) + _STOP_SECONDS
        if early is not None:
            problems.append(f"the collector ended before the run (code {early})")
        elif _wait(process, patience) is None:
            problems.append(f"the collector did not end in {format_seconds(patience)}")
            process.kill()
            _wait(process, _KILL_SECONDS)
        elif process.returncode:
            problems.append(f"the collector failed (code {process.returncode})")
        said.seek(0)
        last = said.read()[-2000:].decode("utf-8", "replace").strip().rpartition("\n")[2]
        said.close()
        if last:
            problems.append(f"the collector says: {printable(last)}")
        self._process = None
        return problems

    def _summary(self, problems: list[str]) -> Collected:
        summary, document = None, None
        try:
            if self._document is None:
                summary = summarize(self._lines)
            else:
                summary = write_document(self._lines, self._document)
                document = self._document
        except ConfigurationError as error:
            problems.append(error.what)
        if summary:
            problems += [
                f"{summary.missed[host]} samples of {host} are missing: {reason}"
                for host, reason in summary.reasons.items()
                if summary.missed[host]
            ]
        return Collected(self._lines, document, summary, tuple(problems))


def _create(path: Path) -> None:
    """Make the file here, so that the refusal is ours and comes before the run.

    Raises:
        AccessError, ConfigurationError: the system refuses.
    """
    try:
        path.touch(exist_ok=False)
    except PermissionError as error:
        raise AccessError(
            f"cannot create {path} (permission denied)", fix="make its directory writable"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot create {path} ({(error.strerror or str(error)).lower()})",
            fix="choose another --results-dir",
        ) from error


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
