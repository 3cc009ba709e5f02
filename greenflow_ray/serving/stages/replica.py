"""Model instances at work, each in replicas of its own, so that it scales by itself, or as a lane of a gateway."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from ray import serve

from greenflow_ray.config import CascadeConfig, ModelConfig
from greenflow_ray.energy.metering.thread_seconds import Crew
from greenflow_ray.models.pool import load_model
from greenflow_ray.serving.batching import MicroBatcher
from greenflow_ray.serving.sources import Source, load_source
from greenflow_ray.serving.stages.core import StageCore, score_together
from greenflow_ray.serving.usage import usage
from greenflow_ray.serving.wire import StageBatch, StageReply, Usage

log = logging.getLogger(__name__)


class LiveStage:
    """Scores batches in its own thread, one after the other; its process's event loop stays free.

    Messages that come in meanwhile, from any gateway, are scored together, up to ``serving.batch_flops``.
    """

    def __init__(
        self, config: CascadeConfig, model: ModelConfig, source: Source, deployment: str, replica: str, thread: str
    ) -> None:
        """``deployment`` and ``replica`` are its names in accounts, ``thread`` its thread's."""
        self._deployment, self._replica = deployment, replica
        limits = config.serving.replicas_of(model.name)
        scorer = load_model(config, model, source.catalog)
        self._core = StageCore(scorer, source.catalog, source.features)
        # torch remembers threads by the thread that set them, so the worker sets them.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix=thread)
        self._worker.submit(self._prepare, limits.threads).result()
        self._batcher: MicroBatcher[StageBatch, StageReply] = MicroBatcher(
            self._run,
            max_items=limits.max_ongoing,
            max_wait_s=0.0,
            max_waiting=sys.maxsize,  # Serve bounds the queue: max_ongoing, max_queued; a gateway its batches
            max_running=1,
            work=lambda batch: scorer.flops_per_request * len(batch.user_ids) + scorer.flops_per_item * batch.items,
            max_work=config.serving.batch_flops,
        )

    def _prepare(self, threads: int) -> None:
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(threads)
        try:
            self._core.warm_up()
        except Exception:
            # The model may work for real users all the same; if not, the path degrades and says so.
            log.exception("%s: warming up failed", self._deployment)

    async def score(self, batch: StageBatch) -> StageReply:
        """The best items of every request of the batch."""
        (reply,) = await self._batcher.submit([batch])
        return reply

    async def ping(self) -> bool:
        """True: alive."""
        return True

    def usage(self) -> Usage:
        """CPU-seconds of its process."""
        return usage(self._deployment, self._replica)

    async def _run(self, batches: list[StageBatch]) -> Sequence[StageReply | Exception]:
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._score, batches)

    def _score(self, batches: list[StageBatch]) -> Sequence[StageReply | Exception]:
        began = time.perf_counter()
        found = score_together(self._core, batches)
        seconds = time.perf_counter() - began
        used = self.usage()
        return [r if isinstance(r, Exception) else StageReply(r.items, r.scores, seconds, used) for r in found]


class StageReplica(LiveStage):
    """A model instance as a deployment of its own."""

    def __init__(self, config: CascadeConfig, model: ModelConfig) -> None:
        context = serve.get_replica_context()
        source = load_source(config)
        super().__init__(config, model, source, context.deployment, context.replica_id.unique_id, "score")
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(config.serving.replicas_of(model.name).threads)


class Lane(LiveStage):
    """A model instance inside a gateway: no message goes to it, and its threads' CPU time is told apart."""

    def __init__(
        self, config: CascadeConfig, model: ModelConfig, source: Source, deployment: str, gateway: str
    ) -> None:
        thread = f"lane-{model.name}-"
        self._crew = Crew(model.name, (thread,))
        super().__init__(config, model, source, deployment, f"{gateway}/{model.name}", thread)

    def usage(self) -> Usage:
        """CPU-seconds of its thread."""
        return replace(super().usage(), cpu_seconds=self._crew.cpu_seconds())
