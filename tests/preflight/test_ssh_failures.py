from __future__ import annotations

import pytest

from mlpstorage.preflight.ssh_failures import failure_of

# What OpenSSH 8 and 9 print, and words of the cause that it must be told as.
SAID = {
    "ssh: Could not resolve hostname h1: Name or service not known": "name is not known",
    "ssh: connect to host h1 port 22: Connection refused": "nothing listens",
    "ssh: connect to host h1 port 22: Connection timed out": "did not answer",
    "Connection timed out during banner exchange": "did not answer",
    "ssh: connect to host h1 port 22: No route to host": "no way to it",
    "No ED25519 host key is known for h1 and you have requested strict checking.\n"
    "Host key verification failed.": "not in known_hosts",
    "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.": (
        "not the one in known_hosts"
    ),
    "root@h1: Permission denied (publickey).": "does not accept the key",
    "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures": (
        "too many keys"
    ),
    "kex_exchange_identification: read: Connection reset by peer": "closed the connection",
    "/root/.ssh/config: line 3: Bad configuration option: hots": "its own configuration",
    "Timeout, server h1 not responding.": "did not answer",
    "what no ssh has ever said": "does not get in",
}


@pytest.mark.parametrize("said", SAID)
def test_each_cause_is_told_apart(said: str) -> None:
    """What ssh says decides on the cause, and every cause has a fix that names the host."""
    failure = failure_of("h1", 255, said, 1.0)
    assert SAID[said] in failure.what
    assert "h1" in failure.fix or "sshd" in failure.fix or "port 22" in failure.fix


def test_silence_is_a_cause() -> None:
    """A host that says nothing until time is up is said to be silent."""
    assert failure_of("h1", None, "", 8.0).what == "it did not answer within 8 s"


def test_words_of_a_host_cannot_steer_the_terminal() -> None:
    """Escape sequences in what a host says are made visible."""
    failure = failure_of("h1", 255, "\x1b[2J\x1b[31mPermission denied\x07", 1.0)
    assert failure.said
    assert not any(ord(c) < 32 for c in failure.said)
