"""What differs between two records: the work, the settings, the hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mlpstorage.compare.settings import differing
from mlpstorage.kinds.comparing import comparer_of
from mlpstorage.store.codec import Metadata

if TYPE_CHECKING:
    from mlpstorage.compare.settings import Differing

PARAMETERS = {
    "reader": {"batch_size": 4, "read_threads": 2},
    "train": {"epochs": 5},
    "dataset": {"num_files_train": 100, "record_length_bytes": 1000},
}


def host(name: str, **facts: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """The record of a host."""
    return {"hostname": name, "memory": {"total": 1 << 30}, "cpu": {"num_cores": 8}, **facts}


def record(**changes: Any) -> Metadata:  # noqa: ANN401 (any field)
    """A run's metadata."""
    known: dict[str, Any] = {
        "benchmark_type": "training",
        "model": "unet3d",
        "accelerator": "h100",
        "num_processes": 4,
        "parameters": PARAMETERS,
        "args": {"data_dir": "/a", "results_dir": "/r", "json": False, "drop_caches": "auto"},
        "system_info": {"hosts": [host("one")]},
    }
    return Metadata(**{**known, **changes})


def against(**changes: Any) -> Differing:  # noqa: ANN401 (any field)
    """What differs when these fields change."""
    comparer = comparer_of("training")
    assert comparer is not None
    return differing(record(), record(**changes), comparer)


def test_equal_records_do_not_differ() -> None:
    """Two records of the same run have nothing that differs."""
    found = against()
    assert (found.workload, found.configuration, found.hosts) == ((), (), ())


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": "resnet50"}, "model"),
        ({"accelerator": "b200"}, "accelerator"),
        ({"num_processes": 8}, "ranks"),
        ({"parameters": {**PARAMETERS, "train": {"epochs": 2}}}, "train.epochs"),
        ({"parameters": {**PARAMETERS, "train": {}}}, "train.epochs"),
    ],
)
def test_other_work_is_another_workload(changes: dict[str, Any], name: str) -> None:
    """Model, accelerator, ranks and the workload's figures make the work what it is."""
    assert [one.name for one in against(**changes).workload] == [name]


def test_tuning_and_options_are_configuration() -> None:
    """Threads of the client, and where the data lie, may differ; where results go is no matter."""
    parameters = {**PARAMETERS, "reader": {"batch_size": 4, "read_threads": 8}}
    args = {"data_dir": "/b", "results_dir": "/other", "json": True, "drop_caches": "auto"}
    found = against(parameters=parameters, args=args, mlpstorage_version="9")
    assert found.workload == ()
    assert [one.as_dict() for one in found.configuration] == [
        {"name": "reader.read_threads", "baseline": "2", "candidate": "8"},
        {"name": "--data-dir", "baseline": "/a", "candidate": "/b"},
        {"name": "mlpstorage", "baseline": "–", "candidate": "9"},
    ]


def test_what_comes_to_the_same_does_not_differ() -> None:
    """A division asked for by default or by a flag, and a place by two names, are the same."""
    args = {"results_dir": "/r", "json": False, "drop_caches": "auto"}
    plain = record(args={**args, "data_dir": "/a/b", "open": False}, division="OPEN")
    asked = record(
        args={**args, "data_dir": "b", "open": True, "allow_invalid_params": True},
        division="OPEN",
        working_directory="/a",
    )
    comparer = comparer_of("training")
    assert comparer is not None
    assert differing(plain, asked, comparer).configuration == ()
    closed = record(args={**args, "data_dir": "/a/b", "closed": True}, division="CLOSED")
    (one,) = differing(plain, closed, comparer).configuration
    assert (one.name, one.before, one.after) == ("division", "OPEN", "CLOSED")


def test_hosts_are_told_apart_by_what_they_are() -> None:
    """Their number, names, memory and cores; strange records of others do no harm."""
    more = {"hosts": [host("one"), host("two", memory={"total": 2 << 30})]}
    found = {one.name: one.after for one in against(system_info=more).hosts}
    assert found == {"hosts": "2", "names": "one, two", "memory": "1.00 GiB, 2.00 GiB"}
    hostile = {"hosts": [{"hostname": "a\x1b[2Jb", "cpu": 7, "memory": None}, "no host"]}
    shown = {one.name: one.after for one in against(system_info=hostile).hosts}
    assert shown["names"] == "a\\x1b[2Jb"
