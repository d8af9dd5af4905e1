from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.core.events import Note, RankFailed, RankResult, RankStarted
from mlpstorage.launch import wire
from mlpstorage.rank import check_world, fitted, place_of

if TYPE_CHECKING:
    from mlpstorage.core.events import Event

WORKERS = Path(__file__).parent / "launch"


def run_rank(spec: bytes, **environ: str) -> tuple[int, list[Event], str]:
    """Run one rank by hand: its exit code, its events and its standard error."""
    clean = {name: text for name, text in os.environ.items() if "PMI" not in name}
    done = subprocess.run(
        [sys.executable, "-m", "mlpstorage.rank"],
        input=spec,
        capture_output=True,
        env={**clean, "PYTHONPATH": str(WORKERS), **environ},
        timeout=60,
        check=False,
    )
    events = [event for event in map(wire.decode_event, done.stdout.splitlines()) if event]
    return done.returncode, events, done.stderr.decode()


def spec_of(worker: str, size: int = 1, transport: str = "local", **argument: object) -> bytes:
    """The job of a test worker as a rank reads it."""
    return wire.RankSpec(f"rank_workers:{worker}", size, ".", argument, transport).encode()


def test_rank_by_hand() -> None:
    """A rank alone reads its job from standard input and writes its start and result."""
    code, events, _ = run_rank(spec_of("who", word="hi"))
    assert code == 0
    assert [type(event) for event in events if event.TYPE != "progress"] == [
        RankStarted,
        RankResult,
    ]


def test_failure_by_hand() -> None:
    """A failed rank exits with the code of its error, and its traceback is on standard error."""
    code, events, stderr = run_rank(spec_of("failing", who=0, known=True))
    failed = events[-1]
    assert isinstance(failed, RankFailed)
    assert (code, failed.exit_code, failed.what) == (4, 4, "cannot write here")
    assert "Traceback" in stderr


def test_no_job_is_told() -> None:
    """A rank without a job on its standard input says so instead of showing a parser's error."""
    code, events, _ = run_rank(b"")
    assert code == ConfigurationError.exit_code
    assert "no job on its standard input" in events[-1].as_dict()["what"]


def test_mpi_job_without_an_mpi_launcher() -> None:
    """A rank of an MPI job that sees no MPI launcher refuses, and names the launchers it knows."""
    code, events, _ = run_rank(spec_of("who", size=2, transport="mpi"))
    assert code == ConfigurationError.exit_code
    assert "MPICH" in events[-1].as_dict()["fix"]


def test_orphan_ends_at_once() -> None:
    """A local rank whose launcher is gone already when it starts does not work."""
    seat = wire.LocalSeat(0, 1, ()).encode()
    code, events, _ = run_rank(spec_of("sleeps"), **{wire.LOCAL_RANK: seat})
    assert code == -9
    assert events == []


def test_start_imports_little() -> None:
    """A rank's start imports neither numpy nor anything else from outside the standard library."""
    program = "import json, sys, mlpstorage.rank; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=60
    ).stdout
    roots = {name.partition(".")[0] for name in json.loads(out)}
    ours = {name for name in json.loads(out) if name.startswith("mlpstorage.")}
    assert not roots & {"numpy", "mpi4py", "msgspec", "rich", "cyclopts", "asyncio", "argparse"}
    assert {name.split(".")[1] for name in ours} == {"core", "engine", "launch", "rank"}


def test_local_seat_beats_variables_of_mpi() -> None:
    """Local ranks of a controller that itself runs inside an MPI job do not take it for theirs."""
    environ = {"PMI_RANK": "5", wire.LOCAL_RANK: wire.LocalSeat(2, 1, ((3, 4),)).encode()}
    place = place_of(environ)
    assert (place.rank, place.under_mpi) == (2, False)
    assert wire.LOCAL_RANK not in environ


@pytest.mark.parametrize(
    "environ",
    [
        {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4"},
        {"PMI_RANK": "1", "PMI_SIZE": "4"},
    ],
)
def test_launchers_tell_rank_and_size(environ: dict[str, str]) -> None:
    """Open MPI and the Hydra family say in the environment who a rank is."""
    place = place_of(environ)
    assert (place.rank, place.launcher_size, place.under_mpi) == (1, 4, True)


def test_mixed_installations_are_told() -> None:
    """A world of size 1 in a job of 4 is an error of configuration; an equal size is none."""
    check_world(4, 4)
    check_world(4, None)
    with pytest.raises(ConfigurationError, match=r"world of 1 rank .* the launcher started 4"):
        check_world(1, 4)


def test_long_failure_fits_in_one_write() -> None:
    """A failure's line is cut to what a pipe takes whole; the end of the traceback stays."""
    event = RankFailed(1, "h", "w" * 9999, "y" * 9999, "f" * 9999, "\u2603\n" * 9999 + "the end")
    short = fitted(event, 4096)
    assert len(wire.encode_event(short)) <= 4096
    assert short.traceback.endswith("the end")


def test_events_survive_the_wire() -> None:
    """An event is read back as it was written, even after the torn line of another rank."""
    note = Note("two\nlines \x1e and a mark", "warning")
    line = wire.encode_event(note)
    assert line.count(b"\n") == 1
    assert wire.decode_event(b'\x1emlps {"type":"prog' + line.rstrip(b"\n")) == note
    assert wire.decode_event(b"Hello") is None
    assert wire.decode_event(b"\x1emlps {torn") is None
