from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.kinds.kvcache.models import Shape, model_of, packaged_model, packaged_models

if TYPE_CHECKING:
    from pathlib import Path

# Bytes of KV cache per token, all layers, 16-bit numbers.
BYTES_PER_TOKEN = {
    "tiny-1b": 24_576,
    "mistral-7b": 131_072,
    "llama2-7b": 524_288,
    "llama3.1-8b": 131_072,
    "llama3.1-70b-instruct": 327_680,
    "llama3.1-405b": 516_096,
    "deepseek-v3": 70_272,
    "kimi-k2": 70_272,
    "glm-5": 109_824,
    "qwen3-32b": 262_144,
    "qwen3-235b-a22b": 192_512,
    "gpt-oss-120b": 73_728,
    "gpt-oss-20b": 49_152,
}


@pytest.mark.parametrize(("name", "expected"), BYTES_PER_TOKEN.items())
def test_bytes_per_token(name: str, expected: int) -> None:
    """Layers, heads, head size and number format give the published bytes per token."""
    assert packaged_model(name).bytes_per_token == expected


def test_every_packaged_model_is_checked() -> None:
    """No model is shipped whose bytes per token this file does not know."""
    assert set(packaged_models()) == set(BYTES_PER_TOKEN)


@pytest.mark.parametrize(
    ("name", "tokens", "parallel", "mib"),
    [
        ("llama3.1-8b", 16, 1, 2),
        ("llama3.1-8b", 256, 1, 32),
        ("llama3.1-70b-instruct", 256, 1, 80),
        ("llama3.1-70b-instruct", 256, 8, 10),
        ("deepseek-v3", 64, 1, 4.2890625),
    ],
)
def test_block_sizes(name: str, tokens: int, parallel: int, mib: float) -> None:
    """A block is one tensor-parallel share of its tokens."""
    assert Shape.of(packaged_model(name), tokens, parallel).block_bytes == mib * (1 << 20)


def test_a_block_ends_on_a_sector_and_says_what_it_pads() -> None:
    """A block that is no multiple of 4 KiB is rounded up, and the padding is known."""
    shape = Shape.of(packaged_model("deepseek-v3"), 1, 1)
    assert shape.block_bytes % 4096 == 0
    assert shape.block_bytes - shape.padding_bytes == 70_272


def test_fp8_halves_the_cache() -> None:
    """The number format of the cache can be another than the file's."""
    assert packaged_model("deepseek-v3").with_dtype("fp8").bytes_per_token == 35_136


def test_a_model_of_the_users_own(tmp_path: Path) -> None:
    """A file in the same schema describes another model."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: mine\nlayers: 2\nkv_heads: 1\nhead_dim: 64\nactive_parameters_billion: 1\n"
    )
    assert model_of("mine", file).bytes_per_token == 2 * 2 * 64 * 2
    with pytest.raises(UsageError, match="describes mine"):
        model_of("yours", file)


@pytest.mark.parametrize(
    "attention",
    ["kv_heads: 1", "kv_lora_rank: 512", "kv_heads: 1\nhead_dim: 64\nkv_lora_rank: 512", ""],
)
def test_half_described_attention_is_refused(tmp_path: Path, attention: str) -> None:
    """Neither kind of attention, half of one, or parts of both: an error that says what to give."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"model: mine\nlayers: 2\nactive_parameters_billion: 1\n{attention}\n")
    with pytest.raises(ConfigurationError, match="attention of mine"):
        model_of("mine", file)


def test_an_unknown_model_names_the_nearest() -> None:
    """A mistyped name is answered with the right one."""
    with pytest.raises(UsageError) as caught:
        packaged_model("llama3.1-8")
    assert "llama3.1-8b" in caught.value.fix
