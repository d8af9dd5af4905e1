# ruff: noqa: INP001 (a script beside the pages, not a package)
"""Makes docs/images/report*.png: runs the installed command, and photographs its report.

    python docs/make_pictures.py

It needs a Chromium on PATH (Debian: apt-get install chromium), and about three minutes.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from report.browser import browser, chromium  # noqa: E402 (found beside the tests)

if TYPE_CHECKING:
    from report.browser import Page

WORKLOAD = """\
model: segmentation
dataset: {format: npz, record_length_bytes: 400000, num_samples_per_file: 1}
reader: {batch_size: 4, read_threads: 2, file_shuffle: seed}
train: {epochs: 5}
metric: {au: 0.9}
accelerators:
  h100: {edition: "own", train: {computation_time: 0.05}}
"""
MODEL = """\
edition: own
model:
  name: small-llm
  num_layers: 4
  transformer: {hidden_size: 512, ffn_hidden_size: 1024, num_attention_heads: 8, num_kv_heads: 4,
                vocab_size: 8000}
  parallelism: {tensor: 1, pipeline: 1, data: 1, zero_stage: 3}
checkpoint: {num_checkpoints_write: 5, num_checkpoints_read: 5, time_between_checkpoints: 0}
"""
TRAINING = (
    "--model segmentation --workload-file training.yaml --data-dir data "
    "-p dataset.num_files_train=600"
)
VECTORS = "--num-vectors 20000 --dimension 64"
SERIES = "--timeseries-interval 0.5 -aip"
CHECKPOINTS = "--model small-llm --workload-file model.yaml -cf checkpoints"
SEARCH = "--vdb-engine ivf-probe --runtime 3 --ramp 1 --num-query-processes 1,2,4"
COMMANDS = (
    f"training datagen {TRAINING} -np 2",
    f"training run {TRAINING} -g h100 -na 2 {SERIES} --loops 5",
    f"checkpointing run {CHECKPOINTS} -np 2 {SERIES}",
    f"vectordb datagen {VECTORS}",
    f"vectordb run {VECTORS} {SEARCH} {SERIES}",
    "reports reportgen --results-dir results",
)
ANY_VERDICT = {0, 1}
WIDTH = 1180
OVERVIEW_HEIGHT, RUN_HEIGHT = 1560, 1250
# The first set and its first measured run are open, with their charts; the rest is closed.
ARRANGE = """(() => {
  document.querySelectorAll('details').forEach((one) => (one.open = false));
  const set = document.querySelector('.set');
  set.open = true;
  [...set.querySelectorAll('.run')].at(1).open = true;
})()"""
RUN_TOP = "document.querySelector('.run[open]').getBoundingClientRect().top + scrollY"


def main() -> None:
    """Make the runs and the picture."""
    program = chromium()
    if program is None:
        sys.exit("no Chromium on PATH (Debian: apt-get install chromium)")
    with tempfile.TemporaryDirectory(prefix="pictures-") as home:
        folder = Path(home) / "lab"
        folder.mkdir()
        (folder / "training.yaml").write_text(WORKLOAD)
        (folder / "model.yaml").write_text(MODEL)
        for command in COMMANDS:
            done = subprocess.run(
                [sys.executable, "-m", "mlpstorage", *command.split()],
                cwd=folder,
                env={**os.environ, "COLUMNS": "100"},
                check=False,
            )
            if done.returncode not in ANY_VERDICT:
                sys.exit(f"failed: mlpstorage {command}")
        with browser(program, Path(home) / "profile") as page:
            page.size(WIDTH)
            page.open(folder / "results" / "report.html")
            page.run(ARRANGE)
            _photograph(page)


def _photograph(page: Page) -> None:
    images = HERE / "images"
    images.mkdir(exist_ok=True)
    page.picture(images / "report.png", height=OVERVIEW_HEIGHT)
    page.picture(images / "report-run.png", top=page.run(RUN_TOP), height=RUN_HEIGHT)


if __name__ == "__main__":
    main()
