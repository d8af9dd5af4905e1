"""How large a checkpoint is and how it lies in files: pure arithmetic, the only place where it is.

A model has a parameter matrix for the vocabulary twice (embedding and head), a final norm, and per
layer two norms, the projections of attention and three matrices of the feed-forward part. Training
keeps three more arrays for the optimizer. Tensor and pipeline parallelism cut the model, data
parallelism with ZeRO cuts the optimizer, and at stage 3 the model as well. Source: the reference
engine's checkpointing; the totals are those that MLPerf Storage v2.0 publishes, except for the
model of a trillion parameters (see its workload file).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

# A file's end is rounded up to this, so that direct I/O can write all of it; the real files have a
# header of some kilobytes instead.
ALIGNMENT = 4096
OPTIMIZER_ARRAYS = 3
# The optimizer of each rank also keeps its arrays for five vectors of the hidden size.
OPTIMIZER_EXTRA_VECTORS = 5
_MODEL_STAGE = 3


class Layout(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model, how it is cut, and how many of its ranks run (all, or the first of a subset)."""

    num_layers: int
    hidden_size: int
    ffn_hidden_size: int
    num_attention_heads: int
    num_kv_heads: int
    vocab_size: int
    tensor: int
    pipeline: int
    data: int
    zero_stage: int
    model_item_bytes: int
    optimizer_item_bytes: int
    processes: int

    @property
    def model_parallel(self) -> int:
        """How many ranks hold one copy of the model between them."""
        return self.tensor * self.pipeline

    @property
    def world(self) -> int:
        """How many ranks the whole checkpoint has."""
        return self.model_parallel * self.data


@dataclass(frozen=True)
class ShardFile:
    """One file of a checkpoint: its name in the checkpoint's folder, its bytes, what it holds."""

    name: str
    bytes: int
    part: str


@dataclass(frozen=True)
class Sizes:
    """The bytes of one checkpoint as the running ranks write it."""

    parameters: int
    model_bytes: int
    optimizer_bytes: int
    files: int
    least_rank_bytes: int
    most_rank_bytes: int
    most_rank_files: int

    @property
    def total_bytes(self) -> int:
        """Model and optimizer together."""
        return self.model_bytes + self.optimizer_bytes


def parameters_of(layout: Layout) -> int:
    """How many parameters the model has.

    >>> import msgspec
    >>> from mlpstorage.kinds.checkpointing.workload import resolve_workload, layout_of
    >>> parameters_of(layout_of(resolve_workload("llama3-8b").workload, 8))
    8030261248
    """
    return sum(layer_parameters(layout, layer) for layer in range(layout.num_layers + 3))


def layer_parameters(layout: Layout, layer: int) -> int:
    """The parameters of one layer: 0 is the embedding, L + 1 the final norm, L + 2 the head.

    A layer in between has 2·H + H·(H + 2·K) + H² + 3·H·F, where K is the width of the keys: the
    width of a head (a whole number) times the number of key heads.
    """
    hidden = layout.hidden_size
    if layer in {0, layout.num_layers + 2}:
        return layout.vocab_size * hidden
    if layer == layout.num_layers + 1:
        return hidden
    keys = hidden // layout.num_attention_heads * layout.num_kv_heads
    attention = hidden * (hidden + 2 * keys) + hidden**2
    return 2 * hidden + attention + 3 * hidden * layout.ffn_hidden_size


def stage_layers(num_layers: int, pipeline: int, stage: int) -> range:
    """The layers of one pipeline stage; the remainder goes to the first stages.

    The embedding goes with the first stage, final norm and head with the last.

    >>> stage_layers(126, 32, 0), stage_layers(126, 32, 31), stage_layers(2, 1, 0)
    (range(0, 5), range(124, 129), range(0, 5))
    """
    each, rest = divmod(num_layers, pipeline)
    first = 1 + stage * each + min(stage, rest)
    last = first + each + (stage < rest)
    return range(0 if stage == 0 else first, last + 2 if stage == pipeline - 1 else last)


def rank_files(layout: Layout, rank: int) -> tuple[ShardFile, ...]:
    """The files that one rank writes; names are unique over all ranks.

    Ranks are numbered through the tensors of a stage first, then through the stages, then through
    the copies (data parallel). ZeRO 3: a share of the model each. ZeRO 1 and 2: the ranks of the
    first copy write the model, layer by layer where there are several stages. Every rank writes
    its share of the optimizer.
    """
    copy, place = divmod(rank, layout.model_parallel)
    suffix = f"zero_pp_rank_{copy}_mp_rank_{place}"
    files = _model_files(layout, rank, suffix)
    share = _share(parameters_of(layout), layout.world, rank)
    items = share + OPTIMIZER_EXTRA_VECTORS * layout.hidden_size
    optimizer = OPTIMIZER_ARRAYS * items * layout.optimizer_item_bytes
    return (*files, ShardFile(f"{suffix}_optim_states.pt", _aligned(optimizer), "optimizer"))


def _model_files(layout: Layout, rank: int, suffix: str) -> tuple[ShardFile, ...]:
    copy, place = divmod(rank, layout.model_parallel)
    stage, slice_ = divmod(place, layout.tensor)
    whole = f"{suffix}_model_states.pt"
    if layout.zero_stage == _MODEL_STAGE:
        return (_model_file(layout, whole, _share(parameters_of(layout), layout.world, rank)),)
    if copy:
        return ()
    if layout.pipeline == 1:
        share = _share(parameters_of(layout), layout.tensor, slice_)
        return (_model_file(layout, whole, share),)
    return tuple(
        _model_file(
            layout,
            f"layer_{layer}-model_{place}_model_states.pt",
            _share(layer_parameters(layout, layer), layout.tensor, slice_),
        )
        for layer in stage_layers(layout.num_layers, layout.pipeline, stage)
    )


def _model_file(layout: Layout, name: str, parameters: int) -> ShardFile:
    return ShardFile(name, _aligned(parameters * layout.model_item_bytes), "model")


def _share(items: int, parts: int, index: int) -> int:
    """One of nearly equal parts whose sum is exact."""
    return items // parts + (index < items % parts)


def _aligned(length: int) -> int:
    return max(-(-length // ALIGNMENT), 1) * ALIGNMENT


def sizes_of(layout: Layout) -> Sizes:
    """What the running ranks write for one checkpoint, all together."""
    ranks = [rank_files(layout, rank) for rank in range(layout.processes)]
    each = [sum(file.bytes for file in files) for files in ranks]
    model = sum(file.bytes for files in ranks for file in files if file.part == "model")
    return Sizes(
        parameters=parameters_of(layout),
        model_bytes=model,
        optimizer_bytes=sum(each) - model,
        files=sum(map(len, ranks)),
        least_rank_bytes=min(each),
        most_rank_bytes=max(each),
        most_rank_files=max(map(len, ranks)),
    )
