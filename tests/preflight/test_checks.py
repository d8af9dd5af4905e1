from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mlpstorage.core.cluster import Host
from mlpstorage.core.units import GIB
from mlpstorage.launch.dialects import Dialect, Family, MpiOptions
from mlpstorage.preflight.checks import CHECKS, examine, problems_for, run_checks
from mlpstorage.preflight.facts import (
    Clock,
    EndpointFacts,
    Facts,
    HostFacts,
    Imports,
    Interpreter,
    LauncherFacts,
    PlaceFacts,
    System,
)
from mlpstorage.preflight.findings import Finding, Severity, merged
from mlpstorage.preflight.needs import Endpoint, Needs, Place

SYSTEM = System(
    hostname="h1", boot_id="b", os_release="ID=debian\n", platform="linux", uid=0, modules=False,
    open_files=1024, locked_bytes=None, memory_available_bytes=8 * GIB,
    addresses={"eth0": "10.0.0.1"}, packages={"numpy": "2.0"}, modules_found=(), programs=(),
)  # fmt: skip
OPEN_MPI_4 = "Open MPI v4.1.4, package: Debian OpenMPI"
IMPORTS = Imports("0.1.0", rank=True, mpi4py="4.1", library=OPEN_MPI_4, error="", hung=False)


def host(number: int, **changes: object) -> HostFacts:
    """A remote host without fault, with changes."""
    good = HostFacts(
        f"h{number}", is_local=False, code=0, reached=True, finished=True, clock=Clock(0.0, 0.001),
        python=Interpreter("3.11.7", sys.executable), imports=IMPORTS,
        system=replace(
            SYSTEM, hostname=f"h{number}", boot_id=f"b{number}",
            addresses={"eth0": f"10.0.0.{number}"},
        ),
    )  # fmt: skip
    return replace(good, **changes)  # type: ignore[arg-type]  # fields by name


def facts(*hosts: HostFacts, launcher: Dialect | None = None) -> Facts:
    """What was gathered from these hosts, and from one like the first here."""
    here = replace(host(99), name="", is_local=True, places=hosts[0].places if hosts else {})
    dialect = launcher or Dialect(Family.OPEN_MPI_4, "4.1.4")
    return Facts(
        here, hosts, "/usr/bin/ssh", LauncherFacts("/usr/bin/mpirun", dialect), frozenset()
    )


def needs(count: int, **more: object) -> Needs:
    """Needs of a run on this many hosts, two ranks each."""
    hosts = tuple(Host(f"h{number}") for number in range(1, count + 1))
    return Needs(hosts=hosts, ranks=2 * count, **more)  # type: ignore[arg-type]  # fields by name


def find(check: str, wanted: Needs, told: Facts) -> list[Finding]:
    """What one check finds."""
    (one,) = [known for known in CHECKS if known.id == check]
    assert one.applies(wanted)
    return list(one.find(wanted, told))


def test_two_mpis_mixed_up() -> None:
    """A library of another MPI than the launcher's is an error on the hosts that load it."""
    mpich = replace(IMPORTS, library="MPICH Version: 5.0.2")
    told = facts(host(1), host(2, imports=mpich))
    first, second = find("mpi.mixed", needs(2, uses_mpi=True), told)
    assert (first.host, first.severity) == ("h2", Severity.ERROR)
    assert "loads MPICH, but the launcher is Open MPI 4 4.1.4" in first.what
    assert "size 1" in first.why
    assert second.severity is Severity.WARNING
    assert "h1: Open MPI" in second.why


@pytest.mark.parametrize("library", ["MPICH Version: 5.0.2", "Intel(R) MPI Library 2021.18"])
def test_relatives_of_hydra_fit(library: str) -> None:
    """MPICH and Intel MPI start each other's ranks."""
    told = facts(
        host(1, imports=replace(IMPORTS, library=library)), launcher=Dialect(Family.MPICH, "5")
    )
    assert not find("mpi.mixed", needs(1, uses_mpi=True), told)


def test_mpi4py_without_a_library() -> None:
    """Where mpi4py finds no library, its own words and this system's command are shown."""
    broken = replace(IMPORTS, library=None, error="RuntimeError: cannot load MPI library")
    (found,) = find("mpi.library", needs(1, uses_mpi=True), facts(host(1, imports=broken)))
    assert "cannot load" in found.what
    assert found.why == "RuntimeError: cannot load MPI library"
    assert "apt-get install -y openmpi-bin" in found.fix


def test_same_address_on_two_hosts() -> None:
    """An address that two hosts have, such as a container bridge's, is warned of with its flag."""
    one, two = (
        replace(host(n), system=replace(SYSTEM, hostname=f"h{n}", addresses={
            "eth0": f"10.0.0.{n}", "docker0": "172.17.0.1"}))
        for n in (1, 2)
    )  # fmt: skip
    (found,) = find("mpi.addresses", needs(2, uses_mpi=True), facts(one, two))
    assert "h1, h2 have the same address 172.17.0.1 (docker0)" in found.what
    assert "btl_tcp_if_exclude docker0,lo" in found.fix
    told = MpiOptions(params=("--mca", "btl_tcp_if_include", "eth0"))
    assert not find("mpi.addresses", needs(2, uses_mpi=True, mpi=told), facts(one, two))


def test_two_names_of_one_machine() -> None:
    """Names that lead to the same machine are warned of: its memory would count twice."""
    (found,) = find("hosts.distinct", needs(2), facts(host(1), host(2, system=host(1).system)))
    assert "h1 and h2 are the same machine" in found.what


def test_clock_that_is_surely_wrong() -> None:
    """A skew beyond a second is told; one within the measurement's own error is not."""
    told = facts(host(1, clock=Clock(90.0, 0.001)), host(2, clock=Clock(-2.0, 1.5)))
    (found,) = find("clocks", needs(2), told)
    assert found.host == "h1"
    assert "1 min 30 s ahead" in found.what


def test_memory_for_the_ranks_of_a_host() -> None:
    """The ranks of each host are counted against its own free memory."""
    tight = replace(SYSTEM, memory_available_bytes=3 * GIB)
    told = facts(host(1), host(2, system=tight))
    (found,) = find("memory", needs(2, memory_bytes_per_rank=2 * GIB), told)
    assert found.host == "h2"
    assert "2 ranks need 4.00 GiB" in found.what


def test_locked_memory_is_limited_for_users_only() -> None:
    """Root may lock any memory; another user is held to the limit."""
    limits = replace(SYSTEM, locked_bytes=65536, uid=1000)
    told = facts(host(1, system=limits), host(2, system=replace(limits, uid=0)))
    found = find("limits.locked", needs(2, locked_bytes_per_rank=GIB), told)
    assert [f.host for f in found] == ["h1"]


def test_server_that_one_host_cannot_reach() -> None:
    """A server is checked from every host, and only the failing ones are named."""
    point = Endpoint("milvus", "db", 19530)
    told = facts(
        host(1, endpoints={"milvus": EndpointFacts("milvus", "")}),
        host(2, endpoints={"milvus": EndpointFacts("milvus", "no answer")}),
    )
    (found,) = find("endpoints", needs(2, endpoints=(point,)), told)
    assert (found.host, found.what) == ("h2", "cannot reach milvus at db:19530: no answer")


PLACE = PlaceFacts(
    "data", exists=True, is_directory=True, error="", base="/data", device=1, inode=7,
    changed_ns=5, free_bytes=10 * GIB, filesystem="nfs4", write_error="",
)  # fmt: skip


def test_filesystem_that_hangs() -> None:
    """A host that finished without a word about a directory has a filesystem that hangs."""
    wanted = needs(2, places=(Place("data", Path("/data"), "--data-dir"),))
    (found,) = find("places.usable", wanted, facts(host(1, places={"data": PLACE}), host(2)))
    assert found.host == "h2"
    assert "does not answer" in found.what


def test_room_is_for_all_or_for_a_share() -> None:
    """A shared directory holds everything; one of each host holds that host's share."""
    told = facts(host(1, places={"data": PLACE}), host(2, places={"data": PLACE}))
    place = Place("data", Path("/data"), bytes_needed=16 * GIB)
    assert not find("places.room", needs(2, places=(place,)), told)
    found = find("places.room", needs(2, places=(replace(place, shared=True),)), told)
    assert {f.host for f in found} >= {"h1", "h2"}
    assert "16.00 GiB are needed" in found[0].what
    assert "free 6.00 GiB" in found[0].fix


def test_same_filesystem_is_a_warning_or_an_error() -> None:
    """Data and results on one filesystem are an error only where the rules require it."""
    told = facts(host(1, places={"data": PLACE, "results": replace(PLACE, name="results")}))
    places = (Place("data", Path("/data")), Place("results", Path("/data/r"), "--results-dir"))
    wanted = needs(1, places=places, apart=(("data", "results"),))
    (mild,) = find("places.apart", wanted, told)
    (grave,) = find("places.apart", replace(wanted, apart_required=True), told)
    assert (mild.severity, grave.severity) == (Severity.WARNING, Severity.ERROR)


def test_read_only_directory_is_compared_by_itself() -> None:
    """Where no probe file can be made, another inode on a host is a warning."""
    told = facts(host(1, places={"data": PLACE}), host(2, places={"data": replace(PLACE, inode=8)}))
    place = Place("data", Path("/data"), shared=True, write=False)
    (found,) = find("places.shared", needs(2, places=(place,)), told)
    assert (found.host, found.severity) == ("h2", Severity.WARNING)


def test_missing_modules_of_dlio() -> None:
    """Without DLIO the command that installs it is shown, with the lines that it stands for."""
    (found,) = find("engine.dlio", needs(1, engine="dlio"), facts(host(1)))
    assert "dlio_benchmark" in found.what
    assert "ssh h1 'mlpstorage engine install dlio'" in found.fix
    assert "--no-deps --require-hashes -r" in found.fix


def test_many_hosts_with_one_fault_are_one_finding() -> None:
    """Equal findings are merged, and a long list of hosts is cut; errors come first."""
    same = [Finding("x", "no disk", host=f"h{n}") for n in range(20)]
    mild = Finding("y", "old", severity=Severity.WARNING)
    found = merged([mild, *same])
    assert [f.check for f in found] == ["x", "y"]
    assert found[0].host == "h0, h1, h2, h3, h4, h5, h6 and 13 others"


def test_ids_are_unique() -> None:
    """A finding's id names one check."""
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)


def test_plain_needs_are_met() -> None:
    """A run on this host that needs nothing special has no problems."""
    assert problems_for(Needs()) == []


def test_directory_that_is_a_file(tmp_path: Path) -> None:
    """A file in the place of a directory is named, and so is the flag that chooses it."""
    (tmp_path / "file").write_text("x")
    place = Place("results", tmp_path / "file" / "below", "--results-dir", on_hosts=False)
    (found,) = problems_for(Needs(places=(place,)))
    assert found.what == f"{tmp_path / 'file'} is not a directory"
    assert "--results-dir" in found.fix


def test_directory_that_must_exist(tmp_path: Path) -> None:
    """What is only read must be there; the nearest directory that is there is named."""
    place = Place("data", tmp_path / "a" / "b", "--data-dir", write=False, must_exist=True)
    (found,) = problems_for(Needs(places=(place,)))
    assert f"({tmp_path} is the nearest that is there)" in found.what
    assert found.exit_code == 3


def test_filesystem_without_direct_io(tmp_path: Path) -> None:
    """O_DIRECT is tried by a real block, written or read; what refuses is told."""
    sysfs = Place("data", Path("/sys/kernel"), "--data-dir", write=False, direct=True)
    (found,) = [f for f in run_checks(Needs(places=(sysfs,))) if f.check == "places.direct"]
    assert "O_DIRECT does not work" in found.what
    assert "(sysfs)" in found.what
    done = examine(Needs(places=(Place("data", tmp_path, direct=True),)))
    assert done.facts.here.places["data"].direct_error is not None
    assert not list(tmp_path.iterdir())


def test_room_is_measured(tmp_path: Path) -> None:
    """More than any disk holds does not fit, and the missing bytes are said."""
    place = Place("data", tmp_path, "--data-dir", bytes_needed=1 << 60)
    (found,) = problems_for(Needs(places=(place,)))
    assert "1024.0 PiB are needed" in found.what


def test_launcher_that_refuses_root(tmp_path: Path) -> None:
    """Open MPI's refusal of root is known before the launch."""
    if os.geteuid() != 0:
        pytest.skip("it refuses root only")
    launcher = tmp_path / "mpirun"
    launcher.write_text("#!/bin/sh\necho 'mpirun (Open MPI) 4.1.4'\n")
    launcher.chmod(0o755)
    wanted = Needs(uses_mpi=True, mpi=MpiOptions(mpi_bin=str(launcher)))
    found = [f for f in run_checks(wanted) if f.check == "mpi.launcher"]
    assert "--allow-run-as-root" in found[0].fix


def test_too_many_ranks_for_the_slots() -> None:
    """Ranks that do not fit in the slots are listed with the rest, as a usage error."""
    wanted = Needs(hosts=(Host("localhost", 2), Host("127.0.0.1", 2)), ranks=5)
    (found,) = [f for f in run_checks(wanted) if f.check == "mpi.slots"]
    assert found.exit_code == 2
