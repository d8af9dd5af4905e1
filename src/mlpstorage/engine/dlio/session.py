"""One call of DLIO in a rank: its configuration on disk, its run, and what it says of it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpstorage.core.errors import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlpstorage.engine.comm import Comm

NAME = "mlpstorage"
OUTPUT = "dlio"


@contextlib.contextmanager
def output_folder(run_dir: Path, document: dict[str, Any], comm: Comm) -> Iterator[Path]:
    """Where DLIO writes on this host, with its configuration there.

    That is `<run_dir>/dlio` where this host sees the directory of the run, else one of this rank's
    own, which is gone in the end.
    """
    shared = run_dir / OUTPUT
    if comm.rank == 0:
        write_configuration(shared, document)
    comm.barrier()
    if _configuration(shared).exists():
        yield shared
        return
    with scratch_folder() as own:
        write_configuration(own, document)
        yield own


def _configuration(folder: Path) -> Path:
    return folder / "config" / "workload" / f"{NAME}.yaml"


def write_configuration(folder: Path, document: dict[str, Any]) -> None:
    """Write the workload file that DLIO reads; JSON is YAML."""
    path = _configuration(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=2)
    path.write_text(f"{text}\n", "utf-8")


@contextlib.contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """A directory of this process alone, gone in the end.

    One that is killed leaves it behind: in the parent it is at least in the record of its run.
    """
    folder = Path(tempfile.mkdtemp(prefix="mlpstorage-dlio-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def call(output: Path) -> None:
    """Run DLIO's benchmark on all ranks of the world, as its program does.

    MPI stays initialised. What DLIO raises, it raises here, so that the rank ends all others.

    Raises:
        BenchmarkError: DLIO asked to end the process.
    """
    main = importlib.import_module("dlio_benchmark.main")
    world = importlib.import_module("dlio_benchmark.utils.utility").DLIOMPI.get_instance()
    world.initialize()
    # Without it Hydra prints the error and exits.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    argv, sys.argv = sys.argv, ["dlio_benchmark", *_words(output)]
    try:
        main.run_benchmark()
    except SystemExit as error:
        raise BenchmarkError(
            f"DLIO ended itself with code {error.code}", why=f"its log is {output / 'dlio.log'}"
        ) from error
    finally:
        sys.argv = argv


def _words(output: Path) -> list[str]:
    """The words of DLIO's command line: its configuration, and where it writes."""
    return [
        "--config-dir",
        str(output / "config"),
        f"workload={NAME}",
        f"++workload.output.folder={_quoted(output)}",
        f"++workload.checkpoint.checkpoint_folder={_quoted(output / 'checkpoints')}",
        f"hydra.run.dir={_quoted(output)}",
    ]


def _quoted(path: Path) -> str:
    r"""A path as a value in Hydra's grammar.

    >>> _quoted(Path("/a b/it's"))
    "'/a b/it\\'s'"
    """
    text = str(path).replace("'", "\\'")
    return f"'{text}'"
