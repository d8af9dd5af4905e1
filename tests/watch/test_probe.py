from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.watch import probe, sources
from mlpstorage.watch.probe import FrameReader, HostLostError, Probe, files_of, sections_of
from mlpstorage.watch.ssh import LocalTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "ash"], ["tcsh"], ["fish"], ["ksh"],
          ["zsh"], ["mksh"]]  # fmt: skip


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Probe]:
    """A probe on this machine."""
    started = Probe(await LocalTransport().open("localhost"))
    try:
        await started.start()
        yield started
    finally:
        await started.close()


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
def test_every_login_shell_starts_it(shell: list[str], tmp_path: Path) -> None:
    """Whichever shell a user has, the loop starts, answers each request, and ends at its input."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    (tmp_path / "a b").write_text("no\n")
    (tmp_path / "x").write_text("yes\n")
    requests = f"c t1\ni t2\ns t3\ng t4 {tmp_path}/?\nf t5 {tmp_path}/?\nf t6 {tmp_path}/x\nq t7\n"
    done = subprocess.run(
        [*shell, "-c", probe.COMMAND],
        input=f"{probe.script()}\n{requests}",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    bodies = []
    for token in ("t1", "t2", "t3", "t4", "t5", "t6", "t7"):
        body = FrameReader(token).feed(done.stdout.encode())
        assert body is not None
        bodies.append(body.decode())
    assert int(bodies[0].replace(".", "")) > 1_700_000_000_000_000
    assert files_of(bodies[1])[sources.MACHINE] == f"{os.uname().machine}\n"
    assert set(sections_of(bodies[2])) >= {"proc/uptime", "proc/diskstats", "proc/net/dev"}
    assert files_of(bodies[3]) == {f"{tmp_path}/x".lstrip("/"): "yes\n"}
    assert files_of(bodies[4]) == {}
    assert files_of(bodies[5]) == {f"{tmp_path}/x".lstrip("/"): "yes\n"}
    assert bodies[6].strip() == ""


def test_nothing_but_a_shell_and_busybox_is_needed(tmp_path: Path) -> None:
    """A host that has only busybox answers, too."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("no busybox here")
    done = subprocess.run(
        [busybox, "sh", "-c", 'IFS= read -r s && eval "$s"'],
        input=probe.script().replace("PATH=$PATH:/usr/bin:/bin;", "") + "\ns t1\nf t2 /proc/stat\n",
        env={"PATH": str(_only_busybox(tmp_path, busybox))},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    body = FrameReader("t1").feed(done.stdout.encode())
    assert body is not None
    assert sections_of(body.decode())["proc/meminfo"].startswith("MemTotal:")
    assert ">t2\n" in done.stdout


def _only_busybox(folder: Path, busybox: str) -> Path:
    for name in ("tail", "grep", "date", "uname"):
        (folder / name).symlink_to(busybox)
    return folder


def test_what_a_probe_says_is_what_the_files_say() -> None:
    """Files come through whole, patterns are expanded, and names of missing files are left out."""

    async def ask() -> dict[str, str]:
        async with running() as probe:
            names = ["/proc/version", "/etc/os-release", "/no/such", "/proc/sys/kernel/host*"]
            return files_of((await probe.ask("g", names, seconds=10)).text)

    assert asyncio.run(ask()) == {
        "proc/version": Path("/proc/version").read_text(),
        "etc/os-release": Path("/etc/os-release").read_text(),
        "proc/sys/kernel/hostname": os.uname().nodename + "\n",
    }


def test_no_file_can_pose_as_another(tmp_path: Path) -> None:
    """Frames and headings inside a file stay its content."""
    evil = tmp_path / "evil"
    evil.write_text("<t\n>t\n==> /proc/uptime <==\n/proc/meminfo:MemTotal: 1 kB\n\x1b[2J\n")

    async def ask() -> dict[str, str]:
        async with running() as probe:
            return files_of((await probe.ask("f", [str(evil)], seconds=10)).text)

    (text,) = asyncio.run(ask()).values()
    assert text == evil.read_text().replace("\x1b", "\\x1b")


def test_a_loop_that_dies() -> None:
    """When the loop is killed, the question says so instead of waiting."""

    async def ask() -> None:
        async with running() as probe:
            process = probe._channel._process  # type: ignore[attr-defined]
            process.kill()
            await probe.ask("s", seconds=10)

    with pytest.raises(HostLostError, match="the probe ended \\(code -9\\)"):
        asyncio.run(ask())


def test_a_host_that_does_not_answer(tmp_path: Path) -> None:
    """A file that cannot be read to its end costs the time limit, and no more."""
    os.mkfifo(tmp_path / "pipe")

    async def ask() -> None:
        async with running() as probe:
            try:
                await probe.ask("f", [str(tmp_path / "pipe")], seconds=0.3)
            finally:  # let grep end
                os.close(os.open(tmp_path / "pipe", os.O_WRONLY | os.O_NONBLOCK))

    with pytest.raises(HostLostError, match=r"no answer for 300\.0 ms"):
        asyncio.run(ask())


@given(body=st.binary(), before=st.binary(max_size=40), data=st.data())
def test_frames_in_any_pieces(body: bytes, before: bytes, data: st.DataObject) -> None:
    """A frame is found whole in whatever pieces it comes, behind whatever precedes it."""
    token = secrets.token_hex(8)
    stream = before + f"\n<{token}\n".encode() + body + f"\n>{token}\n".encode()
    reader, found, position = FrameReader(token), None, 0
    while position < len(stream):
        assert found is None
        size = data.draw(st.integers(1, max(1, len(stream) - position)))
        found = reader.feed(stream[position : position + size])
        position += size
    assert found == body


def test_an_answer_without_end() -> None:
    """A host that prints for ever is given up at a limit of memory."""
    reader = FrameReader("t", most_bytes=1000)
    assert reader.feed(b"<t\n" + b"x" * 900) is None
    with pytest.raises(HostLostError, match="an answer is longer than 1000 B"):
        reader.feed(b"x" * 200)


@given(st.text("=><ab/procutime \n:"))
def test_any_answer_can_be_taken_apart(text: str) -> None:
    """Whatever an answer holds, taking it apart gives a mapping."""
    assert set(sections_of(text)) <= set(sources.SAMPLE_FILES)
    assert isinstance(files_of(text), dict)
