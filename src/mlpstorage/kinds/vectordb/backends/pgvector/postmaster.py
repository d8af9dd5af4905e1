"""As a script, `python -m …postmaster PARENT PROGRAM ...` becomes PostgreSQL's PROGRAM.

It ends with its parent. PostgreSQL refuses to run as root: root becomes another user in a user
namespace of its own, so no user is made, and no directory changes hands.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

from mlpstorage.launch.tether import tie_to_parent

_CLONE_NEWUSER = 0x10000000
_SOMEBODY = 1000


def leave_root() -> None:
    """Be seen as an ordinary user from here on, with root's own files.

    Raises:
        OSError: this kernel or container makes no user namespaces.
    """
    user, group = os.geteuid(), os.getegid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "no user namespace can be made for PostgreSQL")
    own = Path("/proc/self")
    (own / "setgroups").write_text("deny", encoding="ascii")
    (own / "uid_map").write_text(f"{_SOMEBODY} {user} 1", encoding="ascii")
    (own / "gid_map").write_text(f"{_SOMEBODY} {group} 1", encoding="ascii")


if __name__ == "__main__":
    if os.geteuid() == 0:
        leave_root()
    tie_to_parent(int(sys.argv[1]), signal.SIGINT)  # a fast shutdown
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 (this process becomes PostgreSQL)
