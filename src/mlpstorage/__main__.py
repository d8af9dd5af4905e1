"""`mlpstorage` and `python -m mlpstorage`: errors become exit codes here, and only here."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process."""
    code = run(sys.argv[1:])
    _end_undisturbed()
    # Python ends itself by SIGINT, whatever its exit code, if an interrupt has once come out of the
    # exec of a text, as in the making of a dataclass; the next one that ends well clears that.
    exec("")  # noqa: S102 (nothing is executed)
    sys.exit(code)


def _end_undisturbed() -> None:
    """Let no signal change the exit code while the interpreter clears up."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def run(argv: list[str]) -> int:
    """Run a command line; its exit code, whatever happens."""
    try:
        from mlpstorage.cli.app import run as run_command

        return run_command(argv)
    except BrokenPipeError:
        # The reader of our output has gone (such as `| head`): there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 (the last line of defence)
        from mlpstorage.cli.failure import report

        return report(error, argv)


if __name__ == "__main__":
    main()
