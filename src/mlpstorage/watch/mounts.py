"""Which filesystem a path is on, from this host's mount table."""

from __future__ import annotations

from pathlib import Path

from mlpstorage.watch.procfs import unescape_octal

_MOUNTINFO = Path("/proc/self/mountinfo")


def filesystem_of(path: Path, mountinfo: str | None = None) -> str:
    r"""The type of the filesystem that holds a path, such as ext4; empty when it is not known.

    The last of the longest matching mount points wins, as the kernel resolves it.

    >>> table = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /mnt rw shared:1 - nfs4 s:/x rw\n"
    >>> filesystem_of(Path("/mnt/data"), table), filesystem_of(Path("/mntx"), table)
    ('nfs4', 'ext4')
    """
    text = mountinfo if mountinfo is not None else _MOUNTINFO.read_text("utf-8", "replace")
    resolved = path.resolve() if mountinfo is None else path
    best, found = -1, ""
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:  # noqa: PLR2004 (the mount point is the fifth field)
            continue
        point = unescape_octal(fields[4])
        if resolved.is_relative_to(point) and len(point) >= best:
            best, found = len(point), right.split(" ")[0]
    return found
