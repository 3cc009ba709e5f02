"""The gateway's service, without Ray: admits, batches, sends down the cascade, words the answers, keeps the account."""

from __future__ import annotations

import hashlib
import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import ServingConfig
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.errors import Overloaded
from greenflow_ray.pricing.kernels.choice import request_hashes
from greenflow_ray.serving.batching import MicroBatcher
from greenflow_ray.serving.gateway.cascade_path import Answers, CascadePath
from greenflow_ray.serving.gateway.receipts import Receipts
from greenflow_ray.serving.http.messages import Feedback, Recommend
from greenflow_ray.serving.logs.clicks import FeedbackLog
from greenflow_ray.serving.wire import AllocationBatch, Reason, reason_text

ADMITTED: dict[str, float] = {"critical": 1.0, "default": 0.9, "sheddable": 0.5}
"""Up to which share of ``serving.max_waiting`` requests are admitted, by criticality; a list counts as its least."""


@dataclass(frozen=True, slots=True)
class _Ask:
    """One admitted request."""

    message: Recommend
    request_id: str
    arrived: float
    explain: bool


class Recommender:
    """The calls of :class:`greenflow_ray.serving.http.routes.Service` that need no ledger."""

    def __init__(
        self,
        space: ChainSpace,
        catalog: Catalog,
        path: CascadePath,
        receipts: Receipts,
        feedback: FeedbackLog,
        settings: ServingConfig,
        *,
        core: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` must be the path's; ``wall`` stamps feedback (Unix seconds).

        ``core``: FLOP-equivalents of a CPU-second, where chains' costs are timed.
        """
        self._core = core
        self._space = space
        self._item_ids = catalog.item_ids
        self._path = path
        self._receipts = receipts
        self._feedback = feedback
        self._deadline_s = settings.deadline_s
        self._clock = clock
        self._wall = wall
        self._stages = tuple(stage.name for stage in space.stages)
        self._prefix = secrets.token_hex(6)
        self._serial = itertools.count()
        request_hashes(np.zeros(1, np.uint64))  # compiled now, for while it is no request is answered
        # A request's chain is chosen in its batch: until then it is taken to cost what recent ones have cost.
        self._expected_flops = 0.0
        self._batcher: MicroBatcher[_Ask, dict[str, Any]] = MicroBatcher(
            self._run,
            max_items=settings.batch_requests,
            max_wait_s=settings.batch_wait_s,
            linger_s=settings.linger_s,
            max_waiting=settings.max_waiting,
            max_running=settings.batches_running,
            work=lambda _: self._expected_flops,
            max_work=settings.batch_flops,
        )
        self.shed = 0

    async def recommend(self, requests: Sequence[Recommend], *, explain: bool) -> list[dict[str, Any]]:
        """See ``Service``."""
        now = self._clock()
        asks = [_Ask(m, m.request_id or f"{self._prefix}-{next(self._serial):x}", now, explain) for m in requests]
        try:
            return await self._batcher.submit(asks, min(ADMITTED[m.criticality] for m in requests))
        except Overloaded:
            self.shed += len(asks)
            raise

    async def feedback(self, messages: Sequence[Feedback]) -> int:
        """See ``Service``."""
        if not self._feedback.add(self._wall(), [(m.request_id, m.clicks) for m in messages]):
            raise Overloaded
        return len(messages)

    def chains(self) -> dict[str, Any]:
        """See ``Service``."""
        return {
            "chains": [
                {
                    "name": chain.name,
                    "flops": chain.flops,
                    "stages": [
                        {"stage": stage.name, "model": choice.model, "items": choice.items}
                        for stage, choice in zip(self._space.stages, chain.choices, strict=True)
                    ],
                }
                for chain in self._space.chains
            ],
            "fullest": self._space.names[self._space.fullest],
            "cheapest": self._space.names[self._space.cheapest],
        }

    async def _run(self, asks: list[_Ask]) -> list[dict[str, Any]]:
        """One batch, from columns to answers."""
        ids = tuple(ask.request_id for ask in asks)
        batch = AllocationBatch(
            np.array([ask.message.user_id for ask in asks], dtype=np.int64),
            request_hashes(np.array([stable_hash(text) for text in ids], dtype=np.uint64)),
            ids,
            any(ask.explain for ask in asks),
        )
        k = np.array([ask.message.k for ask in asks], dtype=np.int64)
        answers = await self._path(batch, k, asks[0].arrived + self._deadline_s)
        now = self._clock()
        self._receipts.add(answers, [now - ask.arrived for ask in asks])
        mean = float(answers.flops.mean())
        self._expected_flops += 0.1 * (mean - self._expected_flops) if self._expected_flops else mean
        return self._word(asks, answers)

    def _word(self, asks: list[_Ask], answers: Answers) -> list[dict[str, Any]]:
        """Answers as JSON-able values."""
        offsets = answers.rows.items.offsets.tolist()
        items = self._item_ids[answers.rows.items.values].tolist()
        scores = np.round(answers.rows.scores.astype(np.float64), 6).tolist()
        names = self._space.names
        columns = (answers.chains, answers.flops, answers.prices, answers.reasons)
        out = []
        for i, (ask, chain, flops, price, reason) in enumerate(
            zip(asks, *(column.tolist() for column in columns), strict=True)
        ):
            answer: dict[str, Any] = {
                "request_id": ask.request_id,
                "user_id": ask.message.user_id,
                "items": items[offsets[i] : offsets[i + 1]],
                "scores": scores[offsets[i] : offsets[i + 1]],
                "receipt": {
                    "chain": names[chain],
                    "flops": flops,
                    **({} if self._core is None else {"cpu_seconds": flops / self._core}),
                    "price": price,
                    "price_version": answers.version,
                    "degraded": reason != Reason.NONE,
                    "reason": reason_text(reason, self._stages),
                },
            }
            if ask.explain:
                answer["explain"] = self._explain(answers, i)
            out.append(answer)
        return out

    def _explain(self, answers: Answers, row: int) -> dict[str, Any]:
        """Every chain's reward and cost, and how long each hop of the batch took."""
        rewards = None if answers.rewards is None else answers.rewards[row].astype(np.float64)
        finite = rewards is not None and bool(np.isfinite(rewards).all())
        worth = rewards.tolist() if rewards is not None and finite else [None] * len(self._space)
        chains = [
            {"chain": chain.name, "flops": chain.flops, "reward": reward}
            for chain, reward in zip(self._space.chains, worth, strict=True)
        ]
        return {"chains": chains, "seconds": answers.seconds}


def stable_hash(text: str) -> int:
    """64 bits of a request id, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
