"""Stage replicas: one deployment for each model instance, so that each scales by itself."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from ray import serve

from greenflow_ray.config import CascadeConfig, ModelConfig
from greenflow_ray.models.artifacts import load_model
from greenflow_ray.serving.ledger import usage
from greenflow_ray.serving.sources import load_source
from greenflow_ray.serving.stage_core import StageCore
from greenflow_ray.serving.wire import StageBatch, StageReply

log = logging.getLogger(__name__)


class StageReplica:
    """Scores batches in its own thread, one after the other; its event loop stays free for health checks."""

    def __init__(self, config: CascadeConfig, model: ModelConfig) -> None:
        context = serve.get_replica_context()
        self._deployment = context.deployment
        self._replica = context.replica_id.unique_id
        source = load_source(config)
        scorer = load_model(config, model, source.catalog)
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(config.serving.stage.threads)
        self._core = StageCore(scorer, source.catalog, source.features)
        # torch remembers threads by the thread that set them, so the replica's worker sets them again.
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._worker.submit(self._prepare, config.serving.stage.threads).result()

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
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._score, batch)

    async def ping(self) -> bool:
        """True: alive."""
        return True

    def _score(self, batch: StageBatch) -> StageReply:
        began = time.perf_counter()
        rows = self._core(batch)
        return StageReply(rows.items, rows.scores, time.perf_counter() - began, usage(self._deployment, self._replica))
