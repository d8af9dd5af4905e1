from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mlpstorage.core.errors import ConfigurationError, UsageError
from mlpstorage.kinds.kvcache.options import RunOptions
from mlpstorage.kinds.kvcache.planner import Planner
from mlpstorage.kinds.kvcache.setup import setup_of
from mlpstorage.kinds.kvcache.synthetic import Population
from mlpstorage.kinds.kvcache.workload import workload_of

if TYPE_CHECKING:
    from mlpstorage.kinds.kvcache.compiled import CompiledPlan
    from mlpstorage.kinds.kvcache.setup import Setup

FREE = 1 << 40


def setup(**options: object) -> Setup:
    """A setup of small blocks, with other options where given."""
    values = {"model": "deepseek-v3", "block_tokens": 64, "capacity": "4GiB", **options}
    return setup_of(RunOptions(**values), FREE)


def population(workload: str = "standard", **more: bool) -> Population:
    """The users of a packaged workload."""
    return Population(workload_of(workload), 42, 256, **more)


def test_a_session_follows_from_seed_and_number_alone() -> None:
    """Whoever asks, and in whatever order, the session of a number is the same."""
    first, second = population(), population()
    forwards = [first.session(number) for number in range(20)]
    backwards = [second.session(number) for number in reversed(range(20))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert one.input_tokens.tolist() == other.input_tokens.tolist()
        assert one.block.tolist() == other.block.tolist()


def test_a_session_grows() -> None:
    """Each prompt is the one before, what was generated, and what is new; blocks never change."""
    session = next(s for s in map(population().session, range(99)) if s.turns > 3)
    grown = session.input_tokens[1:] - session.input_tokens[:-1] - session.output_tokens[:-1]
    assert grown.tolist() == session.new_tokens[1:].tolist()
    assert len(set(session.block.tolist())) == len(session.block)


def test_sessions_share_prefixes_only_where_asked() -> None:
    """System prompts are the first blocks of many sessions; without sharing, of none."""
    together = [population().session(number).block[:1].tolist() for number in range(60)]
    apart = [
        population(shared_prefixes=False).session(number).block[:1].tolist() for number in range(60)
    ]
    filled = [first for first in together if first]
    assert len({first[0] for first in filled}) < len(filled)
    filled = [first for first in apart if first]
    assert len({first[0] for first in filled}) == len(filled)


def test_single_turn_sessions() -> None:
    """Without further turns every session has exactly one."""
    plain = population(multi_turn=False)
    assert {plain.session(number).turns for number in range(200)} == {1}


def test_the_standard_chat_is_as_long_as_the_real_one() -> None:
    """Prompts of chats have the median and tail of an hour of a real service, to a quarter."""
    people = population()
    chat = people.kinds.index("chat")
    sessions = [people.session(number) for number in range(4000)]
    tokens = np.concatenate([s.input_tokens for s in sessions if s.kind == chat])
    p50, p95, p99 = np.quantile(tokens, [0.5, 0.95, 0.99])
    assert p50 == pytest.approx(6909, rel=0.25)
    assert p95 == pytest.approx(39_551, rel=0.25)
    assert p99 == pytest.approx(85_400, rel=0.25)


def test_the_cache_is_exactly_full_at_the_start() -> None:
    """Resident blocks are as many as the storage tier holds, each once."""
    planner = Planner(setup())
    blocks = planner.residents.block.tolist()
    assert len(blocks) == len(set(blocks)) == planner.capacity.storage
    assert planner.residents.returning > 5


def test_returning_users_find_their_prefix() -> None:
    """The first request of a user that goes on hits all full blocks of the turns before."""
    planner = Planner(setup())
    plan = planner.serve(4, 3)
    _, first = np.unique(plan.stream.session, return_index=True)
    found = plan.hit_blocks[first, 2]
    expected = [len(planner.residents.runs[lane]) for lane in plan.stream.session[first]]
    assert found.tolist() == expected


def arrays(plan: CompiledPlan) -> list[object]:
    """What a plan does and when, to be compared."""
    return [plan.op.tolist(), plan.block.tolist(), plan.stream.arrival_ns.tolist()]


def test_a_longer_plan_begins_like_a_shorter_one() -> None:
    """What users ask does not depend on how long is measured."""
    planner = Planner(setup())
    short, long = planner.serve(4, 5), planner.serve(4, 20)
    count = len(short.op)
    assert 0 < count < len(long.op)
    assert short.block.tolist() == long.block[:count].tolist()


def test_any_rank_compiles_the_same_plan() -> None:
    """Each of four ranks knows everybody's operations, and the hash is that of one rank alone."""
    alone = Planner(setup())
    expected = alone.digest(alone.serve(8, 10))
    for rank in range(4):
        planner = Planner(setup(), rank, 4)
        assert planner.digest(planner.serve(8, 10)) == expected


def test_another_seed_is_another_plan() -> None:
    """Seeds decide about everything that is drawn."""
    one, other = Planner(setup()), Planner(setup(seed=43))
    assert arrays(one.serve(4, 10)) != arrays(other.serve(4, 10))


def test_private_caches_share_nothing() -> None:
    """Ranks with caches of their own have other users, other blocks, and share the number."""
    ranks = [Planner(setup(key_space="private"), rank, 2) for rank in range(2)]
    first, second = (set(planner.residents.block.tolist()) for planner in ranks)
    assert not first & second
    assert [planner.own_users(5) for planner in ranks] == [3, 2]
    asked = [planner.serve(6, 10).stream.input_tokens.tolist() for planner in ranks]
    assert asked[0] != asked[1]


def test_classes_can_be_chosen() -> None:
    """Only the classes that are named have users, in the given proportion."""
    people = Population(workload_of("small", ["chat=3", "agent"]), 1, 64)
    kinds = [people.kinds[people.session(number).kind] for number in range(2000)]
    assert set(kinds) == {"chat", "agent"}
    assert kinds.count("chat") == pytest.approx(1500, abs=80)
    with pytest.raises(UsageError, match="unknown class"):
        workload_of("small", ["chats"])


def test_a_workload_file_is_checked(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A 95th percentile below the median is refused with the line it stands on."""
    from importlib import resources

    text = (resources.files("mlpstorage.kinds.kvcache") / "workloads/small.yaml").read_text("utf-8")
    file = tmp_path_factory.mktemp("own") / "own.yaml"
    file.write_text(text.replace("{p50: 400, p95: 2000}", "{p50: 400, p95: 20}"))
    with pytest.raises(ConfigurationError, match=r"own.yaml:\d+: classes.chat.first.p95"):
        workload_of("", (), file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "replay"}, "no trace"),
        ({"mode": "serves"}, "unknown"),
        ({"trace": "t", "mode": "serve"}, "replays no trace"),
        ({"block_tokens": -1}, "--block-tokens"),
        ({"capacity": "1KiB"}, "holds no block"),
        ({"capacity": "much"}, "--capacity"),
        ({"cpu_mem_gb": "-1"}, "--cpu-mem-gb"),
        ({"generation_mode": "slow"}, "--generation-mode"),
        ({"write_policy": "back"}, "--write-policy"),
        ({"duration": "0"}, "--duration"),
        ({"seed": -1}, "--seed"),
        ({"profile": "K1"}, "--profile K1 is llama3.1-8b"),
        ({"mode": "mlperf-v3"}, "is llama3.1-8b"),
        ({"mode": "mlperf-v3", "option": 4}, "--option 4"),
        ({"trace": "t", "speed": float("nan")}, "--speed"),
        ({"enable_rag": True, "rag_num_docs": 0}, "--rag-num-docs"),
    ],
)
def test_options_that_cannot_be(options: dict[str, object], message: str) -> None:
    """Every malformed or contradictory option is refused by name."""
    with pytest.raises(UsageError, match=message):
        setup(**options)


def test_the_published_options_have_their_figures() -> None:
    """mlperf-v3 brings the option's model, users, memory and time."""
    chosen = setup_of(RunOptions(mode="mlperf-v3", option=2, capacity="100GiB"), FREE)
    assert (chosen.model.model, chosen.users, chosen.cpu_bytes) == ("llama3.1-8b", 100, 4 << 30)
    assert chosen.duration_seconds == 300


def test_the_published_requests_are_those_of_the_published_generator() -> None:
    """Every user counted alike: prompts of 5.6k tokens, 18 % never decoded, 4.9 read per written.

    Source: the generator's own figures, simulated: 5,633 tokens, 17.6 %, 4.9.
    """
    plan = Planner(
        setup_of(RunOptions(mode="mlperf-v3", num_users=600, capacity="100TiB"), FREE)
    ).v3(20)
    stream = plan.stream
    asks, user = stream.output_tokens > 0, stream.session
    weight = 1 / np.bincount(user[asks], minlength=600)[user]
    tokens, decodes = stream.input_tokens, ~asks
    blocks = -(-tokens // 64)
    assert np.average(tokens[asks], weights=weight[asks]) == pytest.approx(5633, rel=0.05)
    long = np.average(tokens[asks] >= 10_000, weights=weight[asks])
    assert long == pytest.approx(0.176, abs=0.02)
    read = (plan.hit_blocks[decodes, 2] * weight[decodes]).sum()
    assert read / (blocks[asks] * weight[asks]).sum() == pytest.approx(4.9, rel=0.05)
