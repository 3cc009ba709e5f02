"""A batch's way through the cascade, without Ray: allocate, then stage by stage, degrading instead of failing.

Every hop has one retry and a deadline. What is lost is replaced by the next cheaper answer: no allocator → the safe
chain; no recall → the most popular items; no later stage → the order of the stage before it. The receipt's FLOPs are
those of the stages that ran.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.ragged import Ragged
from greenflow_ray.serving.wire import (
    Allocation,
    AllocationBatch,
    Reason,
    StageBatch,
    StageReply,
    StageRows,
    Usage,
    join,
)

log = logging.getLogger(__name__)

Allocate = Callable[[AllocationBatch], Awaitable[Allocation]]
Score = Callable[[StageBatch], Awaitable[StageReply]]
_R = TypeVar("_R")


REST_S = 1.0
"""An instance that let a deadline pass is left alone for so long: waiting for it again would slow every batch down."""


class Busy(Exception):
    """A replica's queue is full: asking again at once would only add to it."""


@dataclass(frozen=True)
class PathSettings:
    """Deadlines (seconds), the chain of last resort, and the most work (FLOPs) that one message to a stage holds."""

    deadline_s: float
    allocator_deadline_s: float
    safe_chain: int
    batch_flops: float = math.inf


@dataclass
class Answers:
    """What a batch of requests gets.

    Attributes:
        rows: item indices best first and their scores.
        chains: index of every request's chain, int32 ``[B]``.
        flops: of the stages that ran, int64 ``[B]``.
        committed: FLOPs that the allocator has accounted for, int64 ``[B]``; −1: it is not known to have decided.
        prices: float64 ``[B]``.
        version: of the frontier.
        reasons: :class:`Reason`, int16 ``[B]``.
        rewards: float32 ``[B, J]`` if explained.
        seconds: wall-clock of every hop, by name; ``<stage>:compute`` is the replica's own part.
        usages: what replicas said of their CPU time.
    """

    rows: StageRows
    chains: npt.NDArray[np.int32]
    flops: npt.NDArray[np.int64]
    committed: npt.NDArray[np.int64]
    prices: npt.NDArray[np.float64]
    version: int
    reasons: npt.NDArray[np.int16]
    rewards: npt.NDArray[np.float32] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    usages: list[Usage] = field(default_factory=list)


class CascadePath:
    """Sends batches through allocator and stages."""

    def __init__(
        self,
        space: ChainSpace,
        settings: PathSettings,
        popular: npt.NDArray[np.int32],
        popularity: npt.NDArray[np.float32],
        allocate: Allocate,
        scorers: Mapping[str, Score],
        *,
        late: Callable[[int, int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``scorers`` by model name; ``popular`` are all items, most popular first, ``popularity`` by item index.

        ``late`` is told of the requests and FLOPs that an allocator committed after they were answered without it.
        """
        self._space = space
        self._settings = settings
        self._popular = popular
        self._popularity = popularity
        self._allocate = allocate
        self._late = late
        self._scorers = [[scorers[model.name] for model in stage.pool] for stage in space.stages]
        self._clock = clock
        self._one_start = len(space.stages[0].pool) == len(np.unique(space.items[:, 0])) == 1
        self._resting: dict[str, float] = {}  # model: asked again from then on
        self._flops = np.array(
            [
                [
                    space.stages[k].pool[space.models[j, k]].cost(int(space.items[j, k]))
                    for k in range(len(space.stages))
                ]
                for j in range(len(space))
            ],
            dtype=np.int64,
        )
        self._whole = self._flops.sum(axis=1)  # what an allocator commits for each chain

    async def __call__(self, batch: AllocationBatch, k: npt.NDArray[np.int64], deadline: float) -> Answers:
        """Answers to ``batch``; ``k`` items each, int64 ``[B]``; ``deadline`` on this object's clock."""
        rows: StageRows | None = None
        if self._one_start:
            answers, rows = await self._decide_and_start(batch, deadline)
        else:
            answers = await self._decide(batch, deadline)
        for stage in range(0 if rows is None else 1, len(self._space.stages)):
            last = stage + 1 == len(self._space.stages)
            keep = k if last else self._space.items[answers.chains, stage + 1].astype(np.int64)
            rows = await self._stage(stage, batch, answers, rows, keep, deadline)
        assert rows is not None
        answers.rows = rows
        return answers

    async def _decide_and_start(self, batch: AllocationBatch, deadline: float) -> tuple[Answers, StageRows]:
        """The allocator's choice, and meanwhile the first stage, of which all chains want the same."""
        size = len(batch.user_ids)
        start = _undecided(size, 0, Reason.NONE)
        most = np.full(size, int(self._space.items[:, 1].max()), dtype=np.int64)
        answers, rows = await asyncio.gather(
            self._decide(batch, deadline), self._stage(0, batch, start, None, most, deadline)
        )
        answers.flops += start.flops
        np.copyto(answers.reasons, start.reasons, where=answers.reasons == Reason.NONE)
        answers.seconds |= start.seconds
        answers.usages += start.usages
        return answers, rows.head(self._space.items[answers.chains, 1].astype(np.int64))

    async def _decide(self, batch: AllocationBatch, deadline: float) -> Answers:
        """The allocator's choice, or the safe chain."""
        began = self._clock()
        size = len(batch.user_ids)
        until = min(began + self._settings.allocator_deadline_s, deadline)
        reason = Reason.ALLOCATOR_UNAVAILABLE
        try:
            allocation = await self._ask(lambda: self._decision(batch), until)
        except TimeoutError:
            reason = Reason.ALLOCATOR_TIMEOUT
        except Exception as error:
            log.warning("no answer from the allocator (%s); the safe chain is served", type(error).__name__)
        else:
            return Answers(
                _NO_ROWS, allocation.chains, np.zeros(size, np.int64), self._whole[allocation.chains],
                allocation.prices, allocation.version, allocation.reasons.copy(), allocation.rewards,
                {"allocator": self._clock() - began, "allocator:compute": allocation.seconds},
            )  # fmt: skip
        answers = _undecided(size, self._settings.safe_chain, reason)
        answers.seconds["allocator"] = self._clock() - began
        return answers

    async def _decision(self, batch: AllocationBatch) -> Allocation:
        """The allocator's answer. One that has begun when it is no longer waited for still commits FLOPs."""
        call = asyncio.ensure_future(self._allocate(batch))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            call.cancel()
            call.add_done_callback(self._decided_late)
            raise

    def _decided_late(self, call: asyncio.Future[Allocation]) -> None:
        if not call.cancelled() and call.exception() is None and self._late is not None:
            chains = call.result().chains
            self._late(len(chains), int(self._whole[chains].sum()))

    async def _stage(
        self,
        stage: int,
        batch: AllocationBatch,
        answers: Answers,
        before: StageRows | None,
        keep: npt.NDArray[np.int64],
        deadline: float,
    ) -> StageRows:
        """One stage: the batch split by chosen instance and by work, sent side by side, joined again."""
        began = self._clock()
        space, limit = self._space, self._settings.batch_flops
        models = space.models[answers.chains, stage].astype(np.int64)
        # Later stages score what they are handed; the first takes its scale from the chain.
        groups = models if before is not None else models * (1 << 32) + space.items[answers.chains, stage]
        parts = [
            part
            for group in np.unique(groups)
            for part in shares(np.flatnonzero(groups == group), self._flops[answers.chains, stage], limit)
        ]
        calls = [self._group(stage, batch, answers, before, keep, rows, deadline) for rows in parts]
        results = [await calls[0]] if len(calls) == 1 else list(await asyncio.gather(*calls))
        order = np.empty(len(models), dtype=np.int64)
        order[np.concatenate(parts)] = np.arange(len(models))
        joined = join([r.items for r in results], [r.scores for r in results], order)
        answers.seconds[space.stages[stage].name] = self._clock() - began
        return joined

    async def _group(
        self,
        stage: int,
        batch: AllocationBatch,
        answers: Answers,
        before: StageRows | None,
        keep: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        deadline: float,
    ) -> StageRows:
        """The rows of one model instance: its answer, or the order they already have."""
        space = self._space
        chain = int(answers.chains[rows[0]])
        whole = len(rows) == len(batch.user_ids)
        mine = before if before is None or whole else before.take(rows)
        message = StageBatch(
            batch.user_ids[rows], None if mine is None else mine.items, int(space.items[chain, stage]), keep[rows]
        )
        model = int(space.models[chain, stage])
        score, name = self._scorers[stage][model], space.stages[stage].pool[model].name
        now = self._clock()
        if now >= deadline:
            return self._fall_back(answers, rows, mine, keep[rows], Reason.DEADLINE)
        if now < self._resting.get(name, now):
            return self._fall_back(answers, rows, mine, keep[rows], Reason.STAGE + stage)
        # Half of what is left, so that the stages behind still have their share.
        until = now + (deadline - now) / 2
        try:
            reply = await self._ask(lambda: score(message), until)
        except Exception as error:
            log.warning("no answer from %s (%s); it is skipped", name, type(error).__name__)
            if isinstance(error, TimeoutError):  # not for errors: one request's bad data must not stop the others'
                self._resting[name] = self._clock() + REST_S
            return self._fall_back(answers, rows, mine, keep[rows], Reason.STAGE + stage)
        answers.flops[rows] += self._flops[answers.chains[rows], stage]
        compute = space.stages[stage].name + ":compute"
        answers.seconds[compute] = max(answers.seconds.get(compute, 0.0), reply.seconds)
        answers.usages.append(reply.usage)
        return StageRows(reply.items, reply.scores)

    def _fall_back(
        self,
        answers: Answers,
        rows: npt.NDArray[np.int64],
        before: StageRows | None,
        keep: npt.NDArray[np.int64],
        reason: int,
    ) -> StageRows:
        """The order that the rows already have; before the first stage, the most popular items."""
        undegraded = rows[answers.reasons[rows] == Reason.NONE]
        answers.reasons[undegraded] = reason
        if before is not None:
            return before.head(keep)
        width = min(int(keep.max()), len(self._popular))
        items = np.tile(self._popular[:width], len(rows))
        popular = Ragged.from_lengths(items, np.full(len(rows), width))
        return StageRows(popular, self._popularity[items]).head(keep)

    async def _ask(self, call: Callable[[], Awaitable[_R]], until: float) -> _R:
        """One call and, if it fails in time, one more: stages are idempotent, and Serve picks another replica."""
        try:
            return await asyncio.wait_for(call(), until - self._clock())
        except (TimeoutError, Busy):
            raise
        except Exception as error:
            if self._clock() >= until:
                raise
            log.info("one retry after %s", type(error).__name__)
            return await asyncio.wait_for(call(), until - self._clock())


def shares(rows: npt.NDArray[np.int64], flops: npt.NDArray[np.int64], limit: float) -> Sequence[npt.NDArray[np.int64]]:
    """``rows`` in pieces of about equal work, ``flops[rows]``, as few as keep within ``limit`` FLOPs each."""
    work = flops[rows].astype(np.float64)
    total = float(work.sum())
    pieces = min(math.ceil(total / limit), len(rows))
    if pieces <= 1:
        return [rows]
    # A row is in the piece in which the middle of its work lies; as many pieces as rows are one row each.
    piece = ((np.cumsum(work) - work / 2) * (pieces / total)).astype(np.int64)
    cuts = np.arange(1, len(rows)) if pieces == len(rows) else np.flatnonzero(np.diff(piece)) + 1
    return np.split(rows, cuts)


def _undecided(size: int, chain: int, reason: Reason) -> Answers:
    """Answers to which nothing has been done yet: everybody on one chain, which no allocator chose."""
    return Answers(
        _NO_ROWS,
        np.full(size, chain, np.int32),
        np.zeros(size, np.int64),
        np.full(size, -1, np.int64),
        np.zeros(size),
        0,
        np.full(size, reason, np.int16),
    )


_NO_ROWS = StageRows(Ragged(np.empty(0, np.int32), np.zeros(1, np.int64)), np.empty(0, np.float32))
