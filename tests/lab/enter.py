"""Run a command inside a host: `enter.py PID CWD DOORS ARGV…`; a program of its own.

PID is a process of the host, CWD a folder there, DOORS the cgroup.procs files to join, separated
by colons. The standard library's `os.setns` needs Python 3.12, and the program nsenter neither
passes signals on nor takes its command along when it is killed: a test that interrupts a
command needs both. The command gets the signals that this process gets, dies with it, and this
process ends as the command ended (same exit code, or the same signal).

Run with -I -S: it starts in a few milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

# In this order: the last one changes what the paths of the others mean.
_NAMESPACES = ("ipc", "uts", "net", "pid", "cgroup", "mnt")
_PASSED_ON = {
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCONT,
}
_PR_SET_PDEATHSIG = 1
_FROM_TERMINAL = 0x80  # SI_KERNEL: the terminal sent it to the whole group, command included
_libc = ctypes.CDLL(None, use_errno=True)


def main(pid: str, cwd: str, doors: str, *argv: str) -> None:
    """Enter, run, end in the same way."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON | {signal.SIGCHLD})
    spaces = [os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY) for kind in _NAMESPACES]
    joined = [os.open(door, os.O_WRONLY) for door in doors.split(":") if door]
    for space in spaces:
        if _libc.setns(space, 0):
            raise OSError(ctypes.get_errno(), "setns", pid)
    alive, parent_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(parent_end)
            _become(argv, cwd, joined, alive, mask)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error}\n".encode())
        os._exit(127)
    os.close(alive)
    _end_as(_wait_passing_signals(child))


def _become(
    argv: tuple[str, ...], cwd: str, joined: list[int], alive: int, mask: set[int | signal.Signals]
) -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(alive, False)
    try:
        os.read(alive, 1)
    except BlockingIOError:  # the parent holds the other end: it was not killed before prctl
        for door in joined:
            os.write(door, b"0")
        os.chdir(cwd)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them
            signal.signal(ignored, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvp(argv[0], argv)  # noqa: S606 (no shell is wanted)


def _wait_passing_signals(child: int) -> int:
    while True:
        got = signal.sigwaitinfo(_PASSED_ON | {signal.SIGCHLD})
        if got.si_signo != signal.SIGCHLD:
            if got.si_code != _FROM_TERMINAL:
                os.kill(child, got.si_signo)
            continue
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status


def _end_as(status: int) -> None:
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the command dumped core, if anyone
    if number != signal.SIGKILL:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.kill(os.getpid(), number)


if __name__ == "__main__":
    main(*sys.argv[1:])
