"""Real shells in a terminal of their own, in which a test types, TABs included."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from display.screen_reader import Screen

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE_SECONDS = 120
TAB, ENTER = "\t", "\r"
# Inserts everything that could stand here.
ALL = "\x18a"
_READY = "shell is ready"

# In each shell, the program is a function that writes its words down; so nothing is started.
_START = {
    "bash": r"""
        PS1='$ '
        mlpstorage() { printf '%s\n' "$@" > told.part; command mv told.part told; }
        bind '"\C-xa": insert-completions'
        bind 'set bell-style none'
        bind 'set enable-bracketed-paste off'
        """,
    "zsh": r"""
        PS1='$ '
        setopt no_beep
        mlpstorage() { print -rl -- "$@" > told.part; command mv told.part told; }
        _every() { _main_complete; compstate[insert]=all; compstate[list]=; }
        zle -C every complete-word _every
        bindkey '^Xa' every
        """,
    "fish": r"""
        function fish_prompt; printf '$ '; end
        function fish_greeting; end
        function mlpstorage; printf '%s\n' $argv > told.part; command mv told.part told; end
        function every
            set -l found (complete -C (commandline -cp) | string replace -r '\t.*' '')
            commandline -t -- (string join ' ' -- (string escape -- $found))
        end
        bind \cxa every
        """,
}
# A shell wants the terminal to be its own.
_OWN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)
_WORDS = {
    "bash": ["bash", "--noprofile", "--rcfile", "start", "-i"],
    "zsh": ["zsh", "-o", "no_global_rcs", "-i"],
    "fish": ["fish", "-i"],
}


class TypedShell(Screen):
    """A shell that a test types into; its home and working directory is an empty directory.

    Args:
        name: bash, zsh or fish.
        home: The directory.
        setup: Lines of its start-up file.
    """

    def __init__(self, name: str, home: Path, setup: str) -> None:
        self._told = home / "told"
        self._name = name
        start = f"{setup}\n{_START[name]}\necho {_READY.replace(' ', chr(92) + ' ')}\n"
        place = {"bash": "start", "zsh": ".zshrc", "fish": ".config/fish/config.fish"}[name]
        (home / place).parent.mkdir(parents=True, exist_ok=True)
        (home / place).write_text(start)
        env = {"HOME": str(home), "ZDOTDIR": str(home), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}
        argv = [sys.executable, "-c", _OWN_TERMINAL, *_WORDS[name]]
        super().__init__(argv, 200, 50, home, env)
        self.until(lambda: _READY in self.text, PATIENCE_SECONDS)

    def words(self, typed: str) -> list[str]:
        """The words that the program is started with, after what was typed and ENTER."""
        self._told.unlink(missing_ok=True)
        os.write(self._master, (typed + ENTER).encode())
        self.until(self._told.exists, PATIENCE_SECONDS)
        return self._told.read_text().splitlines()

    def offers(self, typed: str) -> set[str]:
        """Every word that the shell would put at the end of what was typed, slashes left out."""
        before = len(shlex.split(typed.rpartition(" ")[0])) - 1
        return {word.rstrip("/") for word in self.words(typed + ALL)[before:]}

    def leave(self) -> None:
        """End the shell."""
        os.write(self._master, b"exit" + ENTER.encode())
        self.end(PATIENCE_SECONDS)


def is_here(name: str) -> bool:
    """Whether the shell is installed."""
    return shutil.which(name) is not None
