from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpstorage.kinds.checkpointing.layout import (
    ALIGNMENT,
    Layout,
    layer_parameters,
    parameters_of,
    rank_files,
    sizes_of,
    stage_layers,
)
from mlpstorage.kinds.checkpointing.workload import layout_of, resolve_workload

GIB = 1 << 30
PROCESSES = {"llama3-8b": 8, "llama3-70b": 64, "llama3-405b": 512, "llama3-1t": 1024}


def _layout(model: str, processes: int = 0, *params: str) -> Layout:
    workload = resolve_workload(model, params).workload
    return layout_of(workload, processes or PROCESSES[model])


@pytest.mark.parametrize(
    ("model", "billions", "model_gib", "optimizer_gib", "total_gib"),
    [
        ("llama3-8b", 8.030, 15.0, 89.7, 104.7),
        ("llama3-70b", 69.883, 130.2, 781.0, 911.2),
        ("llama3-405b", 405.853, 756.0, 4536.2, 5292.2),
        ("llama3-1t", 1183.035, 2203.6, 13222.9, 15426.5),
    ],
)
def test_sizes_are_those_of_the_table(
    model: str, billions: float, model_gib: float, optimizer_gib: float, total_gib: float
) -> None:
    """Parameters, model, optimizer and total match the derived figures to their last digit."""
    sizes = sizes_of(_layout(model))
    assert round(sizes.parameters / 1e9, 3) == billions
    assert round(sizes.model_bytes / GIB, 1) == model_gib
    assert round(sizes.optimizer_bytes / GIB, 1) == optimizer_gib
    assert round(sizes.total_bytes / GIB, 1) == total_gib


@pytest.mark.parametrize(
    ("model", "published_gib"), [("llama3-8b", 105), ("llama3-70b", 912), ("llama3-405b", 5290)]
)
def test_published_sizes_are_the_derived_ones_in_gib(model: str, published_gib: float) -> None:
    """Three of the four published sizes are within a percent; 1t is not, and has a note."""
    assert sizes_of(_layout(model)).total_bytes / GIB == pytest.approx(published_gib, rel=0.01)
    one_t = resolve_workload("llama3-1t").workload.published
    assert one_t is not None
    assert "sixth" in one_t.note
    assert one_t.gib > 1.1 * sizes_of(_layout("llama3-1t")).total_bytes / GIB


def test_stage_three_gives_every_rank_a_model_and_an_optimizer_file() -> None:
    """ZeRO 3: names as the reference's, sizes all alike."""
    files = rank_files(_layout("llama3-8b"), 5)
    assert [file.name for file in files] == [
        "zero_pp_rank_5_mp_rank_0_model_states.pt",
        "zero_pp_rank_5_mp_rank_0_optim_states.pt",
    ]
    assert round(files[0].bytes / GIB, 2) == 1.87
    assert round(files[1].bytes / GIB, 2) == 11.22
    tensor = rank_files(_layout("llama3-70b"), 63)
    assert tensor[0].name == "zero_pp_rank_7_mp_rank_7_model_states.pt"


def test_stage_one_writes_the_model_by_layer_from_the_first_copy() -> None:
    """The first copy writes a file per layer of its stage, the other its optimizer alone."""
    layout = _layout("llama3-405b")
    first, last, other = rank_files(layout, 0), rank_files(layout, 255), rank_files(layout, 256)
    assert [file.name for file in first] == [
        *(f"layer_{layer}-model_0_model_states.pt" for layer in range(5)),
        "zero_pp_rank_0_mp_rank_0_optim_states.pt",
    ]
    assert [file.name for file in last] == [
        *(f"layer_{layer}-model_255_model_states.pt" for layer in range(124, 129)),
        "zero_pp_rank_0_mp_rank_255_optim_states.pt",
    ]
    assert [file.name for file in other] == ["zero_pp_rank_1_mp_rank_0_optim_states.pt"]
    assert round(other[0].bytes / GIB, 2) == 8.86
    assert last[3].bytes == 4096  # the final norm: 16384 / 8 values of two bytes


def test_stage_one_without_stages_writes_one_model_file_per_slice() -> None:
    """Without a pipeline the ranks of the first copy write a model file each."""
    layout = _layout("llama3-70b", 16, "model.parallelism.zero_stage=1")
    assert rank_files(layout, 3)[0].name == "zero_pp_rank_0_mp_rank_3_model_states.pt"
    assert len(rank_files(layout, 11)) == 1


def test_a_subset_is_the_first_ranks_of_the_whole() -> None:
    """Eight processes of 405b write the files that ranks 0 to 7 of 512 would."""
    whole = _layout("llama3-405b")
    part = _layout("llama3-405b", 8, "checkpoint.mode=subset")
    assert [rank_files(part, rank) for rank in range(8)] == [
        rank_files(whole, rank) for rank in range(8)
    ]
    assert sizes_of(part).files == 48


@given(st.integers(1, 200), st.integers(1, 64))
def test_stages_have_every_layer_once(layers: int, stages: int) -> None:
    """Embedding, layers, norm and head are each on one stage, and no two stages differ by two."""
    stages = min(stages, layers)
    ranges = [stage_layers(layers, stages, stage) for stage in range(stages)]
    assert [layer for found in ranges for layer in found] == list(range(layers + 3))
    inner = [len([layer for layer in found if 0 < layer <= layers]) for found in ranges]
    assert max(inner) - min(inner) <= 1


@settings(max_examples=60, deadline=None)
@given(
    tensor=st.integers(1, 5),
    pipeline=st.integers(1, 4),
    data=st.integers(1, 4),
    stage=st.sampled_from([1, 2, 3]),
    hidden=st.integers(8, 600),
)
def test_every_parameter_is_written_once(
    tensor: int, pipeline: int, data: int, stage: int, hidden: int
) -> None:
    """However a model is cut, names are unique and the bytes are those of the parameters."""
    layout = Layout(
        num_layers=5, hidden_size=hidden, ffn_hidden_size=3 * hidden, num_attention_heads=4,
        num_kv_heads=2, vocab_size=333, tensor=tensor, pipeline=1 if stage == 3 else pipeline,
        data=data, zero_stage=stage, model_item_bytes=2, optimizer_item_bytes=4, processes=1,
    )  # fmt: skip
    files = [file for rank in range(layout.world) for file in rank_files(layout, rank)]
    assert len({file.name for file in files}) == len(files)
    assert all(file.bytes % ALIGNMENT == 0 and file.bytes for file in files)
    parameters = parameters_of(layout)
    assert parameters == sum(layer_parameters(layout, layer) for layer in range(8))
    model = [file for file in files if file.part == "model"]
    optimizer = [file for file in files if file.part == "optimizer"]
    assert 0 <= sum(f.bytes for f in model) - 2 * parameters < len(model) * (ALIGNMENT + 2)
    arrays = 12 * (parameters + 5 * hidden * layout.world)
    assert 0 <= sum(f.bytes for f in optimizer) - arrays < len(optimizer) * ALIGNMENT
