from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mlpstorage.core.errors import AccessError, BenchmarkError
from mlpstorage.core.events import RankFailed
from mlpstorage.launch.fake import FakeLauncher

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recorder
    from mlpstorage.launch import RankJob

    Job = Callable[..., RankJob]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.mark.parametrize("size", [1, 4])
def test_results_come_ordered_by_rank(job: Job, recorder: Recorder, size: int) -> None:
    """Threads gather and meet like processes, and their results come in the order of ranks."""
    results = FakeLauncher().run(job("who", size, word="hi"), recorder)
    assert [result.rank for result in results] == list(range(size))
    expected = [{"rank": rank, "word": "hi"} for rank in range(size)]
    assert results[0].data["gathered"] == expected


def test_failure_frees_the_others(job: Job, recorder: Recorder) -> None:
    """A rank that raises frees those that wait for it, and its error keeps its class."""
    with pytest.raises(AccessError, match=r"rank 1 on host .*: cannot write here"):
        FakeLauncher().run(job("failing", 3, who=1, known=True), recorder)
    assert [event.rank for event in recorder.of(RankFailed)] == [1]


def test_result_that_is_no_json(job: Job, recorder: Recorder) -> None:
    """What JSON cannot say fails here as it would between processes."""
    with pytest.raises(BenchmarkError, match=r"rank 1 on host .*: TypeError"):
        FakeLauncher().run(job("not_json", 2), recorder)
