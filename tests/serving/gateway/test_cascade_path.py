from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.models.selection import keep_best
from greenflow_ray.serving.allocator.begun import finished
from greenflow_ray.serving.gateway.cascade_path import Answers, Busy, CascadePath, PathSettings, shares
from greenflow_ray.serving.stages.core import StageCore
from greenflow_ray.serving.wire import (
    Allocation,
    AllocationBatch,
    Reason,
    StageBatch,
    StageReply,
    StageRows,
    Usage,
)
from tests.serving.fakes import WholeCorpus
from tests.worlds import TableScorer, make_world

WORLD = make_world()
CATALOG = WORLD.dataset.catalog
FEATURES = TableFeatures(WORLD.dataset.users)
POPULAR = CATALOG.by_popularity()

Call = Callable[[StageBatch], Awaitable[StageReply]]


def stage(scorer: TableScorer) -> Call:
    core = StageCore(scorer, CATALOG, FEATURES)

    async def score(batch: StageBatch) -> StageReply:
        rows = core(batch)
        return StageReply(rows.items, rows.scores, 0.001, Usage("d", "r", 1.0))

    return score


def failing(inner: Call, times: int, error: type[Exception] = RuntimeError) -> Call:
    left = [times]

    async def score(batch: StageBatch) -> StageReply:
        if left[0]:
            left[0] -= 1
            raise error
        return await inner(batch)

    return score


async def hang(_: Any) -> Any:
    await asyncio.sleep(3600)


def space(stages: int) -> ChainSpace:
    """A chain space of 2 to 6 stages over the tiny world's models."""
    middle = [Stage(f"middle-{i}", (ModelCost(f"m{i}", 100, 10),), (40 - 5 * i,)) for i in range(stages - 2)]
    last = Stage("ranking", (ModelCost("din", 1000, 10), ModelCost("dien", 1200, 10)), (5, 10))
    return ChainSpace((Stage("recall", (ModelCost("dssm", 10, 10),), (30, 60)), *middle, last))


def scorers(of: ChainSpace) -> dict[str, TableScorer]:
    found = {m.name: WORLD.pool.get(m.name, WORLD.pool["ydnn"]) for s in of.stages for m in s.pool}
    return {**found, "dssm": WholeCorpus("dssm")}


def allocation(chains: npt.NDArray[np.int32]) -> Callable[[AllocationBatch], Awaitable[Allocation]]:
    async def allocate(batch: AllocationBatch) -> Allocation:
        size = len(batch.user_ids)
        return Allocation(chains[:size], np.full(size, 0.5), 2, np.zeros(size, np.int16), None, 0.001)

    return allocate


def run(
    of: ChainSpace,
    users: npt.NDArray[np.int64],
    chains: npt.NDArray[np.int32],
    k: int = 5,
    calls: dict[str, Call] | None = None,
    allocate: Any = None,
    deadline_s: float = 30.0,
    allocator_deadline_s: float = 5.0,
    batch_flops: float = float("inf"),
    late: Callable[[int, int], None] | None = None,
    linger_s: float = 0.0,
) -> Answers:
    stages = {name: stage(scorer) for name, scorer in scorers(of).items()} | (calls or {})
    settings = PathSettings(deadline_s, allocator_deadline_s, of.cheapest, batch_flops)
    batch = AllocationBatch(users, np.zeros(len(users), np.uint64), ("r",) * len(users))

    async def go() -> Answers:
        path = CascadePath(of, settings, POPULAR, CATALOG.popularity, allocate or allocation(chains), stages, late=late)
        loop = asyncio.get_running_loop()
        answers = await path(batch, np.full(len(users), k, np.int64), loop.time() + deadline_s)
        await asyncio.sleep(linger_s)
        return answers

    return asyncio.run(go())


def naive(of: ChainSpace, user: int, chain: int, k: int, skip: frozenset[str] = frozenset()) -> list[int]:
    """The cascade of one request as its definition says, without batches."""
    pool = scorers(of)
    seen = set(WORLD.dataset.users.history.row(user).tolist())
    choices = of.chains[chain].choices
    kept = [int(i) for i in POPULAR]
    for n, choice in enumerate(choices):
        keep = choices[n + 1].items if n + 1 < len(choices) else k
        if choice.model not in skip:
            kept = kept[: choice.items] if n == 0 else kept
            kept = [i for i in kept if n > 0 or i not in seen]
            table = pool[choice.model].table[user]
            kept = sorted(kept, key=lambda i: (-table[i], i))
        kept = kept[:keep]
    return kept


@pytest.mark.parametrize("stages", [2, 3, 4, 6])
def test_a_batch_of_mixed_chains_gets_what_each_request_alone_would(stages: int) -> None:
    of = space(stages)
    rng = np.random.default_rng(stages)
    users = rng.integers(0, 40, 24)
    chains = rng.integers(0, len(of), 24).astype(np.int32)
    answers = run(of, users, chains, k=4)
    for i, (user, chain) in enumerate(zip(users, chains, strict=True)):
        assert answers.rows.items.row(i).tolist() == naive(of, int(user), int(chain), 4)
    assert answers.flops.tolist() == [of.chains[j].flops for j in chains]
    assert answers.committed.tolist() == answers.flops.tolist()
    assert not answers.reasons.any()
    assert {"allocator", "recall", "ranking", "ranking:compute"} <= set(answers.seconds)


USERS = np.array([1, 2, 3, 4])
OF = space(3)
MIXED = np.array([0, len(OF) - 1, 0, len(OF) - 1], dtype=np.int32)
MODELS = [[c.model for c in OF.chains[j].choices] for j in MIXED]


@pytest.mark.parametrize("error", [RuntimeError, ConnectionError])
def test_one_retry_hides_one_failure(error: type[Exception]) -> None:
    answers = run(OF, USERS, MIXED, calls={"m0": failing(stage(scorers(OF)["m0"]), 1, error)})
    assert not answers.reasons.any()
    assert answers.flops.tolist() == [OF.chains[j].flops for j in MIXED]


@pytest.mark.parametrize(("times", "error"), [(2, RuntimeError), (1, Busy)])
def test_a_ranker_that_is_gone_leaves_the_order_before_it_to_its_own_requests(
    times: int, error: type[Exception]
) -> None:
    answers = run(OF, USERS, MIXED, k=3, calls={"din": failing(stage(scorers(OF)["din"]), times, error)})
    for i, (user, chain) in enumerate(zip(USERS, MIXED, strict=True)):
        lost = MODELS[i][2] == "din"
        assert answers.reasons[i] == (Reason.STAGE + 2 if lost else 0)
        ran = next(c for c in OF.stages[2].pool if c.name == MODELS[i][2]).cost(int(OF.items[chain, 2]))
        assert answers.flops[i] == OF.chains[chain].flops - (ran if lost else 0)
        assert answers.rows.items.row(i).tolist() == naive(
            OF, int(user), int(chain), 3, frozenset({"din"} if lost else ())
        )
    assert answers.reasons.any()
    assert not answers.reasons.all()


def test_without_pre_ranking_the_rankers_work_on_recalls_order() -> None:
    answers = run(OF, USERS, MIXED, calls={"m0": failing(stage(scorers(OF)["m0"]), 99)})
    assert answers.reasons.tolist() == [Reason.STAGE + 1] * 4
    for i, (user, chain) in enumerate(zip(USERS, MIXED, strict=True)):
        assert answers.rows.items.row(i).tolist() == naive(OF, int(user), int(chain), 5, frozenset({"m0"}))


def test_without_recall_the_most_popular_items_go_on() -> None:
    answers = run(OF, USERS, MIXED, calls={"dssm": failing(stage(scorers(OF)["dssm"]), 99)})
    assert answers.reasons.tolist() == [Reason.STAGE] * 4
    for i, (user, chain) in enumerate(zip(USERS, MIXED, strict=True)):
        assert answers.rows.items.row(i).tolist() == naive(OF, int(user), int(chain), 5, frozenset({"dssm"}))


def test_with_every_stage_gone_there_is_still_an_answer() -> None:
    gone = {name: failing(stage(scorer), 99) for name, scorer in scorers(OF).items()}
    answers = run(OF, USERS, MIXED, k=3, calls=gone)
    assert [answers.rows.items.row(i).tolist() for i in range(4)] == [POPULAR[:3].tolist()] * 4
    assert answers.flops.tolist() == [0, 0, 0, 0]
    assert answers.committed.tolist() == [OF.chains[j].flops for j in MIXED]


async def broken(_: AllocationBatch) -> Allocation:
    raise RuntimeError


@pytest.mark.parametrize(
    ("allocate", "reason"), [(broken, Reason.ALLOCATOR_UNAVAILABLE), (hang, Reason.ALLOCATOR_TIMEOUT)]
)
def test_without_an_allocator_the_safe_chain_is_served(allocate: Any, reason: Reason) -> None:
    answers = run(OF, USERS, MIXED, allocate=allocate, allocator_deadline_s=0.02)
    assert answers.chains.tolist() == [OF.cheapest] * 4
    assert answers.flops.tolist() == [OF.chains[OF.cheapest].flops] * 4
    assert answers.committed.tolist() == [-1] * 4
    assert answers.reasons.tolist() == [reason] * 4


def test_an_allocator_that_decides_too_late_has_what_it_committed_told() -> None:
    told: list[tuple[int, int]] = []
    worker = ThreadPoolExecutor(1)

    def decide(batch: AllocationBatch) -> Allocation:
        time.sleep(0.1)
        return asyncio.run(allocation(MIXED)(batch))  # type: ignore[arg-type]

    async def slow(batch: AllocationBatch) -> Allocation:
        return await finished(worker, decide, batch)

    def late(requests: int, flops: int) -> None:
        told.append((requests, flops))

    answers = run(OF, USERS, MIXED, allocate=slow, allocator_deadline_s=0.02, late=late, linger_s=0.3)
    assert answers.reasons.tolist() == [Reason.ALLOCATOR_TIMEOUT] * 4
    assert answers.committed.tolist() == [-1] * 4
    assert told == [(4, sum(OF.chains[chain].flops for chain in MIXED))]


def test_a_stage_that_hangs_leaves_time_for_those_behind_it() -> None:
    answers = run(OF, USERS, MIXED, calls={"m0": hang}, deadline_s=0.3)
    assert answers.reasons.tolist() == [Reason.STAGE + 1] * 4
    assert all(answers.flops > 0)


def test_a_stage_that_let_a_deadline_pass_is_not_waited_for_again_at_once() -> None:
    asked = []

    async def hang_and_count(_: StageBatch) -> StageReply:
        asked.append(1)
        return await hang(_)

    stages = {name: stage(scorer) for name, scorer in scorers(OF).items()} | {"m0": hang_and_count}
    settings = PathSettings(0.1, 5.0, OF.cheapest)
    batch = AllocationBatch(USERS, np.zeros(4, np.uint64), ("r",) * 4)
    now = [0.0]

    async def go() -> None:
        path = CascadePath(OF, settings, POPULAR, CATALOG.popularity, allocation(MIXED), stages, clock=lambda: now[0])
        for wait, calls in ((0.0, 1), (0.5, 1), (0.6, 2)):
            now[0] += wait
            answers = await path(batch, np.full(4, 5), now[0] + 0.1)
            assert answers.reasons.tolist() == [Reason.STAGE + 1] * 4
            assert len(asked) == calls

    asyncio.run(go())


def test_past_the_deadline_nothing_more_is_asked_for() -> None:
    answers = run(OF, USERS, MIXED, deadline_s=-1.0)
    assert answers.reasons.tolist() == [Reason.ALLOCATOR_TIMEOUT] * 4
    assert answers.flops.tolist() == [0] * 4
    assert all(len(answers.rows.items.row(i)) == 5 for i in range(4))


def test_selection_of_a_stage_matches_the_room_it_borrows_from() -> None:
    core = StageCore(WORLD.pool["din"], CATALOG, FEATURES)
    candidates = CATALOG.tokens.from_rows([[3, 9, 1], [5], [7, 2]])
    users = np.array([1, 2, 3])
    rows = core(StageBatch(users, candidates, 0, np.array([2, 2, 0])))
    scores = WORLD.pool["din"].score(FEATURES.lookup(users), candidates)
    items, kept = keep_best(scores, candidates, np.array([2, 2, 0]))
    assert isinstance(rows, StageRows)
    np.testing.assert_array_equal(rows.items.values, items.values)
    np.testing.assert_array_equal(rows.scores, kept.values)


def one_start() -> ChainSpace:
    """A chain space in which every chain begins alike, so that the first stage need not wait for the allocator."""
    last = Stage("ranking", (ModelCost("din", 1000, 10), ModelCost("dien", 1200, 10)), (5, 10))
    return ChainSpace(
        (
            Stage("recall", (ModelCost("dssm", 10, 10),), (60,)),
            Stage("pre", (ModelCost("ydnn", 100, 10),), (20, 30)),
            last,
        )
    )


@pytest.mark.parametrize("lost", [frozenset(), frozenset({"dssm"}), frozenset({"din"})])
def test_a_first_stage_that_all_chains_share_runs_beside_the_allocator(lost: frozenset[str]) -> None:
    of = one_start()
    users = np.arange(12)
    chains = (np.arange(12) % len(of)).astype(np.int32)
    together = asyncio.Event()
    recall = stage(scorers(of)["dssm"])

    async def decide(batch: AllocationBatch) -> Allocation:
        await asyncio.wait_for(together.wait(), 5)  # ends only once the first stage has been asked
        return await allocation(chains)(batch)

    async def first(batch: StageBatch) -> StageReply:
        together.set()
        if "dssm" in lost:
            raise RuntimeError
        return await recall(batch)

    calls = {"dssm": first} | ({"din": failing(stage(scorers(of)["din"]), 99)} if "din" in lost else {})
    answers = run(of, users, chains, calls=calls, allocate=decide)
    assert answers.chains.tolist() == chains.tolist()
    for i, user in enumerate(users):
        gone = frozenset(c.model for c in of.chains[chains[i]].choices) & lost
        assert answers.rows.items.row(i).tolist() == naive(of, int(user), int(chains[i]), 5, lost)
        ran = [c for c in of.chains[chains[i]].choices if c.model not in lost]
        cost = {m.name: m for s in of.stages for m in s.pool}
        assert answers.flops[i] == sum(cost[c.model].cost(c.items) for c in ran)
        assert (answers.reasons[i] != Reason.NONE) == bool(gone)


def test_without_an_allocator_a_shared_first_stage_still_serves_the_safe_chain() -> None:
    of = one_start()
    answers = run(of, np.arange(4), np.zeros(4, np.int32), allocate=broken)
    assert set(answers.chains.tolist()) == {of.cheapest}
    assert set(answers.reasons.tolist()) == {Reason.ALLOCATOR_UNAVAILABLE}
    for user in range(4):
        assert answers.rows.items.row(user).tolist() == naive(of, user, of.cheapest, 5)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 400))
def test_shares_of_work_are_even_and_within_the_limit(flops: list[int], limit: int) -> None:
    cost = np.array(flops, dtype=np.int64)
    rows = np.arange(len(flops), dtype=np.int64)
    pieces = shares(rows, cost, limit)
    assert np.concatenate(pieces).tolist() == rows.tolist()
    work = [int(cost[piece].sum()) for piece in pieces]
    assert len(pieces) <= max(1, -(-sum(flops) // limit))
    assert max(work) <= limit + max(flops)


def test_a_stage_gets_its_work_in_messages_of_bounded_size() -> None:
    of = space(3)
    sizes: list[int] = []
    inner = stage(scorers(of)["din"])

    async def watched(batch: StageBatch) -> StageReply:
        sizes.append(batch.items)
        return await inner(batch)

    fullest_din = of.index("dssm:60>m0:40>din:10")
    users, chains = np.arange(9), np.full(9, fullest_din, np.int32)
    whole = run(of, users, chains)
    limited = run(of, users, chains, calls={"din": watched}, batch_flops=35_000)
    assert sizes == [30, 30, 30]
    np.testing.assert_array_equal(whole.rows.items.values, limited.rows.items.values)
    assert limited.flops.tolist() == whole.flops.tolist()
