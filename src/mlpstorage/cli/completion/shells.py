"""The shells, and where each of them looks for the script that completes a command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlpstorage.cli.binding import load
from mlpstorage.cli.completion.tree import branches, commands

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Shell:
    """A shell: the file it reads, what else it needs, and what makes the script.

    `needs` are lines of text; `setup` are lines of a start-up file.
    """

    name: str
    path: str
    needs: str
    setup: tuple[str, ...] = ()
    first: str = ""

    @property
    def install(self) -> str:
        """The command that puts the script where the shell looks."""
        folder = self.path.rpartition("/")[0]
        return f"mkdir -p {folder} && mlpstorage completion {self.name} > {self.path}"

    @property
    def at_once(self) -> str:
        """The command that has the running shell complete."""
        words = f"mlpstorage completion {self.name}"
        return f"{words} | source" if self.name == "fish" else f'eval "$({words})"'

    def script(self) -> str:
        """The whole script, which begins with how to install it."""
        make = load(f"mlpstorage.cli.completion.{self.name}:script")
        return f"{self._head()}\n\n{make(branches(), commands())}"

    def _head(self) -> str:
        lines = [
            "Completion of mlpstorage, made by the program: make it anew with a new version.",
            self.needs,
            *(f"    {line}" for line in (self.install, *self.setup)),
            "or for this shell alone:",
            f"    {self.at_once}",
        ]
        return "\n".join([*([self.first] if self.first else []), *(f"# {line}" for line in lines)])


_BASH = Shell(
    "bash",
    "~/.local/share/bash-completion/completions/mlpstorage",
    "With the package bash-completion, new shells read it from here:",
)
_ZSH = Shell(
    "zsh",
    "~/.zfunc/_mlpstorage",
    "New shells read it from here, with the second line in ~/.zshrc:",
    ("fpath+=(~/.zfunc); autoload -Uz compinit && compinit",),
    first="#compdef mlpstorage",
)
_FISH = Shell(
    "fish", "~/.config/fish/completions/mlpstorage.fish", "fish reads it from here, at once:"
)
SHELLS: Mapping[str, Shell] = {shell.name: shell for shell in (_BASH, _ZSH, _FISH)}
