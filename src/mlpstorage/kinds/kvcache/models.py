"""How many bytes of KV cache a token takes, from the figures of a model.

One YAML file per model; `--model-file` names a file of the user's own in the same schema.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from mlpstorage.config import convert, load_yaml, parse_yaml
from mlpstorage.core.errors import ConfigurationError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

    from mlpstorage.config import Document

# Every block starts and ends on this boundary, so that it can be read and written directly.
SECTOR_BYTES = 4096
# What one emulated accelerator computes per second: 40 % of an H100's dense BF16 rate.
PREFILL_FLOPS = 4e14
DTYPE_BYTES = {"fp16": 2, "bf16": 2, "fp8": 1}
_K_AND_V = 2
_FLOPS_PER_PARAMETER = 2

Figure = Annotated[int, Meta(ge=1, le=1 << 20)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z")]


class KvModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The figures of a model that decide about its KV cache.

    Either `kv_heads` and `head_dim` (multi-head and grouped-query attention), or `kv_lora_rank`
    and `qk_rope_head_dim` (multi-head latent attention), with `index_head_dim` where a sparse
    indexer keeps keys of its own.
    """

    model: Name
    layers: Figure
    kv_heads: Figure | None = None
    head_dim: Figure | None = None
    kv_lora_rank: Figure | None = None
    qk_rope_head_dim: Figure | None = None
    index_head_dim: Annotated[int, Meta(ge=0, le=1 << 20)] = 0
    dtype_bytes: Annotated[int, Meta(ge=1, le=8)] = 2
    active_parameters_billion: Annotated[float, Meta(gt=0, le=1e6)]
    note: str = ""

    @property
    def is_latent(self) -> bool:
        """Whether keys and values are kept as one compressed vector (MLA)."""
        return self.kv_lora_rank is not None

    @property
    def values_per_layer(self) -> int:
        """How many numbers a token leaves in each layer."""
        if self.kv_lora_rank is not None:
            return self.kv_lora_rank + (self.qk_rope_head_dim or 0) + self.index_head_dim
        return _K_AND_V * (self.kv_heads or 0) * (self.head_dim or 0)

    @property
    def bytes_per_token(self) -> int:
        """All layers, keys and values, of one token, over all tensor-parallel ranks.

        Source: layers · kv_heads · head_dim · 2 · bytes; latent: layers · (rank + rope) · bytes.
        """
        return self.layers * self.values_per_layer * self.dtype_bytes

    def with_dtype(self, dtype: str) -> KvModel:
        """The model with its cache in another number format; `model` keeps the one of the file.

        Raises:
            UsageError: the format is unknown.
        """
        if dtype == "model":
            return self
        if dtype not in DTYPE_BYTES:
            known = ("model", *DTYPE_BYTES)
            raise UsageError(f"--kv-dtype {dtype!r} is unknown", fix=did_you_mean(dtype, known))
        return msgspec.structs.replace(self, dtype_bytes=DTYPE_BYTES[dtype])

    def prefill_tokens_per_second(self, tensor_parallel: int) -> float:
        """How fast the emulated accelerators compute a prompt: 2 operations per parameter.

        >>> round(packaged_model("llama3.1-8b").prefill_tokens_per_second(1))
        25000
        """
        flops = _FLOPS_PER_PARAMETER * self.active_parameters_billion * 1e9
        return PREFILL_FLOPS * tensor_parallel / flops


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a model's cache is cut into blocks: what one tensor-parallel rank stores as one object.

    >>> Shape.of(packaged_model("llama3.1-8b"), 256, 1).block_bytes >> 20
    32
    >>> shape = Shape.of(packaged_model("deepseek-v3"), 64, 1)
    >>> shape.block_bytes, shape.padding_bytes
    (4497408, 0)
    """

    block_tokens: int
    tensor_parallel: int
    bytes_per_token: float
    payload_bytes: int
    block_bytes: int

    @property
    def padding_bytes(self) -> int:
        """Bytes of a block that hold nothing: it ends on a sector."""
        return self.block_bytes - self.payload_bytes

    @classmethod
    def of(cls, model: KvModel, block_tokens: int, tensor_parallel: int) -> Shape:
        """The blocks of `block_tokens` tokens, split over `tensor_parallel` ranks.

        Heads are shared out; a latent vector cannot be, so every rank would keep all of it: it is
        split over layers here, as an engine does that stores it once.
        """
        payload = -(-model.bytes_per_token * block_tokens // tensor_parallel)
        return cls(
            block_tokens=block_tokens,
            tensor_parallel=tensor_parallel,
            bytes_per_token=model.bytes_per_token / tensor_parallel,
            payload_bytes=payload,
            block_bytes=-(-payload // SECTOR_BYTES) * SECTOR_BYTES,
        )


def packaged_models() -> tuple[str, ...]:
    """The names of the models that the package ships, sorted.

    >>> "llama3.1-8b" in packaged_models()
    True
    """
    folder = resources.files(__package__) / "models"
    return tuple(
        sorted(f.name[: -len(".yaml")] for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


def packaged_model(name: str) -> KvModel:
    """The figures of a packaged model.

    Raises:
        UsageError: there is none of that name.
    """
    models = packaged_models()
    if name not in models:
        raise UsageError(f"unknown model {name!r}", fix=did_you_mean(name, models))
    text = (resources.files(__package__) / "models" / f"{name}.yaml").read_text("utf-8")
    return _checked(parse_yaml(text, f"{name}.yaml"), f"{name}.yaml")


def model_of(name: str, file: Path | None) -> KvModel:
    """The model of a name: a packaged one, or the one that the user's file describes.

    Raises:
        UsageError: unknown model, or the file describes another.
        NotFoundError, AccessError, ConfigurationError: the file is missing or wrong.
    """
    if file is None:
        return packaged_model(name)
    model = _checked(load_yaml(file), str(file))
    if model.model != name:
        raise UsageError(
            f"{file} describes {model.model}, not {name}", fix=f"pass --model {model.model}"
        )
    return model


def _checked(document: Document, where: str) -> KvModel:
    model = convert(document, KvModel, where)
    plain = model.kv_heads is not None and model.head_dim is not None
    latent = model.kv_lora_rank is not None and model.qk_rope_head_dim is not None
    one_of_plain = model.kv_heads is not None or model.head_dim is not None
    one_of_latent = model.kv_lora_rank is not None or model.qk_rope_head_dim is not None
    if (plain and not one_of_latent) or (latent and not one_of_plain):
        return model
    raise ConfigurationError(
        f"{where}: the attention of {model.model} is not described, or twice",
        why="it decides how many bytes a token takes",
        fix="give kv_heads and head_dim, or kv_lora_rank and qk_rope_head_dim",
    )
