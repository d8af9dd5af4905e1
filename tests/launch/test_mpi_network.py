from __future__ import annotations

import pytest

from mlpstorage.core.cluster import parse_hosts
from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.launch.dialects import Dialect, Family, MpiOptions, command_line
from mlpstorage.launch.network import NETWORK, addresses, checked_network, is_on, use_network

CIDR = "10.0.0.0/24"
TCP = ["--mca", "btl_tcp_if_include", CIDR]


def words(family: Family, *, on_network: bool) -> list[str]:
    """The command line of two ranks."""
    return command_line(
        Dialect(family, "1"),
        "m",
        size=2,
        hosts=parse_hosts(["h1,h2"]),
        options=MpiOptions(network=CIDR),
        program=["p"],
        on_network=on_network,
    )


@pytest.mark.parametrize(
    ("family", "own"),
    [
        (Family.OPEN_MPI_4, ["--mca", "oob_tcp_if_include", CIDR]),
        (Family.OPEN_MPI_5, ["--prtemca", "prte_if_include", CIDR]),
    ],
)
def test_open_mpi_gets_the_network(family: Family, own: list[str]) -> None:
    """Ranks get the network; the launcher too, but only where it has a way into it."""
    assert " ".join([*TCP, *own]) in " ".join(words(family, on_network=True))
    outside = words(family, on_network=False)
    assert " ".join(TCP) in " ".join(outside)
    assert own[1] not in outside


def test_mpich_gets_no_interface_of_this_host() -> None:
    """-iface would name an interface that other hosts may not have, so MPICH gets nothing."""
    assert CIDR not in words(Family.MPICH, on_network=True)


@pytest.mark.parametrize("text", ["eth0", "10.0.0.0/33", "fd00::/8", "10.0.0", "-x"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """Interface names, IPv6 and nonsense are refused, and the fix shows the form."""
    with pytest.raises(UsageError, match="--mpi-network") as caught:
        checked_network(text)
    assert "10.0.0.0/24" in caught.value.fix


def test_own_addresses() -> None:
    """The loopback address is among this host's, by the interface's name."""
    assert addresses()["127.0.0.1"] == "lo"
    assert is_on("127.0.0.0/8")
    assert not is_on("240.0.0.0/24")


def test_a_rank_names_its_own_interface_to_mpich() -> None:
    """What lies below MPICH gets the interface that is in the network on this very host."""
    environ = {NETWORK: "127.0.0.0/8", "UCX_NET_DEVICES": "mlx5_0:1"}
    use_network(environ)
    assert environ["FI_TCP_IFACE"] == "lo"
    assert environ["UCX_NET_DEVICES"] == "mlx5_0:1"


def test_open_mpi_is_left_alone_by_ranks() -> None:
    """Under Open MPI, which knows the network, a rank changes nothing."""
    environ = {NETWORK: "127.0.0.0/8", "OMPI_COMM_WORLD_RANK": "0"}
    use_network(environ)
    assert set(environ) == {NETWORK, "OMPI_COMM_WORLD_RANK"}


def test_a_host_outside_the_network_says_so() -> None:
    """A rank on a host without an address in the network names host, network and addresses."""
    with pytest.raises(ConfigurationError, match=r"has no address in 240\.0\.0\.0/24") as caught:
        use_network({NETWORK: "240.0.0.0/24"})
    assert "127.0.0.1 (lo)" in caught.value.why


def test_without_a_network_nothing_happens() -> None:
    """A rank that was told no network looks at nothing."""
    environ: dict[str, str] = {}
    use_network(environ)
    assert environ == {}
