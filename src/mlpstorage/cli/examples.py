"""An example or two of every command, as help shows them; a test runs each through the parser."""

from __future__ import annotations

_UNET3D = "--model unet3d --accelerator-type h100"
_DATA = "--data-dir /mnt/storage"
_TWO_HOSTS = "--hosts node1,node2"

EXAMPLES: dict[tuple[str, str], tuple[str, ...]] = {
    ("training", "datasize"): (
        f"mlpstorage training datasize {_UNET3D} --max-accelerators 8 {_DATA}",
    ),
    ("training", "datagen"): (
        f"mlpstorage training datagen --model unet3d {_DATA} --params dataset.num_files_train=3500",
    ),
    ("training", "run"): (
        f"mlpstorage training run {_UNET3D} --num-accelerators 1 {_DATA} --trial",
        f"mlpstorage training run {_UNET3D} --num-accelerators 8 {_DATA} {_TWO_HOSTS} --closed",
    ),
    ("training", "configview"): (f"mlpstorage training configview {_UNET3D} --num-accelerators 8",),
    ("checkpointing", "datasize"): (
        "mlpstorage checkpointing datasize --model llama3-8b --num-processes 8",
    ),
    ("checkpointing", "run"): (
        (
            "mlpstorage checkpointing run --model llama3-8b --num-processes 8 "
            "--checkpoint-folder /mnt/storage/checkpoints"
        ),
    ),
    ("checkpointing", "configview"): (
        "mlpstorage checkpointing configview --model llama3-8b --num-processes 8",
    ),
    ("vectordb", "datasize"): ("mlpstorage vectordb datasize --num-vectors 1000000",),
    ("vectordb", "datagen"): (f"mlpstorage vectordb datagen {_DATA} --num-vectors 1000000",),
    ("vectordb", "run"): (f"mlpstorage vectordb run {_DATA} --num-vectors 1000000",),
    ("kvcache", "datasize"): ("mlpstorage kvcache datasize --model llama3.1-8b",),
    ("kvcache", "run"): ("mlpstorage kvcache run --model llama3.1-8b --cache-dir /mnt/storage/kv",),
    ("history", "list"): ("mlpstorage history list --limit 10",),
    ("history", "show"): ("mlpstorage history show 3",),
    ("history", "rerun"): ("mlpstorage history rerun 3",),
    ("reports", "reportgen"): ("mlpstorage reports reportgen --results-dir results",),
    ("reports", "validate"): ("mlpstorage reports validate submission",),
    ("reports", "package"): (
        (
            "mlpstorage reports package --closed --organisation Acme --system array-9 "
            "--output-dir submission"
        ),
    ),
    ("rules", "list"): ("mlpstorage rules list --kind training --phase plan",),
    ("rules", "explain"): ("mlpstorage rules explain 3.3.2",),
    ("explain", ""): (
        "mlpstorage explain",
        "mlpstorage explain 3.3.2",
        "mlpstorage explain places.shared",
    ),
    ("resume", ""): ("mlpstorage resume",),
    ("compare", ""): ("mlpstorage compare 3 4",),
    ("lockfile", "generate"): ("mlpstorage lockfile generate",),
    ("lockfile", "verify"): (f"mlpstorage lockfile verify {_TWO_HOSTS}",),
    ("doctor", ""): (f"mlpstorage doctor {_TWO_HOSTS} {_DATA}",),
    ("engine", "install"): ("mlpstorage engine install dlio",),
    ("completion", ""): (
        (
            "mkdir -p ~/.local/share/bash-completion/completions && mlpstorage completion bash > "
            "~/.local/share/bash-completion/completions/mlpstorage"
        ),
        "mkdir -p ~/.zfunc && mlpstorage completion zsh > ~/.zfunc/_mlpstorage",
        (
            "mkdir -p ~/.config/fish/completions && mlpstorage completion fish > "
            "~/.config/fish/completions/mlpstorage.fish"
        ),
    ),
}


def examples_of(group: str, verb: str) -> tuple[str, ...]:
    """The examples of a command; none for one that has none yet."""
    return EXAMPLES.get((group, verb), ())
