from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from greenflow_ray.config import SamplingConfig, ServingConfig
from greenflow_ray.errors import Overloaded
from greenflow_ray.serving.allocator.begun import finished
from greenflow_ray.serving.gateway.cascade_path import CascadePath, PathSettings
from greenflow_ray.serving.gateway.receipts import Receipts
from greenflow_ray.serving.gateway.recommender import Recommender, stable_hash
from greenflow_ray.serving.http.messages import Feedback, Recommend
from greenflow_ray.serving.logs.clicks import FeedbackLog
from greenflow_ray.serving.wire import Allocation, AllocationBatch, Usage
from tests.serving.gateway.test_cascade_path import CATALOG, OF, POPULAR, broken, failing, scorers, stage

MIXED = np.arange(64, dtype=np.int32) % len(OF)


async def allocate(batch: AllocationBatch) -> Allocation:
    size = len(batch.user_ids)
    rewards = np.ones((size, len(OF)), np.float32) if batch.explain else None
    return Allocation(MIXED[:size], np.full(size, 0.5), 2, np.zeros(size, np.int16), rewards, 0.001)


def recommender(
    folder: Path, calls: dict[str, Any] | None = None, decide: Any = allocate, wait_s: float = 5.0, **settings: Any
) -> Any:
    stages = {name: stage(scorer) for name, scorer in scorers(OF).items()} | (calls or {})
    account = Receipts("g1", OF)
    limits = PathSettings(30.0, wait_s, OF.cheapest)
    path = CascadePath(OF, limits, POPULAR, CATALOG.popularity, decide, stages, late=account.late)
    feedback = FeedbackLog(folder, SamplingConfig(buffer_rows=4), start=False)
    core = settings.pop("core", None)
    return Recommender(OF, CATALOG, path, account, feedback, ServingConfig(**settings), core=core), account


def test_where_costs_are_timed_receipts_say_cpu_seconds_too(tmp_path: Path) -> None:
    for core in (None, 2e6):
        service, _ = recommender(tmp_path, core=core)
        (answer,) = asyncio.run(service.recommend(asks(1), explain=False))
        receipt = answer["receipt"]
        assert receipt.get("cpu_seconds") == (core and receipt["flops"] / core)


def asks(n: int) -> list[Recommend]:
    return [Recommend(user_id=u, k=5, request_id=f"r{u}") for u in range(n)]


@pytest.mark.parametrize("decide", [allocate, broken])
def test_the_account_is_the_sum_of_the_receipts_even_when_degraded(tmp_path: Path, decide: Any) -> None:
    calls = {"din": failing(stage(scorers(OF)["din"]), 99)}
    service, account = recommender(tmp_path, calls, decide, batch_requests=32)
    answers = asyncio.run(service.recommend(asks(40), explain=False))
    receipts = [a["receipt"] for a in answers]
    own = Usage("gateway", "g1", 0.5)
    s = account.settlement(own)
    assert (s.requests, s.flops) == (40, sum(r["flops"] for r in receipts))
    assert s.degraded == sum(r["degraded"] for r in receipts) == sum(s.reasons.values())
    assert sum(s.chains.values()) == 40
    decided = [OF.chains[OF.index(r["chain"])].flops for r in receipts] if decide is allocate else []
    assert s.uncommitted_requests == 40 - len(decided)
    assert s.correction_flops == s.flops - sum(decided)
    assert own in s.usages
    assert s.hop_p99["allocator"] >= 0
    answered, flops, reasons = account.counters()
    assert (answered.total(), flops.total(), reasons.total()) == (40, s.flops, s.degraded)
    latencies, hops = account.drain()
    assert (len(latencies), len(hops)) == (40, 2)
    assert account.drain() == ([], [])


def test_what_is_committed_too_late_is_charged_once(tmp_path: Path) -> None:
    worker = ThreadPoolExecutor(1)

    def decide(batch: AllocationBatch) -> Allocation:
        time.sleep(0.2)
        return asyncio.run(allocate(batch))

    async def slow(batch: AllocationBatch) -> Allocation:
        return await finished(worker, decide, batch)

    async def answered() -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = await service.recommend(asks(8), explain=False)
        await asyncio.sleep(0.5)
        return answers

    service, account = recommender(tmp_path, decide=slow, wait_s=0.02)
    assert {a["receipt"]["reason"] for a in asyncio.run(answered())} == {"allocator_timeout"}
    s = account.settlement(Usage("gateway", "g1", 0.5))
    committed = sum(OF.chains[chain].flops for chain in MIXED[:8])
    assert (s.uncommitted_requests, committed + s.correction_flops) == (0, s.flops)


def test_answers_speak_the_outside_worlds_ids(tmp_path: Path) -> None:
    service, _ = recommender(tmp_path)
    (answer,) = asyncio.run(service.recommend(asks(1), explain=True))
    assert all(item in set(CATALOG.item_ids.tolist()) for item in answer["items"])
    assert (answer["user_id"], answer["request_id"]) == (0, "r0")
    assert answer["receipt"]["price"] == 0.5
    assert [c["reward"] for c in answer["explain"]["chains"]] == [1.0] * len(OF)


def test_what_does_not_fit_is_shed_and_counted(tmp_path: Path) -> None:
    service, _ = recommender(tmp_path, max_waiting=10)
    with pytest.raises(Overloaded):
        asyncio.run(service.recommend(asks(10), explain=False))
    assert service.shed == 10
    assert len(asyncio.run(service.recommend(asks(9), explain=False))) == 9


@pytest.mark.parametrize(("criticality", "admitted"), [("critical", 10), ("default", 9), ("sheddable", 5)])
def test_the_less_critical_are_refused_first(tmp_path: Path, criticality: str, admitted: int) -> None:
    service, _ = recommender(tmp_path, max_waiting=10)

    def like(n: int) -> list[Recommend]:
        return [Recommend(user_id=u, k=5, criticality=criticality) for u in range(n)]  # type: ignore[arg-type]

    assert len(asyncio.run(service.recommend(like(admitted), explain=False))) == admitted
    with pytest.raises(Overloaded):
        asyncio.run(service.recommend(like(admitted + 1), explain=False))


def test_a_list_is_as_critical_as_its_least(tmp_path: Path) -> None:
    service, _ = recommender(tmp_path, max_waiting=10)
    mixed = [Recommend(user_id=u, k=5, criticality="critical") for u in range(5)]
    mixed.append(Recommend(user_id=9, k=5, criticality="sheddable"))
    with pytest.raises(Overloaded):
        asyncio.run(service.recommend(mixed, explain=False))


def test_batches_hold_as_much_work_as_recent_requests_let_expect(tmp_path: Path) -> None:
    cost = OF.chains[int(MIXED[0])].flops
    service, account = recommender(tmp_path, batch_flops=2.5 * cost, batch_wait_s=0.0)
    asyncio.run(service.recommend(asks(1), explain=False))  # now a request's cost is known
    account.drain()
    assert len(asyncio.run(service.recommend(asks(6), explain=False))) == 6
    _, hops = account.drain()
    assert len(hops) == 3


def test_feedback_beyond_the_buffer_is_refused(tmp_path: Path) -> None:
    service, _ = recommender(tmp_path)
    assert asyncio.run(service.feedback([Feedback(request_id="a", clicks=[1, 2])])) == 1
    with pytest.raises(Overloaded):
        asyncio.run(service.feedback([Feedback(request_id="b", clicks=[1, 2, 3])]))


def test_request_hashes_are_the_same_everywhere() -> None:
    assert stable_hash("a-1") == stable_hash("a-1") != stable_hash("a-2")
    assert 0 <= stable_hash("x") < 2**64
