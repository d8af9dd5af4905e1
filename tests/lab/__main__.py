"""A lab by hand, from the folder `tests`: `python -m lab -n 3 --share DIR -- COMMAND…`.

The command runs on the controller, without one a shell. It finds its hosts in $LAB_HOSTS.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lab.bed import Lab
from lab.needs import LabError
from lab.warden import PRIVATE

if TYPE_CHECKING:
    import subprocess


def main() -> int:
    """Run the command in a lab; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=2, metavar="N", help="hosts (default: 2)")
    share = "a folder in a private place that all hosts see; may be repeated"
    parser.add_argument("--share", action="append", default=[], metavar="DIR", help=share)
    parser.add_argument("command", nargs="*", default=["bash", "-i"], help="runs on the controller")
    options = parser.parse_args()
    here = Path.cwd()
    hidden = any(here.is_relative_to(place) for place in PRIVATE)
    shared = [Path(folder).resolve() for folder in options.share]
    seen = not hidden or any(here.is_relative_to(folder) for folder in shared)
    try:
        with Lab(options.n, share=shared) as lab:
            process = lab.popen(
                options.command,
                env={"LAB_HOSTS": ",".join(lab.names)},
                cwd=here if seen else "/tmp",  # noqa: S108 (the controller's own)
                stdin=None,
                stdout=None,
                stderr=None,
            )
            return _wait(process)
    except LabError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def _wait(process: subprocess.Popen[str]) -> int:
    while True:
        try:
            code = process.wait()
        except KeyboardInterrupt:  # the terminal told the command as well
            continue
        return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
