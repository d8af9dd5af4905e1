from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.cluster import parse_hosts, spread
from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.kinds.checkpointing.choice import rank_shift
from mlpstorage.kinds.checkpointing.workload import (
    accelerator_memory_bytes,
    layout_of,
    packaged_models,
    resolve_workload,
)

if TYPE_CHECKING:
    from pathlib import Path

OWN = """\
edition: own
model:
  name: mine
  num_layers: 4
  transformer: {hidden_size: 64, ffn_hidden_size: 128, num_attention_heads: 4, num_kv_heads: 2,
                vocab_size: 100}
  parallelism: {tensor: 2, pipeline: 2, zero_stage: 1}
"""


@pytest.mark.parametrize("model", packaged_models())
def test_packaged_models_are_whole(model: str) -> None:
    """Ten writes, ten reads, five seconds, fsync, and as many processes as the layout has ranks."""
    workload = resolve_workload(model).workload
    checkpoint = workload.checkpoint
    assert (checkpoint.num_checkpoints_write, checkpoint.num_checkpoints_read) == (10, 10)
    assert (checkpoint.time_between_checkpoints, checkpoint.fsync) == (5.0, True)
    assert workload.processes is not None
    layout = layout_of(workload, workload.processes.closed)
    assert layout.data == workload.model.parallelism.data


def test_processes_give_the_number_of_copies() -> None:
    """A multiple of tensor × pipeline is that many copies; anything else is refused with advice."""
    workload = resolve_workload("llama3-405b").workload
    assert layout_of(workload, 768).data == 3
    with pytest.raises(UsageError, match="408") as caught:
        layout_of(workload, 408)
    assert "multiple of 256" in caught.value.fix
    assert "--checkpoint-subset" in caught.value.fix


def test_a_subset_is_no_larger_than_the_whole() -> None:
    """More processes than the published layout has are no subset of it."""
    workload = resolve_workload("llama3-8b", ["checkpoint.mode=subset"]).workload
    with pytest.raises(UsageError, match="has 8"):
        layout_of(workload, 9)


def test_a_users_own_model(tmp_path: Path) -> None:
    """The same schema in a file of one's own; another name than its own is refused."""
    path = tmp_path / "mine.yaml"
    path.write_text(OWN)
    layout = layout_of(resolve_workload("mine", workload_file=path).workload, 4)
    assert (layout.tensor, layout.pipeline, layout.data) == (2, 2, 1)
    with pytest.raises(UsageError, match="describes mine"):
        resolve_workload("other", workload_file=path)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (["model.num_layer=3"], "unknown parameter model.num_layer"),
        (["model.num_layers=0"], "model.num_layers is 0"),
        (["modell.num_layers=3"], "unknown section 'modell'"),
        (["checkpoint.block_size=100"], "checkpoint.block_size is 100"),
        (["checkpoint.block_size=5000"], "checkpoint.block_size is 5000"),
        (["model.parallelism.zero_stage=0"], "model.parallelism.zero_stage is 0"),
    ],
)
def test_wrong_parameters_are_named(params: list[str], text: str) -> None:
    """A misspelt name, section or value is refused in one line."""
    with pytest.raises((UsageError, ConfigurationError)) as caught:
        resolve_workload("llama3-8b", params)
    assert text in caught.value.what


@pytest.mark.parametrize(
    "params",
    [
        ["model.parallelism.pipeline=2"],
        ["model.parallelism.pipeline=64", "model.parallelism.zero_stage=1"],
        ["model.transformer.num_attention_heads=5000"],
    ],
)
def test_shapes_that_nothing_can_have_are_refused(params: list[str]) -> None:
    """ZeRO 3 with stages, more stages than layers, more heads than the width."""
    with pytest.raises(ConfigurationError):
        resolve_workload("llama3-8b", params)


def test_memory_of_accelerators() -> None:
    """The table is in decimal gigabytes; an unknown name is met with the nearest."""
    assert accelerator_memory_bytes("h100") == 80 * 10**9
    with pytest.raises(UsageError) as caught:
        accelerator_memory_bytes("b20")
    assert "b200" in caught.value.fix


@pytest.mark.parametrize("hosts", ["a,b", "a,b,c,d", "a:3,b:2,c:1", "a:1,b:4,c:4"])
def test_shifted_ranks_read_what_another_host_wrote(hosts: str) -> None:
    """No rank's source is on its own host, wherever that is possible."""
    named = parse_hosts([hosts])
    counts = spread(sum(h.slots or 2 for h in named), named)
    home = [host for host, count in enumerate(counts) for _ in range(count)]
    shift = rank_shift(counts)
    assert all(home[rank] != home[(rank + shift) % len(home)] for rank in range(len(home)))
