"""What DLIO cannot do with a workload, and what it does otherwise than it seems to.

Measured with the release of 2024 (2.0.0 of the package index); what later trees have in common with
it by their source is said of them too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mlpstorage.core.cluster import spread
from mlpstorage.core.errors import UsageError
from mlpstorage.core.problems import Problem
from mlpstorage.engine.dlio.tree import Capabilities
from mlpstorage.engine.dlio.trial import try_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlpstorage.core.cluster import Host
    from mlpstorage.engine.dlio.tree import Tree
    from mlpstorage.kinds.training.workload import Workload

_RECORDS = "tfrecord"
_WHOLE_FILE_FORMATS = frozenset({"npz", "npy", "csv"})


def used_files(files: int, samples_per_file: int, batch: int, ranks: int) -> int:
    """How many of the files DLIO is given, so that every rank has the same whole steps.

    Samples that do not divide by the ranks end DLIO 2.0.0 with an error or a hang. Where whole
    steps of all ranks need no loss of a step, that many files; else what divides by the ranks.

    >>> used_files(168, 1, 7, 4), used_files(16, 1, 4, 3), used_files(1024, 1251, 400, 8)
    (168, 12, 1024)
    """
    whole_steps = batch * ranks
    for divisor in (whole_steps, ranks):
        unit = divisor // math.gcd(samples_per_file, divisor)
        kept = files // unit * unit
        if kept * samples_per_file // whole_steps == files * samples_per_file // whole_steps:
            return kept
    return kept


def modules_for(workload: Workload, *, generates: bool = False) -> tuple[str, ...]:
    """What DLIO imports for this workload beside what it always does."""
    found = []
    records = workload.dataset.format == _RECORDS
    if records if generates else workload.reader.data_loader == "tensorflow":
        found.append("tensorflow")
    if workload.dataset.format == "parquet":
        found.append("pyarrow")
    return tuple(found)


def workload_problems(workload: Workload, tree: Tree | None) -> Iterator[Problem]:
    """What DLIO refuses of a workload, or would ignore in silence."""
    dataset, reader = workload.dataset, workload.reader
    if dataset.format == _RECORDS and reader.data_loader == "pytorch":
        yield Problem(
            "DLIO reads no TFRecord files with PyTorch's loader",
            why="all its versions refuse that",
            fix="add --params reader.data_loader=tensorflow (needs tensorflow), "
            "or use --engine native",
        )
    if reader.odirect and tree is not None and not tree.capabilities.direct:
        yield Problem(
            f"{tree} ignores reader.odirect",
            why="its reads would go through the page cache all the same",
            fix="set reader.odirect=false, name a later tree with --dlio-path, "
            "or use --engine native",
        )


def placement_problems(hosts: Sequence[Host], ranks: int) -> Iterator[Problem]:
    """DLIO counts hosts by dividing, so every host must have as many ranks."""
    if len(hosts) < 2:  # noqa: PLR2004 - one host divides always
        return
    try:
        counts = [count for count in spread(ranks, hosts) if count]
    except UsageError:  # the launcher says so
        return
    if len(set(counts)) > 1:
        shares = ", ".join(
            f"{host.name}: {count}" for host, count in zip(hosts, counts, strict=False)
        )
        yield Problem(
            f"DLIO needs as many ranks on every host; here that is {shares}",
            why="it gathers one figure per host, and hangs where hosts differ",
            fix=f"choose ranks that divide by {len(hosts)} hosts, or use --engine native",
        )


def tree_problems(tree: Tree | None, samples_per_file: int) -> Iterator[Problem]:
    """What a trial shows to be wrong with a tree that is not the release of 2024."""
    if tree is None or tree.capabilities == Capabilities():
        return
    verdict = try_tree(tree.root, samples_per_file)
    if verdict.why:
        tail = "\n".join(verdict.log.strip().splitlines()[-5:])
        yield Problem(
            f"{tree} in {tree.root} is not usable: {verdict.why}",
            why=tail or "its figures would be wrong",
            fix="leave --dlio-path out (mlpstorage engine install dlio), or name another tree",
        )


def findings(workload: Workload, tree: Tree) -> list[str]:
    """What a reader of this result must know of this DLIO with this workload."""
    dataset, reader = workload.dataset, workload.reader
    found = []
    if reader.data_loader == "pytorch":
        if reader.file_shuffle != "off":
            found.append(
                "file_shuffle has no effect with PyTorch's loader: every rank reads the same files "
                "in every epoch"
                + (
                    "; sample_shuffle shuffles within them"
                    if reader.sample_shuffle != "off"
                    else ", in the order of their names"
                )
            )
        if dataset.num_samples_per_file > 1 and dataset.format in _WHOLE_FILE_FORMATS:
            found.append(
                f"a {dataset.format} file of {dataset.num_samples_per_file} samples is read whole "
                "for each of them"
            )
        if dataset.format == "npy":
            found.append("of an npy file the first 4 KiB are read twice: numpy's header, then data")
        if dataset.num_samples_per_file > 1 and dataset.format == "hdf5":
            found.append("an hdf5 file is opened, and its structures read, for each of its samples")
        if dataset.format == "parquet" and reader.sample_shuffle != "off":
            found.append("with sample_shuffle a row group is read anew for about every sample")
        elif dataset.format == "parquet":
            found.append(
                "a row group whose samples are in batches of several loader processes is read by "
                "each of them"
            )
    else:
        found.append(
            "TensorFlow's loader reads ahead of what an epoch needs: by about a third of the bytes "
            "with files of 1,024 records, by more with smaller ones"
        )
    if reader.decode == "none":
        found.append("every sample is decoded, whatever reader.decode says")
    if not tree.capabilities.metric_window:
        found.append(
            "its AU is of the nominal compute time; its throughput counts all steps, and its MB/s "
            "are MiB of the mean sample size"
        )
    return found


def generator_findings(workload: Workload) -> list[str]:
    """What a reader of data that DLIO generates must know."""
    seeds = (
        "every process begins with the same random seed: the first samples of the files of "
        "different processes can be identical, which storage that deduplicates would profit of"
    )
    found = [] if workload.dataset.format == "parquet" else [seeds]
    if workload.dataset.format in {"jpeg", "png"}:
        found.append("pictures are noise: a file is not of the size of its sample")
    return found
