"""What runs on each host: it looks, and prints what it has seen as marked lines of JSON.

The source is sent over ssh and run by whatever Python the host has, from 3.7 on, so it needs the
standard library alone and nothing of this package. Every fact is printed as soon as it is known:
what a hanging filesystem keeps back is only what is on it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import mmap
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 4096
_IMPORT_SECONDS = 5.0
_PLACE_SECONDS = 3.0
_CONNECT_SECONDS = 3.0
_MOST_NAMES = 1000
_MODULE_HOMES = ("/usr/share/lmod", "/usr/share/Modules", "/etc/modulefiles")
# What a rank does first; every line is printed before the next step, which may end the process.
_IMPORTS = """
import sys
sys.path[:1] = []
import mlpstorage
print("mlpstorage", mlpstorage.__version__, flush=True)
import mlpstorage.rank
print("rank ok", flush=True)
"""
_MPI = """
import mpi4py
print("mpi4py", mpi4py.__version__, flush=True)
mpi4py.rc.initialize = False
from mpi4py import MPI
print("library", " ".join(MPI.Get_library_version().strip(chr(0)).split()), flush=True)
"""


def main(mark: str) -> None:
    """Answer one request, read from standard input after this source."""
    lock = threading.Lock()

    def say(**facts: Any) -> None:  # noqa: ANN401 (JSON values)
        with lock:
            sys.stdout.write(mark + " " + json.dumps(facts) + "\n")
            sys.stdout.flush()

    request = json.loads(sys.stdin.buffer.readline())
    say(ready=True)
    for line in iter(sys.stdin.buffer.readline, b""):
        if line.strip() == b"go":
            break
        say(clock_ns=int(time.time() * 1e9))
    threads = [_start(_tell, say, "place", _place, place) for place in request["places"]]
    threads += [_start(_tell, say, "endpoint", _endpoint, p) for p in request["endpoints"]]
    say(system=_system(request))
    if request["python"] == sys.executable:
        say(imports=_imports(request))
    deadline = time.monotonic() + _PLACE_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    say(end=True)
    os._exit(0)  # a thread in a hanging filesystem must not keep us


def _start(target: Callable[..., None], *words: Any) -> threading.Thread:  # noqa: ANN401
    thread = threading.Thread(target=target, args=words, daemon=True)
    thread.start()
    return thread


def _tell(
    say: Callable[..., None],
    name: str,
    look: Callable[[Any], dict[str, Any]],
    asked: dict[str, Any],
) -> None:
    say(**{name: look(asked)})


def _system(request: dict[str, Any]) -> dict[str, Any]:
    return {
        "hostname": socket.gethostname(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id").strip(),
        "os_release": _read("/etc/os-release") or _read("/usr/lib/os-release"),
        "platform": sys.platform,
        "uid": os.geteuid(),
        "modules": bool({"LMOD_CMD", "MODULESHOME", "MODULEPATH"} & set(os.environ))
        or any(Path(path).is_dir() for path in _MODULE_HOMES),
        "open_files": _limit(resource.RLIMIT_NOFILE),
        "locked_bytes": _limit(getattr(resource, "RLIMIT_MEMLOCK", None)),
        "memory_available_bytes": _memory(),
        "addresses": _addresses(),
        "packages": _packages(request["packages"]),
        "modules_found": [name for name in request["modules"] if _has_module(name)],
        "programs": [path for path in request["programs"] if os.access(path, os.X_OK)],
    }


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _limit(name: int | None) -> int | None:
    if name is None:
        return None
    soft = resource.getrlimit(name)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _memory() -> int | None:
    """Bytes that can be had without swapping, within the control group's limit."""
    lines = _read("/proc/meminfo").splitlines()
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        word = _read(path).strip()
        if word.isdigit():
            found.append(int(word))
    return min(found) if found else None


def _addresses() -> dict[str, str]:
    """The IPv4 address of every interface that is up, by the interface's name."""
    if not sys.platform.startswith("linux"):
        return {}
    import fcntl
    import struct

    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            with contextlib.suppress(OSError):  # it has no address, or is gone again
                flags = struct.unpack("16xH", fcntl.ioctl(sock, 0x8913, request)[:18])[0]
                address = fcntl.ioctl(sock, 0x8915, request)[20:24]
                if flags & 1 and not flags & 8:  # up, and no loopback: netdevice(7)
                    found[name] = socket.inet_ntoa(address)
    return found


def _packages(names: list[str]) -> dict[str, str | None]:
    try:
        from importlib import metadata
    except ImportError:  # Python 3.7
        return {}
    found = {str(d.metadata["Name"]).lower(): str(d.version) for d in metadata.distributions()}
    return {name: found.get(name.lower()) for name in names}


def _has_module(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _imports(request: dict[str, Any]) -> dict[str, Any]:
    """Import what a rank imports, in a process of its own that may crash or hang."""
    code = _IMPORTS + (_MPI if request["mpi"] else "")
    env = dict(os.environ)
    if request["library_path"]:
        parts = (request["library_path"], env.get("LD_LIBRARY_PATH", ""))
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, parts))
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
    )
    hung = False
    try:
        out, err = child.communicate(timeout=_IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        hung = True
    said = dict(
        line.split(" ", 1) for line in out.decode("utf-8", "replace").splitlines() if " " in line
    )
    last = err.decode("utf-8", "replace").strip().splitlines()[-1:]
    return {
        "mlpstorage": said.get("mlpstorage"),
        "rank": "rank" in said,
        "mpi4py": said.get("mpi4py"),
        "library": said.get("library"),
        "error": "" if child.returncode == 0 else (last or [f"exit code {child.returncode}"])[0],
        "hung": hung,
    }


def _endpoint(point: dict[str, Any]) -> dict[str, str]:
    try:
        with socket.create_connection((point["host"], point["port"]), timeout=_CONNECT_SECONDS):
            return {"name": point["name"], "error": ""}
    except socket.timeout:  # noqa: UP041 (before 3.10 it is no TimeoutError)
        return {"name": point["name"], "error": "no answer"}
    except OSError as error:
        return {"name": point["name"], "error": error.strerror or str(error)}


def _place(place: dict[str, Any]) -> dict[str, Any]:
    """What a directory, or the nearest one above it that exists, allows."""
    path = base = Path(place["path"])
    record: dict[str, Any] = {
        "name": place["name"],
        "exists": False,
        "is_directory": False,
        "error": "",
    }
    try:
        while not base.exists() and base != base.parent:
            base = base.parent
        status, room = base.stat(), os.statvfs(base)
        record.update(
            base=str(base),
            exists=base == path,
            is_directory=base.is_dir(),
            device=status.st_dev,
            inode=status.st_ino,
            changed_ns=status.st_ctime_ns,
            free_bytes=room.f_bavail * room.f_frsize,
            filesystem=_filesystem(base),
        )
        if record["is_directory"]:
            record.update(_tried(place, base))
    except OSError as error:
        record["error"] = error.strerror or str(error)
    return record


def _tried(place: dict[str, Any], base: Path) -> dict[str, Any]:
    """What comes of looking for the others' file, of writing, and of direct I/O."""
    record: dict[str, Any] = {}
    probe = Path(place["probe_directory"]) / place["probe"] if place["probe"] else None
    if probe is not None:
        record["probe_seen"] = probe.exists()
    if not os.access(base, os.R_OK | os.X_OK):
        record["error"] = os.strerror(errno.EACCES)
        return record
    if place["write"]:
        record["write_error"] = _write_error(base, place["token"], direct=False)
    if place["direct"]:
        if record.get("write_error") == "":
            record["direct_error"] = _write_error(base, place["token"], direct=True)
        else:
            seen = probe if record.get("probe_seen") else _some_file(base)
            record["direct_error"] = _read_error(seen) if seen else None
    return record


def _write_error(base: Path, token: str, *, direct: bool) -> str:
    """Make a file, write a block and remove it; what refused, or nothing."""
    path = base / f"{token}-{socket.gethostname()}-{'direct' if direct else 'plain'}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        fd = os.open(path, flags | (os.O_DIRECT if direct else 0), 0o600)
    except (OSError, AttributeError) as error:  # macOS has no O_DIRECT
        _remove(path)  # a filesystem may make the file, and then refuse to open it
        return getattr(error, "strerror", None) or str(error)
    try:
        with mmap.mmap(-1, _BLOCK) as block:  # a page: aligned as O_DIRECT asks
            os.write(fd, block)
    except OSError as error:
        return error.strerror or str(error)
    else:
        return ""
    finally:
        os.close(fd)
        _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # it was not made
        path.unlink()


def _read_error(path: Path) -> str:
    """Read a block of a file past the page cache; what refused, or nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
        try:
            with mmap.mmap(-1, _BLOCK) as block:
                os.readv(fd, [block])
        finally:
            os.close(fd)
    except (OSError, AttributeError) as error:  # macOS has no O_DIRECT
        return getattr(error, "strerror", None) or str(error)
    return ""


def _some_file(base: Path) -> Path | None:
    """A file in the directory or below; None when the first thousand names hold none."""
    seen = 0
    for directory, _, names in os.walk(base):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and path.stat().st_size > 0:
                return path
        seen += len(names) + 1
        if seen > _MOST_NAMES:
            break
    return None


def _filesystem(path: Path) -> str:
    """The type of the filesystem, by the longest matching mount point."""
    longest, found = "", ""
    real = f"{path.resolve()}/"
    for line in _read("/proc/self/mounts").splitlines():
        fields = line.split(" ")
        point = fields[1].encode().decode("unicode_escape").rstrip("/") + "/"
        if real.startswith(point) and len(point) >= len(longest):
            longest, found = point, fields[2]
    return found
