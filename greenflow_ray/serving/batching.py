"""Joins waiting requests into batches, by count and by time, within a bound on how many may wait.

Serve's own ``@serve.batch`` is not used at the gateway: it has no bound on the queue (so nothing could be shed), takes
one request a call (a list of requests would be torn apart), and starts every batch at once, whereas here a bounded
number of batches is under way, so that batches grow under load instead of piling up behind busy replicas.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Overloaded(Exception):
    """More requests wait than are allowed; the caller is told to come back later."""


class MicroBatcher(Generic[T, R]):
    """Runs ``run(items) -> results`` on batches of what :meth:`submit` was given, from one event loop."""

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        max_items: int,
        max_wait_s: float,
        max_waiting: int,
        max_running: int,
    ) -> None:
        """``max_items`` a batch; a batch starts when it is full or its oldest item has waited ``max_wait_s``.

        At most ``max_running`` batches are under way; at most ``max_waiting`` items are unanswered.
        """
        self._run = run
        self._max_items = max_items
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._max_running = max_running
        self._queue: deque[tuple[T, asyncio.Future[R]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting = 0

    async def submit(self, items: Sequence[T]) -> list[R]:
        """Results of ``items``, in order. Raises Overloaded at once, before any of them is queued."""
        if self.waiting + len(items) > self._max_waiting:
            raise Overloaded
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[R]] = [loop.create_future() for _ in items]
        self.waiting += len(futures)
        self._queue.extend(zip(items, futures, strict=True))
        self._start_batches()
        try:
            if len(futures) == 1:
                return [await futures[0]]
            return list(await asyncio.gather(*futures))
        finally:
            self.waiting -= len(futures)

    def _start_batches(self) -> None:
        """Start what is full or due; otherwise make sure that a timer will."""
        while self._queue and len(self._tasks) < self._max_running:
            if len(self._queue) < self._max_items and not self._due:
                if self._timer is None:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(self._max_wait_s, self._fall_due)
                return
            batch: list[tuple[T, asyncio.Future[R]]] = []
            while self._queue and len(batch) < self._max_items:
                entry = self._queue.popleft()
                if not entry[1].done():  # a caller who has gone is not worked for
                    batch.append(entry)
            if not self._queue:
                self._due = False
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
            if batch:
                task = asyncio.get_running_loop().create_task(self._work(batch))
                self._tasks.add(task)
                task.add_done_callback(self._finished)

    def _fall_due(self) -> None:
        self._timer = None
        self._due = True
        self._start_batches()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start_batches()

    async def _work(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._run([item for item, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        except asyncio.CancelledError:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
