"""What picture formats have in common: a file is one picture, one sample, as large as drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlpstorage.core.errors import ConfigurationError
from mlpstorage.engine.formats import Layout, SelfContained

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Picture(SelfContained):
    """The sizes of one picture per file; a drawn size below `least_bytes` is taken as that."""

    name: str
    extension: str
    least_bytes: int

    def payload_bytes(self, record_bytes: int) -> int:
        """The whole file is what a loader loads, and it is as large as drawn."""
        return max(record_bytes, self.least_bytes)

    def file_bytes(self, record_bytes: NDArray[np.int64], samples: int) -> NDArray[np.int64]:
        """The drawn sizes.

        Raises:
            ConfigurationError: there is more than one sample.
        """
        self._require_one(samples)
        return np.maximum(record_bytes, self.least_bytes)

    def layout(self, record_bytes: int, samples: int) -> Layout:
        """The sample is complete with the file's last byte.

        Raises:
            ConfigurationError: there is more than one sample.
        """
        self._require_one(samples)
        size = self.payload_bytes(record_bytes)
        return Layout(size, 0, size, 1)

    def _require_one(self, samples: int) -> None:
        if samples != 1:
            raise ConfigurationError(
                f"a {self.name} file cannot hold {samples} samples",
                why=f"a {self.name} file is one picture, and one picture is one sample",
                fix="set dataset.num_samples_per_file to 1, or use another dataset.format",
            )
