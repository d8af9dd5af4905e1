from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpstorage.core.errors import ConfigurationError, NotFoundError, UsageError
from mlpstorage.kinds.kvcache.compiled import compile_plan
from mlpstorage.kinds.kvcache.plan_figures import reuse_figures
from mlpstorage.kinds.kvcache.tiers import Capacity, WritePolicy
from mlpstorage.kinds.kvcache.trace import read_trace, trace_stream

REAL = Path(__file__).parents[4] / "shared/data/kv-traces/conversation_trace.jsonl"
needs_trace = pytest.mark.skipif(
    not REAL.exists(), reason="Mooncake's conversation trace is not beside this checkout"
)


def line(at: float, tokens: int, ids: list[int], **more: Any) -> str:  # noqa: ANN401 (JSON)
    """A line of a trace."""
    return json.dumps(
        {"timestamp": at, "input_length": tokens, "output_length": 5, "hash_ids": ids, **more}
    )


def write(tmp_path: Path, *lines: str) -> Path:
    """A trace of these lines."""
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_requests_are_read_in_order(tmp_path: Path) -> None:
    """Every line is a request; fields that other tools add do not disturb; blank lines neither."""
    path = write(tmp_path, line(0, 600, [1, 2], chat_id=7), "", line(3000, 512, [1]))
    first, second = read_trace(path)
    assert (first.input_length, first.hash_ids, second.timestamp) == (600, [1, 2], 3000)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{not json", "malformed"),
        ('{"timestamp": 0}', "input_length"),
        (line(0, 600, [1]), "1 hash_ids for 600 tokens"),
        (line(0, 0, []), "input_length"),
        (line(-1, 5, [1]), "timestamp"),
        (line(0, 5, [-1]), "hash_ids"),
        ("[]", "object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, bad: str, message: str) -> None:
    """A line that is no request is refused with file and line number."""
    path = write(tmp_path, line(0, 512, [1]), bad)
    with pytest.raises(ConfigurationError, match=message) as caught:
        list(read_trace(path))
    assert f"{path}:2" in caught.value.what


def test_a_trace_that_goes_back_in_time_is_refused(tmp_path: Path) -> None:
    """Requests stand in the order of their arrival."""
    path = write(tmp_path, line(10, 512, [1]), line(9, 512, [1]))
    with pytest.raises(ConfigurationError, match=r":2: timestamp 9"):
        list(read_trace(path))


def test_missing_and_empty_traces(tmp_path: Path) -> None:
    """No file and no request are two errors."""
    with pytest.raises(NotFoundError):
        list(read_trace(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="no request"):
        list(read_trace(write(tmp_path, "")))


def test_a_limit_leaves_the_rest_unread(tmp_path: Path) -> None:
    """What stands behind the limit is not even looked at."""
    path = write(tmp_path, line(0, 512, [1]), line(0, 512, [2]), "garbage")
    assert len(list(read_trace(path, limit=2))) == 2


def test_blocks_are_split(tmp_path: Path) -> None:
    """A block of 512 tokens becomes four of 128; the last one keeps what is left of the prompt."""
    path = write(tmp_path, line(0, 512 + 130, [1, 2]), line(0, 512 + 10, [1, 2]))
    stream = trace_stream(path, block_tokens=128)
    assert np.diff(stream.first_block).tolist() == [6, 5]
    blocks = stream.block.tolist()
    assert blocks[:5] == blocks[6:]
    assert len(set(blocks)) == 6


def test_blocks_cannot_be_joined(tmp_path: Path) -> None:
    """What two blocks have in common only in parts is not in the trace."""
    path = write(tmp_path, line(0, 512, [1]))
    with pytest.raises(UsageError, match="does not divide 512"):
        trace_stream(path, block_tokens=1024)


def test_speed_shortens_the_time(tmp_path: Path) -> None:
    """At twice the speed, requests are due in half the time from the first one."""
    path = write(tmp_path, line(1000, 512, [1]), line(4000, 512, [2]))
    assert trace_stream(path, block_tokens=512, speed=2).arrival_ns.tolist() == [0, 1_500_000_000]
    with pytest.raises(UsageError):
        trace_stream(path, block_tokens=512, speed=0)


def test_conversations_are_sessions(tmp_path: Path) -> None:
    """Requests whose first two blocks are equal belong together; one common block is not enough."""
    path = write(tmp_path, line(0, 1024, [0, 1]), line(0, 1024, [0, 2]), line(0, 1500, [0, 1, 3]))
    assert trace_stream(path, block_tokens=512).session.tolist() == [0, 1, 0]


@needs_trace
def test_the_conversation_trace_has_its_published_figures() -> None:
    """An infinite cache hits 36.6 % of its blocks, and they come back at the known distances."""
    figures = reuse_figures(trace_stream(REAL, block_tokens=512))
    assert (figures.references, figures.unique) == (288_500, 182_790)
    assert figures.infinite_hit == pytest.approx(0.366, abs=0.001)
    assert figures.distances == pytest.approx((4292, 8357, 17849, 31588), rel=0.001)


@needs_trace
@pytest.mark.parametrize(
    ("blocks", "percent"), [(1000, 4.5), (10_000, 21.1), (30_000, 32.6), (50_000, 35.5)]
)
def test_the_conversation_trace_hits_as_published(blocks: int, percent: float) -> None:
    """A least-recently-used cache of some blocks hits what others have measured."""
    stream = trace_stream(REAL, block_tokens=512)
    plan = compile_plan(stream, Capacity(0, 0, blocks), WritePolicy.INCLUSIVE, block_bytes=4096)
    assert 100 * plan.hit_blocks.sum() / len(stream.block) == pytest.approx(percent, abs=0.06)
