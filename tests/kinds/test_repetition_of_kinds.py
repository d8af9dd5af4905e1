"""The sets that the commands of the kinds ask for: roles, seeds, phases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.core.errors import UsageError
from mlpstorage.core.run import Turn
from mlpstorage.kinds.checkpointing import commands as checkpointing
from mlpstorage.kinds.checkpointing.options import RunOptions as CheckpointOptions
from mlpstorage.kinds.repetition import Repetition
from mlpstorage.kinds.training import commands as training
from mlpstorage.kinds.training.options import RunOptions as TrainingOptions

if TYPE_CHECKING:
    from pathlib import Path


def of_training(**more: Any) -> Any:  # noqa: ANN401 (a set or runs)
    """What `training run` makes of these options."""
    given = {"model": "unet3d", "accelerator_type": "h100", "num_accelerators": 1, **more}
    return training.run(TrainingOptions(**given), {})


def of_checkpointing(**more: Any) -> Any:  # noqa: ANN401 (a set or runs)
    """What `checkpointing run` makes of these options."""
    given = {"model": "llama3-8b", "num_processes": 8, **more}
    return checkpointing.run(CheckpointOptions(**given), {})


def test_training_warms_up_before_measured_runs() -> None:
    """Five loops are six runs, unless the warm-up is left out; one loop is a plain run."""
    assert of_training(loops=5).roles == ("warm-up", *["measured"] * 5)
    assert of_training(loops=5, no_warm_up=True).roles == ("measured",) * 5
    assert len(of_training(loops=1)) == 1
    assert of_training(loops=2).longest_gap([10.0, 12.0]) == 12.0


@pytest.mark.parametrize("shuffle", ["seed", "random"])
def test_every_run_of_a_set_reads_in_another_order(tmp_path: Path, shuffle: str) -> None:
    """The ranks' seed differs from run to run, even where the workload's own is fixed."""
    params = (f"reader.file_shuffle={shuffle}", "dataset.num_files_train=3500", "train.seed=9")
    found = of_training(loops=3, params=params, data_dir=str(tmp_path))
    seeds = []
    for place in range(1, 5):
        run = found.make(found.turn(place, seed=1000 + place))
        seeds.append(run.job(tmp_path).argument["shuffle_seed"])
    expected = [9, 10, 11, 12] if shuffle == "seed" else [1001, 1002, 1003, 1004]
    assert seeds == expected


def test_checkpoints_are_written_and_read_in_runs_of_their_own() -> None:
    """--split makes a run that only writes and one that only reads, at most 30 s later."""
    found = of_checkpointing(split=True, num_checkpoints_read=4)
    assert found.roles == ("write", "read")
    write, read = (found.make(found.turn(place, seed=place)) for place in (1, 2))
    assert (write.options.num_checkpoints_write, write.options.num_checkpoints_read) == (-1, 0)
    assert (read.options.num_checkpoints_write, read.options.num_checkpoints_read) == (0, 4)
    assert found.longest_gap([1000.0]) == 30.0
    assert found.lead_in(2) == 1
    with pytest.raises(UsageError, match="--split"):
        of_checkpointing(split=True, num_checkpoints_read=0)


def test_checkpointing_repeats_without_warm_up() -> None:
    """--loops 2 measures twice; there is no rule about the time in between."""
    found = of_checkpointing(loops=2)
    assert found.roles == ("measured", "measured")
    assert found.longest_gap([1.0]) == math.inf
    assert found.lead_in(2) is None


def test_turns_say_where_they_stand() -> None:
    """A turn has its place, how many there are, its role and its seed."""
    found = Repetition(make=lambda _turn: None, roles=("warm-up", "measured"))  # type: ignore[arg-type, return-value]  # nothing is made
    assert found.turn(2, 7) == Turn(2, 2, "measured", 7)
    assert [found.name_of(place) for place in (1, 2)] == ["warm-up", "measured"]
