from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from greenflow_ray.errors import Overloaded
from greenflow_ray.serving.batching import MicroBatcher

FOREVER = 3600.0


class Runs:
    """Remembers batches; each waits until it is let go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        await self.gate.wait()
        return [10 * item for item in items]


def batcher(
    runs: Runs, max_items: int = 3, wait: float = FOREVER, waiting: int = 100, running: int = 2
) -> MicroBatcher[int, int]:
    return MicroBatcher(runs, max_items=max_items, max_wait_s=wait, max_waiting=waiting, max_running=running)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_full_batch_starts_without_waiting_for_time() -> None:
    async def scenario() -> None:
        runs = Runs()
        b = batcher(runs)
        tasks = [asyncio.ensure_future(b.submit([i])) for i in range(4)]
        await settle()
        assert runs.batches == [[0, 1, 2]]
        runs.gate.set()
        assert await asyncio.gather(*tasks[:3]) == [[0], [10], [20]]
        assert not tasks[3].done()
        assert b.waiting == 1
        tasks[3].cancel()
        await settle()
        assert b.waiting == 0

    asyncio.run(scenario())


def test_time_starts_a_batch_that_is_not_full() -> None:
    async def scenario() -> None:
        runs = Runs()
        b = batcher(runs, wait=0.001)
        other = asyncio.ensure_future(b.submit([1]))
        await asyncio.sleep(0.01)
        second = asyncio.ensure_future(b.submit([7]))
        await asyncio.sleep(0.05)
        assert runs.batches == [[1], [7]], "it did not wait for the first to end"
        runs.gate.set()
        assert await asyncio.gather(other, second) == [[10], [70]]

    asyncio.run(scenario())


def test_nothing_waits_for_time_while_nothing_is_under_way() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.gate.set()
        b = batcher(runs)
        assert await asyncio.wait_for(asyncio.gather(b.submit([7]), b.submit([8])), 5) == [[70], [80]]
        assert runs.batches == [[7, 8]], "what comes in the same turn of the loop goes together"

    asyncio.run(scenario())


def test_a_lone_request_lingers_for_company() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.gate.set()
        b = MicroBatcher(runs, max_items=3, max_wait_s=FOREVER, linger_s=0.05, max_waiting=100, max_running=2)
        for _ in range(2):  # not only the first time
            first = asyncio.ensure_future(b.submit([7]))
            await asyncio.sleep(0.005)
            assert await asyncio.wait_for(asyncio.gather(first, b.submit([8])), 5) == [[70], [80]]
        assert runs.batches == [[7, 8], [7, 8]]
        await asyncio.wait_for(b.submit([1, 2, 3]), 5)
        assert runs.batches[-1] == [1, 2, 3], "a full batch waits for nobody"

    asyncio.run(scenario())


def test_a_list_comes_back_in_order_over_several_batches() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.gate.set()
        assert await batcher(runs, wait=0.001).submit(range(8)) == [10 * i for i in range(8)]
        assert runs.batches == [[0, 1, 2], [3, 4, 5], [6, 7]]

    asyncio.run(scenario())


def test_no_more_batches_run_than_allowed_and_waiting_ones_grow() -> None:
    async def scenario() -> None:
        runs = Runs()
        b = batcher(runs, max_items=2, wait=0.0, running=1)
        first = asyncio.ensure_future(b.submit([1]))
        await asyncio.sleep(0.01)
        assert runs.batches == [[1]]
        rest = [asyncio.ensure_future(b.submit([i])) for i in (2, 3, 4)]
        await asyncio.sleep(0.01)
        assert runs.batches == [[1]], "the second batch must wait for the first"
        runs.gate.set()
        assert await asyncio.gather(first, *rest) == [[10], [20], [30], [40]]
        assert runs.batches == [[1], [2, 3], [4]]

    asyncio.run(scenario())


def test_too_many_are_refused_whole() -> None:
    async def scenario() -> None:
        runs = Runs()
        b = batcher(runs, max_items=10, waiting=4)
        held = asyncio.ensure_future(b.submit([1, 2, 3]))
        await settle()
        with pytest.raises(Overloaded):
            await b.submit([4, 5])
        assert b.waiting == 3
        held.cancel()
        await settle()
        assert b.waiting == 0

    asyncio.run(scenario())


def test_a_batch_is_full_by_work_too() -> None:
    async def scenario() -> None:
        runs = Runs()
        runs.gate.set()
        b: MicroBatcher[int, int] = MicroBatcher(
            runs, max_items=9, max_wait_s=FOREVER, max_waiting=99, max_running=9, work=float, max_work=5.0
        )
        assert await b.submit([2, 2, 2, 3, 7, 1, 4]) == [20, 20, 20, 30, 70, 10, 40]
        assert runs.batches == [[2, 2], [2, 3], [7], [1, 4]], "and one that is too large alone is taken alone"

    asyncio.run(scenario())


def test_who_is_refused_hears_when_to_come_back() -> None:
    async def scenario() -> None:
        now = [0.0]
        runs = Runs()
        runs.gate.set()
        b: MicroBatcher[int, int] = MicroBatcher(
            runs, max_items=50, max_wait_s=0.0, max_waiting=100, max_running=1, clock=lambda: now[0]
        )
        with pytest.raises(Overloaded) as first:
            await b.submit(range(101))
        assert first.value.retry_after_s == 1, "nothing is known yet"
        for _ in range(40):  # 50 answers a second, for as long as it remembers and longer
            now[0] += 1.0
            await b.submit(range(50))
        with pytest.raises(Overloaded) as later:
            await b.submit(range(300))
        assert later.value.retry_after_s in (4, 5)
        with pytest.raises(Overloaded) as never:
            await b.submit(range(10**6))
        assert never.value.retry_after_s == 30

    asyncio.run(scenario())


def test_an_exception_among_results_is_its_own_callers_alone() -> None:
    async def run(items: list[int]) -> Sequence[int | Exception]:
        return [RuntimeError("no") if item == 1 else item for item in items]

    async def scenario() -> None:
        b: MicroBatcher[int, int] = MicroBatcher(run, max_items=2, max_wait_s=FOREVER, max_waiting=9, max_running=1)
        results = await asyncio.gather(b.submit([1]), b.submit([2]), return_exceptions=True)
        assert isinstance(results[0], RuntimeError)
        assert results[1] == [2]

    asyncio.run(scenario())


def test_a_failed_batch_fails_its_own_requests_only() -> None:
    async def fail_on_one(items: list[int]) -> Sequence[int]:
        if 1 in items:
            raise RuntimeError("no")
        return items

    async def scenario() -> None:
        b: MicroBatcher[int, int] = MicroBatcher(fail_on_one, max_items=1, max_wait_s=0, max_waiting=9, max_running=1)
        results = await asyncio.gather(b.submit([1]), b.submit([2]), return_exceptions=True)
        assert isinstance(results[0], RuntimeError)
        assert results[1] == [2]

    asyncio.run(scenario())


def test_a_caller_who_has_gone_is_not_worked_for() -> None:
    async def scenario() -> None:
        runs = Runs()
        b = batcher(runs, max_items=2)
        first = asyncio.ensure_future(b.submit([0]))
        await asyncio.sleep(0.01)
        gone = asyncio.ensure_future(b.submit([1]))
        await settle()
        gone.cancel()
        await settle()
        runs.gate.set()
        await b.submit([2, 3])
        await first
        assert runs.batches == [[0], [2, 3]]

    asyncio.run(scenario())
