from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.kinds.exclusive import FolderLock
from mlpstorage.kinds.vectordb.backends import backend_named
from mlpstorage.kinds.vectordb.cache import make_cold, resident_share
from mlpstorage.kinds.vectordb.control_group import ControlGroup, device_of, parse_homes
from mlpstorage.kinds.vectordb.metrics import agreement_of, counted_by, metrics_of
from mlpstorage.kinds.vectordb.record import CacheProof, PointPlan, PointRecord
from mlpstorage.kinds.vectordb.workload import packaged_scales, resolve_workload

HYBRID = """\
23 1 0:21 / /sys/fs/cgroup rw shared:2 - tmpfs tmpfs rw
24 23 0:22 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
25 23 0:23 /outer /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio
26 23 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""


def test_homes_are_found_on_both_versions() -> None:
    """Controllers on version 1 are found by name, below what a container sees as its root."""
    homes = parse_homes(HYBRID, "4:memory:/job\n3:blkio:/outer/job\n0::/")
    assert homes["memory"] == Path("/sys/fs/cgroup/memory/job")
    assert homes["blkio"] == Path("/sys/fs/cgroup/blkio/job")
    assert homes["v2"] == Path("/sys/fs/cgroup/unified")


@pytest.fixture
def group(tmp_path: Path) -> ControlGroup:
    """A control group of this host with a cap of 64 MiB."""
    found = ControlGroup.named(f"test{os.getpid()}", device_of(tmp_path))
    try:
        found.make(64 << 20)
    except ConfigurationError as error:
        pytest.skip(f"no control group can be made here: {error.what}")
    return found


def test_a_group_caps_memory_and_counts_reads(group: ControlGroup, tmp_path: Path) -> None:
    """A process inside that takes too much is killed; what another reads is counted."""
    assert group.cap_bytes() == 64 << 20
    path = tmp_path / "data"
    path.write_bytes(os.urandom(8 << 20))
    os.sync()
    doors = [str(folder / "cgroup.procs") for folder in group.folders.values()]
    join = f"import os\nfor door in {doors!r}: open(door, 'w').write(str(os.getpid()))\n"
    greedy = join + "data = bytearray(os.urandom(1 << 20) * 200)"
    before = group.reads()
    reader = join + (
        f"import mmap\nbuffer = mmap.mmap(-1, 1 << 20)\nfd = os.open({str(path)!r}, "
        "os.O_RDONLY | os.O_DIRECT)\nfor n in range(8): os.preadv(fd, [buffer], n << 20)"
    )
    try:
        done = subprocess.run([sys.executable, "-c", greedy], capture_output=True, check=False)
        assert done.returncode == -9
        subprocess.run([sys.executable, "-c", reader], capture_output=True, check=True)
        after = group.reads()
    finally:
        group.remove()
    if before is None or after is None or after == before:
        pytest.skip("the kernel counts no reads of a control group here")
    assert after[1] - before[1] >= 8 << 20
    assert after[0] > before[0]


def test_a_cap_that_cannot_be_set_is_refused(tmp_path: Path) -> None:
    """Without a group, a memory cap is an error that says how to get the right."""
    with pytest.raises(ConfigurationError, match="cannot be capped") as refused:
        ControlGroup({"memory": tmp_path / "nowhere" / "at-all"}).make(64 << 20)
    assert "root" in refused.value.fix


def test_cold_files_are_not_in_the_page_cache(tmp_path: Path) -> None:
    """Reading makes a file resident, and dropping makes it cold: seen, not assumed."""
    path = tmp_path / "data"
    path.write_bytes(os.urandom(4 << 20))
    path.read_bytes()
    warm = resident_share([path])
    if warm != 1.0:
        pytest.skip("the page cache of this filesystem is not to be seen")
    os.sync()
    assert make_cold([path]) in {"system", "files"}
    cold = resident_share([path])
    assert cold is not None
    assert cold < 0.05


def test_nothing_has_no_residency(tmp_path: Path) -> None:
    """Empty files and no files have no share."""
    (tmp_path / "empty").touch()
    assert resident_share([tmp_path / "empty"]) is None


def record(**values: object) -> PointRecord:
    """A rank's record of a point of two seconds, 100 queries of 1 ms."""
    whole: dict[str, object] = {
        "point": 0, "active": True, "cache": CacheProof(method="files", resident_share=0.0),
        "window_seconds": 2.0, "requests": 100, "queries": 100, "latency_us": {"191": 100},
        "latency_sum_us": 100_000.0, "latency_max_us": 1000.0, "read_bytes": 4_096_000,
        "user_seconds": 0.1, "system_seconds": 0.1, "host_busy_seconds": 1.0, "host_cpus": 2.0,
        **values,
    }  # fmt: skip
    return PointRecord(**whole)  # type: ignore[arg-type]  # the fields above


def metrics(*records: PointRecord, counted: bool = True) -> object:
    """The metrics of a point over these ranks on one host."""
    plan = PointPlan(number=0, clients=len(records))
    return metrics_of(
        plan, records, ["h"] * len(records), k=10, dimension=64, pool=1000, counted=counted
    )


def test_figures_of_a_point_add_up() -> None:
    """Rates are sums over ranks by the window; per query counts all that read."""
    found = metrics(record(), record(cut=1))
    assert found.qps == 100.0  # type: ignore[attr-defined]
    assert found.bytes_per_query == 2 * 4_096_000 / 201  # type: ignore[attr-defined]
    assert found.read_amplification == pytest.approx(found.bytes_per_query / 2560)  # type: ignore[attr-defined]
    assert found.cpu_ms_per_query == pytest.approx(2.0)  # type: ignore[attr-defined]
    assert found.cpu_share == pytest.approx(0.25)  # type: ignore[attr-defined]
    assert found.latency_ms["p99"] == pytest.approx(1.0, rel=0.04)  # type: ignore[attr-defined]
    assert found.source == "the processes' read_bytes"  # type: ignore[attr-defined]


def test_the_best_counter_is_taken_and_all_are_told() -> None:
    """The engine's own counters come first, then the group's, then the processes'."""
    records = [
        record(own_reads=900, own_bytes=4_000_000, group_reads=1000, group_bytes=4_100_000,
               group_source="control group, blkio")
    ]  # fmt: skip
    named = [one.source for one in counted_by(records, counted=True)]
    assert named[0].startswith("the engine")
    assert named[1].startswith("control group")
    assert agreement_of(counted_by(records, counted=True)) == pytest.approx(96 / 4096)


def test_what_nobody_counted_is_not_zero() -> None:
    """Without any counter bytes are unknown, which is another thing than none."""
    found = metrics(record(), counted=False)
    assert found.bytes_per_query is None  # type: ignore[attr-defined]
    assert found.source.startswith("nothing")  # type: ignore[attr-defined]


def test_every_scale_is_whole() -> None:
    """Each packaged scale converts, and its parameters suit every backend's defaults."""
    for name in packaged_scales():
        resolved = resolve_workload(name)
        assert resolved.workload.model == name
        for backend in ("zvec", "ivf-probe"):
            description = backend_named(backend)
            resolved.build_parameters(description.indexes[0], backend)


def test_parameters_and_flags_are_layers() -> None:
    """A parameter is stronger than a flag; what is wrong is told by the flag's name."""
    found = resolve_workload("tiny", {"dataset.dimension": 64}, ["dataset.dimension=32"])
    assert found.workload.dataset.dimension == 32
    with pytest.raises(UsageError, match="--dimension"):
        resolve_workload("tiny", {"dataset.dimension": 1})
    with pytest.raises(UsageError, match="unknown section"):
        resolve_workload("tiny", params=["datsaet.dimension=8"])
    with pytest.raises(UsageError, match="dimensoin"):
        resolve_workload("tiny", params=["dataset.dimensoin=8"])
    with pytest.raises(UsageError, match="unknown scale"):
        resolve_workload("tinny")


def test_effort_is_fixed_by_its_parameter() -> None:
    """query.<effort> fixes the effort, and other names there are refused."""
    index = backend_named("zvec").indexes[0]
    assert resolve_workload("tiny").fixed_effort(index, "zvec") is None
    given = resolve_workload("tiny", params=["query.list_size=40"])
    assert given.fixed_effort(index, "zvec") == 40
    wrong = resolve_workload("tiny", params=["query.nprobe=4"])
    with pytest.raises(UsageError, match=r"query\.nprobe"):
        wrong.search_parameters(index, "zvec")


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    """A second holder is refused with the first one's process; the kernel frees it."""
    first = FolderLock(tmp_path, "testing", "--data-dir")
    first.acquire()
    first.acquire()
    second = FolderLock(tmp_path, "testing", "--data-dir")
    with pytest.raises(ConfigurationError, match=str(os.getpid())):
        second.acquire()
    first.release()
    second.acquire()
    second.release()
