"""Which filesystem a path is on, from this host's mount table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlpstorage.watch.procfs import unescape_octal

_MOUNTINFO = Path("/proc/self/mountinfo")


@dataclass(frozen=True)
class MountedOn:
    """What holds a path: the type of the filesystem, its source, and where it is mounted."""

    type: str
    source: str
    point: str


def mount_of(path: Path, mountinfo: str | None = None) -> MountedOn | None:
    r"""The mount that holds a path, or would hold it once it is made; None when it is not known.

    The last of the longest matching mount points wins, as the kernel resolves it.

    >>> table = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /mnt rw shared:1 - nfs4 s:/x rw\n"
    >>> mount_of(Path("/mnt/data"), table)
    MountedOn(type='nfs4', source='s:/x', point='/mnt')
    """
    text = mountinfo if mountinfo is not None else _MOUNTINFO.read_text("utf-8", "replace")
    resolved = path.resolve() if mountinfo is None else path
    found: MountedOn | None = None
    for line in text.splitlines():
        left, separator, right = line.partition(" - ")
        fields, kinds = left.split(" "), right.split(" ")
        if not separator or len(fields) < 5 or len(kinds) < 2:  # noqa: PLR2004 (what is read below)
            continue
        point = unescape_octal(fields[4])
        if resolved.is_relative_to(point) and (found is None or len(point) >= len(found.point)):
            found = MountedOn(kinds[0], unescape_octal(kinds[1]), point)
    return found


def filesystem_of(path: Path, mountinfo: str | None = None) -> str:
    r"""The type of the filesystem that holds a path, such as ext4; empty when it is not known.

    >>> table = "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:5 / /mnt rw shared:1 - nfs4 s:/x rw\n"
    >>> filesystem_of(Path("/mnt/data"), table), filesystem_of(Path("/mntx"), table)
    ('nfs4', 'ext4')
    """
    found = mount_of(path, mountinfo)
    return found.type if found else ""
