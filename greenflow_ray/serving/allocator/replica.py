"""Allocators at work, each a replica or part of a gateway: they decide in memory, exchange and log in threads."""

from __future__ import annotations

import asyncio
import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from ray import serve

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import ALLOCATOR, CascadeConfig
from greenflow_ray.energy.metering.thread_seconds import Crew
from greenflow_ray.serving.allocator.begun import finished
from greenflow_ray.serving.allocator.core import Allocator
from greenflow_ray.serving.ledger.exchange import Exchange
from greenflow_ray.serving.logs.samples import SampleLog
from greenflow_ray.serving.metrics import AllocatorMetrics
from greenflow_ray.serving.sources import Source, load_source
from greenflow_ray.serving.usage import usage
from greenflow_ray.serving.wire import Allocation, AllocationBatch, Commitment, Orders, Usage
from greenflow_ray.support.imports import import_object

THREADS = ("allocate", "commit-exchange", "samples-log")
"""Where an allocator's work is done: names of the threads with which those that work for it begin."""


class LiveAllocator:
    """One allocator at work: decides in a thread, so that its process's event loop stays free, exchanges in another."""

    def __init__(
        self,
        session: str,
        config: CascadeConfig,
        space: ChainSpace,
        source: Source,
        reporter: str,
    ) -> None:
        """``reporter`` is its name at the ledger."""
        self._reporter = reporter
        self._crew = Crew(ALLOCATOR, THREADS)
        factory = import_object(config.reward.factory, "reward.factory")
        reward = factory(config.paths.reward, space, source.catalog)
        self._samples = SampleLog(config.paths.samples, space, config.sampling)
        self._allocator = Allocator(config, space, reward, source.features, self._samples)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=THREADS[0])
        warm = Allocator(config, space, reward, source.features, None)
        self._worker.submit(_warm_up, warm, config.serving.allocator.threads).result()
        self._metrics = AllocatorMetrics()
        self._reported = 0
        self._exchange = Exchange(
            session, config, space, "commit", self._report, self._hear, period_s=config.budget.exchange_s
        )
        self._exchange.start()

    async def allocate(self, batch: AllocationBatch) -> Allocation:
        """A chain for every request of the batch."""
        return await finished(self._worker, self._allocator.allocate, batch)

    async def ping(self) -> bool:
        """True: alive."""
        return True

    async def exchange(self) -> bool:
        """Exchange with the ledger now; False if it did not answer."""
        return await asyncio.to_thread(self._exchange.once)

    def usage(self) -> Usage:
        """CPU-seconds of its threads."""
        return replace(usage(ALLOCATOR, self._reporter), cpu_seconds=self._crew.cpu_seconds())

    async def close(self) -> None:
        """Nothing sampled or spent is lost."""
        await asyncio.to_thread(self._samples.close)
        await asyncio.to_thread(self._exchange.close)

    def _report(self) -> Commitment:
        allocator, samples = self._allocator, self._samples
        self._reported = allocator.flops
        return Commitment(
            self._reporter,
            allocator.requests,
            allocator.weight,
            self._reported,
            allocator.own_flops,
            samples.written,
            samples.dropped,
            self.usage(),
        )

    def _hear(self, orders: Orders) -> None:
        self._allocator.follow(orders, self._reported)
        self._metrics.record(orders.price, self._allocator.price_age_s, self._samples.written, self._samples.dropped)


class AllocatorReplica(LiveAllocator):
    """An allocator as a deployment of its own."""

    def __init__(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        self._context = serve.get_replica_context()
        replica = self._context.replica_id.unique_id
        super().__init__(session, config, space, load_source(config), replica)

    def usage(self) -> Usage:
        """CPU-seconds of its process."""
        return usage(self._context.deployment, self._reporter)

    async def __del__(self) -> None:
        """Called by Serve before a replica ends."""
        if hasattr(self, "_exchange"):
            await self.close()


def _warm_up(allocator: Allocator, threads: int) -> None:
    """Compile kernels and allocate buffers before the first request; runs in the worker, whose threads it sets."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)
    nobody = np.array([np.iinfo(np.int64).min + 1], dtype=np.int64)
    for size, writeable in itertools.product((1, 32), (True, False)):
        batch = AllocationBatch(np.repeat(nobody, size), np.zeros(size, np.uint64), ("warm-up",) * size)
        # Ray hands some arrays over read-only, which compiled kernels count as another type.
        batch.user_ids.flags.writeable = batch.hashes.flags.writeable = writeable
        allocator.warm(batch)
