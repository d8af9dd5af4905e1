"""What a folder of vectors holds: the recipe or the source, checksums, and the hashes of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from mlpstorage.core.errors import AccessError, ConfigurationError, NotFoundError
from mlpstorage.engine.dataset import write_whole
from mlpstorage.engine.vectors.blocks import BlockFile
from mlpstorage.engine.vectors.recipe import Recipe, clusters_for
from mlpstorage.engine.vectors.structure import Structure  # noqa: TC001 (msgspec needs it)
from mlpstorage.engine.vectors.truth import Truth, combined_hash

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST_NAME = "mlpstorage-vectors.json"
BASE_NAME = "base.fbin"
QUERIES_NAME = "queries.fbin"


class VectorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked for: one spec gives one data set.

    `source` and `source_queries` are files of real vectors, then `distribution` is empty; of these
    `queries` is how many are held out where the files bring none.
    """

    vectors: int
    dimension: int
    metric: str
    distribution: str
    seed: int
    queries: int
    truth_queries: int
    neighbours: int
    source: str = ""
    source_queries: str = ""
    generator_version: int = 1

    @property
    def recipe(self) -> Recipe:
        """The generator of synthetic vectors."""
        return Recipe(
            self.distribution,
            self.dimension,
            seed=self.seed,
            clusters=clusters_for(self.vectors) if self.distribution == "clustered" else 0,
            normalised=self.metric == "cosine" or self.distribution == "clustered",
        )

    def base(self, folder: Path) -> BlockFile:
        """The file of the base vectors."""
        return BlockFile(folder / BASE_NAME, self.vectors, self.dimension)

    def pool(self, folder: Path) -> BlockFile:
        """The file of the queries."""
        return BlockFile(folder / QUERIES_NAME, self.queries, self.dimension)

    @property
    def total_bytes(self) -> int:
        """Bytes of all files that the spec makes."""
        vectors = (self.vectors + self.queries) * self.dimension * 4
        return vectors + self.truth_queries * self.neighbours * 8

    @property
    def raw_bytes(self) -> int:
        """Bytes of the base vectors alone."""
        return self.vectors * self.dimension * 4


class VectorManifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A finished data set: what it is, the checksum of every block, and what they add up to."""

    spec: VectorSpec
    created: str
    base_checksums: list[int]
    query_checksums: list[int]
    dataset_hash: str
    query_hash: str
    structure: Structure
    numpy: str

    @classmethod
    def of(
        cls,
        spec: VectorSpec,
        checksums: tuple[list[int], list[int]],
        *,
        created: str,
        structure: Structure,
        numpy: str,
    ) -> VectorManifest:
        """The manifest of a data set whose base and queries have these checksums."""
        base, queries = checksums
        return cls(
            spec=spec,
            created=created,
            base_checksums=base,
            query_checksums=queries,
            dataset_hash=dataset_hash(spec, base),
            query_hash=query_hash(spec, queries),
            structure=structure,
            numpy=numpy,
        )

    def save(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=2)
        write_whole(folder / MANIFEST_NAME, text + b"\n")

    @classmethod
    def load(cls, folder: Path) -> VectorManifest:
        """The manifest of a finished data set.

        Raises:
            NotFoundError: the folder has none.
            AccessError: it may not be read.
            ConfigurationError: it is damaged, or its hashes are not of what it lists.
        """
        path = folder / MANIFEST_NAME
        try:
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFoundError(
                f"{folder} holds no finished data set of vectors: it has no {MANIFEST_NAME}",
                fix="generate it: mlpstorage vectordb datagen with the same arguments",
            ) from error
        except msgspec.MsgspecError as error:
            raise _damaged(path, str(error)) from error
        except OSError as error:
            raise AccessError(f"cannot read {path}: {error.strerror}") from error
        whole = (
            dataset_hash(found.spec, found.base_checksums) == found.dataset_hash
            and query_hash(found.spec, found.query_checksums) == found.query_hash
        )
        if not whole:
            raise _damaged(path, "its hashes are not those of the blocks it lists")
        return found

    def truth(self, folder: Path) -> Truth:
        """The true neighbours of this very data set; see `Truth.load` for what it raises."""
        return Truth.load(
            folder,
            dataset_hash=self.dataset_hash,
            query_hash=self.query_hash,
            metric=self.spec.metric,
        )


def dataset_hash(spec: VectorSpec, checksums: list[int]) -> str:
    """What names the base vectors: their number, dimension and content, wherever they came from."""
    return combined_hash(["base", spec.vectors, spec.dimension, checksums])


def query_hash(spec: VectorSpec, checksums: list[int]) -> str:
    """What names the queries."""
    return combined_hash(["queries", spec.queries, spec.dimension, checksums])


def _damaged(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a usable description of vectors",
        why=why,
        fix="generate the data set again: mlpstorage vectordb datagen --force",
    )
