from __future__ import annotations

import os

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.core.errors import UsageError
from mlpstorage.watch.sampler import Sampler
from mlpstorage.watch.snapshot import snapshot
from mlpstorage.watch.ssh import (
    AsyncsshTransport,
    LocalTransport,
    is_this_host,
    ssh_command,
    transport_for,
)

EVIL = [
    "-oProxyCommand=touch /tmp/x",
    "-l",
    "a b",
    "h1;reboot",
    "$(reboot)",
    "h1,h2",
    "",
    "@hosts",
    "h1:4",
]


@pytest.mark.parametrize("name", EVIL)
def test_names_that_are_none(name: str, tmp_path: object) -> None:
    """A name that ssh could take for an option, or a shell for a command, is refused everywhere."""
    for use in (
        transport_for,
        ssh_command,
        lambda name: snapshot([Host(name)]),
        lambda name: Sampler([Host(name)], 1.0, tmp_path / "s.jsonl"),  # type: ignore[operator]
    ):
        with pytest.raises((UsageError, OSError)) as caught:
            use(name)
        assert getattr(caught.value, "exit_code", 3) in {2, 3}


def test_which_way_a_host_is_reached() -> None:
    """This machine needs no ssh, by whichever of its names; any other does."""
    assert isinstance(transport_for("localhost"), LocalTransport)
    assert isinstance(transport_for(os.uname().nodename), LocalTransport)
    assert isinstance(transport_for("h1.example.com"), AsyncsshTransport)
    assert is_this_host("127.0.0.1")
    assert not is_this_host("h1")


def test_the_command_line_of_ssh() -> None:
    """The system's ssh never asks, never accepts an unknown key, and gets the name after `--`."""
    command = ssh_command("[fe80::1]")
    assert command[command.index("--") + 1] == "fe80::1"
    options = command[: command.index("--")]
    for option in ("BatchMode=yes", "StrictHostKeyChecking=yes", "ControlPath=none"):
        assert options[options.index(option) - 1] == "-o"
    assert any(option.startswith("ConnectTimeout=") for option in options)
    assert any(option.startswith("ServerAliveInterval=") for option in options)
