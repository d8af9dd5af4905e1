from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mlpstorage.engine.comm import SoloComm
from mlpstorage.engine.dlio.session import output_folder

if TYPE_CHECKING:
    from pathlib import Path


class _ElsewhereComm(SoloComm):
    """A rank on a host that does not see the launcher's directory."""

    rank = 1


def test_dlio_writes_into_the_run_where_the_host_sees_it(tmp_path: Path) -> None:
    """The configuration is written there, and both stay."""
    with output_folder(tmp_path, {"model": "m"}, SoloComm()) as folder:
        assert folder == tmp_path / "dlio"
    written = folder / "config" / "workload" / "mlpstorage.yaml"
    assert json.loads(written.read_text()) == {"model": "m"}


def test_dlio_writes_elsewhere_on_other_hosts(tmp_path: Path) -> None:
    """A rank that does not see the run has a directory of its own, which is gone afterwards."""
    with output_folder(tmp_path / "unseen", {"model": "m"}, _ElsewhereComm()) as folder:
        assert (folder / "config" / "workload" / "mlpstorage.yaml").exists()
        assert not folder.is_relative_to(tmp_path)
    assert not folder.exists()
