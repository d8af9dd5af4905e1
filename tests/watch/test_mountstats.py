from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mlpstorage.watch.mountstats import NfsBytes, NfsOperation, parse_mountstats

TEXT = """\
device /dev/vda mounted on / with fstype ext4
device nas:/export/a\\040b mounted on /mnt/data with fstype nfs4 statvers=1.1
\topts:\trw,vers=4.2,rsize=1048576,wsize=1048576,hard,proto=tcp,nconnect=4
\tage:\t3600
\tcaps:\tcaps=0x7fff,wtmult=512,dtsize=1048576,bsize=0,namlen=255
\tsec:\tflavor=1,pseudoflavor=1
\tevents:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27
\tbytes:\t100 200 300 400 500 600 7 8
\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)
\txprt:\ttcp 0 0 2 0 38 7 7 0 7 0 2 0 0
\tper-op statistics
\t        NULL: 1 1 0 44 24 0 0 0 0
\t        READ: 10 11 1 1000 2000000 5 60 70 0
\t       WRITE: 0 0 0 0 0 0 0 0 0
\t      COMMIT: 2 2 0 300 200 1 8 9

device tmpfs mounted on /tmp with fstype tmpfs
device old:/x mounted on /old with fstype nfs statvers=1.0
\tbytes:\t1 2 3 4 5 6
"""


def test_bytes_and_operations() -> None:
    """The mounts of NFS are found among the others, with the requests that they made."""
    new, old = parse_mountstats(TEXT)
    assert (new.device, new.mount_point, new.fs_type) == ("nas:/export/a b", "/mnt/data", "nfs4")
    assert new.age_seconds == 3600
    assert new.bytes == NfsBytes(100, 200, 300, 400, 500, 600, 7, 8)
    assert new.operations == (
        NfsOperation("NULL", 1, 1, 0, 44, 24, 0, 0, 0),
        NfsOperation("READ", 10, 11, 1, 1000, 2000000, 5, 60, 70),
        NfsOperation("COMMIT", 2, 2, 0, 300, 200, 1, 8, 9),
    )
    assert old.bytes == NfsBytes(1, 2, 3, 4, 5, 6)
    assert old.operations == ()


def test_no_nfs() -> None:
    """A host without NFS has no counters."""
    assert parse_mountstats("device /dev/vda mounted on / with fstype ext4\n") == ()
    assert parse_mountstats("") == ()


def test_a_torn_file() -> None:
    """Wherever the text is cut, no number is wrong: only whole lines count."""
    whole = parse_mountstats(TEXT)[0]
    for end in range(len(TEXT)):
        for mount in parse_mountstats(TEXT[:end])[:1]:
            assert mount.bytes in {None, whole.bytes}
            assert mount.operations == whole.operations[: len(mount.operations)]


@given(st.text("device mount on wth fsypn:f4\t\n0123456789 READ²-"))
def test_junk(text: str) -> None:
    """Any text gives mounts or none, never another error."""
    assert isinstance(parse_mountstats("device a mounted on b with fstype nfs\n" + text), tuple)
