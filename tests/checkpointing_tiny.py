"""A model small enough for tests of whole commands, and the words of runs with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# 2.2 million parameters, 31 MB a checkpoint.
TINY = """\
edition: own
model:
  name: tiny
  num_layers: 2
  transformer: {hidden_size: 256, ffn_hidden_size: 512, num_attention_heads: 4, num_kv_heads: 2,
                vocab_size: 2000}
  parallelism: {tensor: 1, pipeline: PIPELINE, data: 1, zero_stage: STAGE}
checkpoint: {num_checkpoints_write: 2, num_checkpoints_read: 2, time_between_checkpoints: 0,
             block_size: 1048576}
"""


@dataclass(frozen=True)
class Words:
    """The words of commands about the tiny model, whose checkpoints lie in `ck` of a folder."""

    home: Path

    def __call__(self, *more: str, ranks: int = 2, stage: int = 3, pipeline: int = 1) -> list[str]:
        """A run of so many ranks, with more words at its end."""
        path = self.home / f"tiny{stage}{pipeline}.yaml"
        path.write_text(TINY.replace("STAGE", str(stage)).replace("PIPELINE", str(pipeline)))
        return [
            *("checkpointing", "run", "--model", "tiny", "--workload-file", str(path)),
            *("-np", str(ranks), "-cf", "ck", "--json", "--skip-timeseries", *more),
        ]

    @property
    def folder(self) -> Path:
        """Where the checkpoints are."""
        return self.home / "ck" / "tiny"

    def files(self) -> dict[str, int]:
        """The checkpoint files by their path in the folder, with their sizes."""
        found = self.folder.rglob("*.pt*")
        return {str(p.relative_to(self.folder)): p.stat().st_size for p in found}
