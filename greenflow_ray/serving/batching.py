"""Joins waiting requests into batches, by work and by time, within a bound on how many may wait.

Serve's own ``@serve.batch`` is not used: it has no bound on the queue (so nothing could be shed), takes one request a
call (a list of requests would be torn apart), and fails a whole batch for one bad request. Here a bounded number of
batches is under way, so that batches grow under load instead of piling up behind busy replicas.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from greenflow_ray.errors import Overloaded

T = TypeVar("T")
R = TypeVar("R")

MEMORY_S = 5.0
"""The rate of answers is remembered for about so long."""
LONGEST_RETRY_S = 30


class MicroBatcher(Generic[T, R]):
    """Runs ``run(items) -> results`` on batches of what :meth:`submit` was given, from one event loop.

    A result that is an exception is raised to its own caller alone.
    """

    def __init__(
        self,
        run: Callable[[list[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_items: int,
        max_wait_s: float,
        linger_s: float = 0.0,
        max_waiting: int,
        max_running: int,
        work: Callable[[T], float] | None = None,
        max_work: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A batch starts when it is full, when its oldest item has waited ``max_wait_s``, or when none is under way and
        it has waited ``linger_s`` for company.


        It is full with ``max_items`` items, or before ``work`` (FLOPs, say) of its items exceeds ``max_work``; one item
        is always taken. At most ``max_running`` batches are under way; at most ``max_waiting`` items are unanswered.
        """
        self._run = run
        self._max_items = max_items
        self._max_wait_s = max_wait_s
        self._linger_s = linger_s
        self._max_waiting = max_waiting
        self._max_running = max_running
        self._work_of = work or (lambda _: 0.0)
        self._max_work = max_work
        self._clock = clock
        self._queue: deque[tuple[T, float, asyncio.Future[R]]] = deque()
        self._queued_work = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._rate = 0.0
        self._last = clock()
        self.waiting = 0

    async def submit(self, items: Sequence[T], share: float = 1.0) -> list[R]:
        """Results of ``items``, in order.

        Raises Overloaded at once, before any of them is queued, if they do not fit into ``share`` of what may wait.
        """
        if self.waiting + len(items) > self._max_waiting * share:
            raise Overloaded(self._retry_after(len(items), share))
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[R]] = [loop.create_future() for _ in items]
        self.waiting += len(futures)
        for item, future in zip(items, futures, strict=True):
            work = self._work_of(item)
            self._queued_work += work
            self._queue.append((item, work, future))
        self._start_batches()
        try:
            if len(futures) == 1:
                return [await futures[0]]
            return list(await asyncio.gather(*futures))
        finally:
            self.waiting -= len(futures)

    def _retry_after(self, items: int, share: float) -> int:
        """Seconds until so many have been answered that ``items`` fit in, at the present rate."""
        excess = self.waiting + items - self._max_waiting * share
        seconds = excess / self._rate if self._rate > 0 else 1.0
        return int(min(max(math.ceil(seconds), 1), LONGEST_RETRY_S))

    def _start_batches(self) -> None:
        """Start what is full or due; otherwise make sure that a timer will."""
        while self._queue and len(self._tasks) < self._max_running:
            full = len(self._queue) >= self._max_items or self._queued_work >= self._max_work
            if not full and not self._due and self._max_wait_s > 0:
                if self._timer is None:
                    loop = asyncio.get_running_loop()
                    # Alone, without lingering, it waits for what has come in the same turn of the loop.
                    wait = self._max_wait_s if self._tasks else self._linger_s
                    self._timer = loop.call_later(wait, self._fall_due)
                return
            batch = self._take()
            self._due = self._due and bool(self._queue)
            if not self._queue and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if batch:
                task = asyncio.get_running_loop().create_task(self._work(batch))
                self._tasks.add(task)
                task.add_done_callback(self._finished)

    def _take(self) -> list[tuple[T, asyncio.Future[R]]]:
        """The oldest items, as many as one batch holds."""
        batch: list[tuple[T, asyncio.Future[R]]] = []
        total = 0.0
        while self._queue and len(batch) < self._max_items:
            item, work, future = self._queue[0]
            if batch and total + work > self._max_work:
                break
            self._queue.popleft()
            self._queued_work -= work
            if not future.done():  # a caller who has gone is not worked for
                batch.append((item, future))
                total += work
        if not self._queue:
            self._queued_work = 0.0  # of floats, differences leave dust
        return batch

    def _fall_due(self) -> None:
        self._timer = None
        self._due = True
        self._start_batches()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._due = self._due or (not self._tasks and not self._linger_s)
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
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._count(len(batch))

    def _count(self, answered: int) -> None:
        """Keep the rate of answers, items a second, as an average that forgets."""
        now = self._clock()
        elapsed = max(now - self._last, 1e-6)
        kept = math.exp(-elapsed / MEMORY_S)
        self._rate = kept * self._rate + (1 - kept) * answered / elapsed
        self._last = now
