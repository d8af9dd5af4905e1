"""A small data set and short runs of `mlpstorage vectordb`, for the tests of its commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Done, Program

FIGURES = (
    "dataset.query_pool=2000", "dataset.gt_queries=100", "dataset.gt_neighbours=20",
    "search.calibration_queries=100",
)  # fmt: skip


def small(*params: str, vectors: int = 3000, dimension: int = 16) -> list[str]:
    """The options of a small data set, parameters last."""
    size = ["--num-vectors", str(vectors), "--dimension", str(dimension)]
    return [*size, "--params", *FIGURES, *params]


PROBE = ("--vdb-engine", "ivf-probe", "--runtime", "0.4", "--ramp", "0.1", "--json")


def made(program: Program, *more: str, **size: int) -> Done:
    """A small data set."""
    done = program("vectordb", "datagen", "--json", *more, *small(**size))
    assert done.code == 0, done.err
    return done


def run(
    program: Program, *more: str, params: tuple[str, ...] = (), clients: str = "1,2", **size: int
) -> Done:
    """A short run, of the probe unless another engine is named."""
    probe = PROBE[2:] if "--vdb-engine" in more else PROBE
    counted = [] if "--num-query-processes" in more else ["--num-query-processes", clients]
    return program("vectordb", "run", *probe, *counted, *more, *small(*params, **size))


def runs(program: Program) -> list[dict[str, Any]]:
    """The history."""
    found: list[dict[str, Any]] = program("history", "list", "--json").json["runs"]
    return [entry for entry in found if entry["command"] == "run"]
