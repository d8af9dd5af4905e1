"""Make docs/images/live.svg: a real run in a real terminal, its screen caught in the middle.

    python bench/live_picture.py DATA_DIR [--model resnet50]

It runs `training run` as a trial (the data set is made there if need be), reads the
screen through a terminal emulator (pyte), and lets rich draw it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from rich.console import Console  # noqa: E402 (as above)
from rich.text import Text  # noqa: E402 (as above)

from display.screen_reader import Screen  # noqa: E402 (a folder that is no package of ours)

_COLUMNS, _ROWS = 100, 26
# What the emulator calls the eight colours.
_NAMES = {
    "brown": "yellow",
    "brightbrown": "bright_yellow",
    "brightblack": "bright_black",
}


def picture(screen: Screen, title: str, hidden: str) -> str:
    """The screen as SVG, its empty lines at the end left out; `hidden` is shown as ~."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        console = Console(record=True, width=_COLUMNS, file=nowhere)
        for line in screen.cells()[: len(screen.lines)]:
            text = Text()
            for (colour, bold), cells in itertools.groupby(line, key=lambda cell: cell[1:]):
                said = "".join(cell[0] for cell in cells).replace(hidden, "~")
                text.append(said, style_of(colour, bold=bold))
            text.rstrip()
            console.print(text, soft_wrap=True)
        drawn = console.export_svg(title=title)
    # A picture that asks a server for its letters is none: the reader's monospace will do.
    return re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL)


def style_of(colour: str, *, bold: bool) -> str:
    """Rich's name of what the emulator shows."""
    name = _NAMES.get(colour, colour)
    return f"{'bold ' if bold else ''}{'' if name == 'default' else name}".strip()


def main() -> None:
    """Run, wait, draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data_dir")
    parser.add_argument("--model", default="unet3d")
    parser.add_argument("--params", nargs="*", default=[])
    parser.add_argument("--when", default="epoch 2/")
    parser.add_argument("--after", type=float, default=3.0)
    asked = parser.parse_args()
    words = [
        *("mlpstorage", "training", "run", "--model", asked.model, "--accelerator-type", "h100"),
        *("--num-accelerators", "1", "--data-dir", asked.data_dir, "--trial"),
        *(["--params", *asked.params] if asked.params else []),
    ]
    with tempfile.TemporaryDirectory(prefix="run-") as home:
        argv = [sys.executable, "-m", *words]
        screen = Screen(argv, _COLUMNS, _ROWS, Path(home))
        screen.until(lambda: asked.when in screen.text, 300)
        until = time.monotonic() + asked.after
        screen.until(lambda: time.monotonic() > until)
        drawn = picture(screen, "mlpstorage", home)
        screen.process.terminate()
        screen.end(120)
    (ROOT / "docs" / "images" / "live.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
