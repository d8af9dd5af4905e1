"""Why ssh did not get in, by what it said: each cause has its own fix."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mlpstorage.preflight.remote import CONNECT_SECONDS, SSH_FAILED
from mlpstorage.watch.untrusted import printable


@dataclass(frozen=True)
class Cause:
    """What is wrong, and what mends it; `{host}` is the host's name."""

    pattern: re.Pattern[str]
    what: str
    fix: str


def _cause(pattern: str, what: str, fix: str) -> Cause:
    return Cause(re.compile(pattern, re.IGNORECASE), what, fix)


_LOG_IN = "log in once by hand and compare the fingerprint: ssh {host}"
_SILENT = "it did not answer within {seconds:.0f} s"
_CHECK_NETWORK = "see whether the host is up and no firewall drops port 22: ssh -v {host}"
# The first that fits wins; a changed key also fails the verification, so it stands before it.
_CAUSES = (
    _cause(
        "could not resolve hostname",
        "its name is not known",
        "correct the name, or enter it in DNS, in /etc/hosts, or as Host {host} in ~/.ssh/config",
    ),
    _cause(
        "remote host identification has changed",
        "its host key is not the one in known_hosts",
        "if the host was installed anew: ssh-keygen -R {host}, then " + _LOG_IN,
    ),
    _cause(
        "host key verification failed|no .* host key is known",
        "its host key is not in known_hosts",
        _LOG_IN + "; on a network you trust: ssh-keyscan {host} >> ~/.ssh/known_hosts",
    ),
    _cause(
        "bad owner or permissions|bad configuration option|terminating, .* bad configuration",
        "ssh does not accept its own configuration",
        "correct the file that it names; try: ssh -G {host}",
    ),
    _cause(
        "too many authentication failures",
        "it refused after too many keys",
        "name the right one: IdentityFile and IdentitiesOnly yes for Host {host} in ~/.ssh/config",
    ),
    _cause(
        "permission denied",
        "it does not accept the key",
        "ssh-copy-id {host}; or load the right key with ssh-add, or name the user: "
        "User under Host {host} in ~/.ssh/config",
    ),
    _cause(
        "connection refused",
        "nothing listens on its ssh port",
        "start it there: systemctl enable --now sshd; another port goes under Host {host} in "
        "~/.ssh/config",
    ),
    _cause(
        "no route to host|network is unreachable|host is down",
        "there is no way to it",
        "see whether it is switched on and on this network: ping {host}",
    ),
    _cause("timed out|timeout, server", _SILENT, _CHECK_NETWORK),
    _cause(
        "kex_exchange_identification|connection (reset|closed)",
        "it closed the connection before logging in",
        "see its log: journalctl -u sshd; it may limit logins at once (MaxStartups) or addresses",
    ),
)


@dataclass(frozen=True)
class Failure:
    """Why a host was not reached: what, ssh's own words, and the fix."""

    what: str
    said: str
    fix: str


def failure_of(host: str, code: int | None, err: str, seconds: float) -> Failure:
    """The cause of a failed login.

    >>> failure_of("h1", 255, "ssh: Could not resolve hostname h1: Name not known", 0).what
    'its name is not known'
    """
    said = printable(_last_line(err))
    for cause in _CAUSES:
        if cause.pattern.search(err):
            what = cause.what.format(seconds=max(seconds, CONNECT_SECONDS))
            return Failure(what, said, cause.fix.format(host=host))
    if code is None:
        return Failure(_SILENT.format(seconds=seconds), said, _CHECK_NETWORK.format(host=host))
    if code == SSH_FAILED:
        return Failure("ssh does not get in", said, f"try it by hand: ssh {host} true")
    return Failure(
        f"its shell ended with code {code}", said, f"try it by hand: ssh {host} sh -c true"
    )


def _last_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.strip()]
    return lines[-1] if lines else ""
