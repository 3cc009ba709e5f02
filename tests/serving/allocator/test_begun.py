from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from greenflow_ray.serving.allocator.begun import finished


def test_what_has_begun_is_finished_and_what_waits_is_dropped() -> None:
    done: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def work(name: str) -> str:
        begun.set()
        go.wait(10)
        done.append(name)
        return name

    async def scene() -> str:
        with ThreadPoolExecutor(1) as pool:
            first, second = (asyncio.ensure_future(finished(pool, work, name)) for name in ("first", "second"))
            await asyncio.to_thread(begun.wait, 10)
            first.cancel()
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go.set()
            return await first

    assert asyncio.run(scene()) == "first"
    assert done == ["first"]


def test_an_error_of_the_work_is_raised() -> None:
    def fail(_: int) -> None:
        raise ValueError("no")

    async def scene() -> None:
        with ThreadPoolExecutor(1) as pool:
            await finished(pool, fail, 1)

    with pytest.raises(ValueError, match="no"):
        asyncio.run(scene())
