"""The gateway: Serve's ingress. Wires the HTTP face to the cascade's replicas and the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import ALLOCATOR, CascadeConfig, Limits
from greenflow_ray.errors import Refused, Unavailable
from greenflow_ray.models.costing.costs import core_speed
from greenflow_ray.serving.allocator.replica import LiveAllocator
from greenflow_ray.serving.gateway.cascade_path import Busy, CascadePath, PathSettings, Score
from greenflow_ray.serving.gateway.receipts import Receipts
from greenflow_ray.serving.gateway.recommender import Recommender
from greenflow_ray.serving.http.routes import build_web
from greenflow_ray.serving.ledger.exchange import Exchange
from greenflow_ray.serving.ledger.order import BudgetOrder
from greenflow_ray.serving.logs.clicks import FeedbackLog
from greenflow_ray.serving.metrics import GatewayMetrics
from greenflow_ray.serving.sources import load_source
from greenflow_ray.serving.stages.replica import Lane
from greenflow_ray.serving.usage import usage
from greenflow_ray.serving.wire import Settlement

LEDGER_TIMEOUT_S = 2.0
PING_TIMEOUT_S = 2.0
BY_VALUE = 2 << 20
"""Messages below this many bytes go by gRPC, which halves a hop; larger ones (gRPC refuses 4 MB) by shared memory."""


@serve.ingress()
class Gateway:
    """One gateway replica, which is also the service behind its HTTP face."""

    def __init__(
        self, session: str, config: CascadeConfig, space: ChainSpace, allocator: Any, stages: dict[str, Any]
    ) -> None:
        """``allocator`` and ``stages`` (by model name) are Serve's handles; what has none this gateway has itself."""
        context = serve.get_replica_context()
        self._deployment = context.deployment
        self._replica = context.replica_id.unique_id
        self._config = config
        self._space = space
        source = load_source(config)
        catalog = source.catalog
        self._own = allocator is None
        self._allocator = allocator or LiveAllocator(session, config, space, source, f"{self._replica}/{ALLOCATOR}")
        allocate = self._allocator.allocate if self._own else _call(_carried(allocator, config, space).allocate)
        self._lanes = {
            model.name: Lane(config, model, source, f"{stage.name}-{model.name}", self._replica)
            for stage in config.stages
            for model in stage.pool
            if model.name not in stages
        }
        self._stages = {**stages, **self._lanes}
        scorers: dict[str, Score] = {m: _call(_carried(handle, config, space).score) for m, handle in stages.items()}
        serving = config.serving
        settings = PathSettings(
            serving.deadline_s,
            serving.allocator_deadline_s,
            space.index(config.budget.safe_chain),
            serving.batch_flops,
        )
        self._receipts = Receipts(self._replica, space)
        path = CascadePath(
            space,
            settings,
            catalog.by_popularity(),
            catalog.popularity,
            allocate,
            scorers | {model: lane.score for model, lane in self._lanes.items()},
            late=self._receipts.late,
        )
        self._feedback = FeedbackLog(config.paths.feedback, config.sampling)
        self._core = core_speed(config)
        self._recommender = Recommender(space, catalog, path, self._receipts, self._feedback, serving, core=self._core)
        self.recommend, self.feedback = self._recommender.recommend, self._recommender.feedback
        self.chains = self._recommender.chains
        self._metrics = GatewayMetrics()
        self._counted: tuple[Counter[str], ...] = (Counter(), Counter(), Counter(), Counter())
        self._exchange = Exchange(
            session, config, space, "settle", self._report, self._record, period_s=config.budget.settle_s
        )
        self._exchange.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The HTTP face over this replica's service."""
        serving = self._config.serving
        return build_web(self, exposure=self._config.exposure, body_limit=serving.body_limit)

    async def __del__(self) -> None:
        """Called by Serve before a replica ends: no click and no receipt is lost."""
        if hasattr(self, "_exchange"):
            await asyncio.to_thread(self._feedback.close)
            await asyncio.to_thread(self._exchange.close)
            if self._own:
                await self._allocator.close()

    def _report(self) -> Settlement:
        used = usage(self._deployment, self._replica)
        inside = [lane.usage() for lane in self._lanes.values()] + ([self._allocator.usage()] if self._own else [])
        return self._receipts.settlement(
            replace(used, cpu_seconds=used.cpu_seconds - sum(u.cpu_seconds for u in inside))
        )

    def _record(self, budget: dict[str, Any]) -> None:
        """Metrics of what has come since the last exchange, off the request path."""
        self._metrics.follow(budget)
        others = Counter({"shed": self._recommender.shed, "dropped": self._feedback.dropped})
        now = (*self._receipts.counters(), others)
        answers, flops, reasons, rest = (new - old for new, old in zip(now, self._counted, strict=True))
        self._counted = now
        latencies, hops = self._receipts.drain()
        self._metrics.record(latencies, hops, flops, answers, reasons, rest["shed"], rest["dropped"])

    async def _ledger(self, call: Callable[[Any], Any]) -> Any:
        """One call to the ledger. Raises Unavailable."""
        try:
            return await _within(call(self._exchange.handle), LEDGER_TIMEOUT_S)
        except (RayError, TimeoutError, ValueError) as error:
            raise Unavailable from error

    async def budget(self) -> dict[str, Any]:
        """See ``Service``."""
        answer: dict[str, Any] = await self._ledger(lambda ledger: ledger.budget.remote())
        return answer

    async def set_budget(self, order: BudgetOrder) -> dict[str, Any]:
        """See ``Service``."""
        ordered: tuple[Limits, ...] = (order, *order.schedule)
        if self._core is None and any(limits.cores for limits in ordered):
            raise Refused(422, "invalid_request", "cores: chains' costs are not timed; set `costs: timed`", "cores")
        for name in (order.fixed_chain, *order.mix):
            if name is not None:
                self._space.index(name)  # refused here, before anybody follows it
        answer: dict[str, Any] = await self._ledger(lambda ledger: ledger.set_budget.remote(order))
        return answer

    async def stats(self, since: float) -> dict[str, Any]:
        """The ledger's account, after this gateway's own and an allocator's latest word."""
        await _pong(self._allocator.exchange)
        # Once more if it has just failed: the ledger may have been restarted and not know our last word yet.
        if not await asyncio.to_thread(self._exchange.once) and not await asyncio.to_thread(self._exchange.once):
            raise Unavailable
        answer: dict[str, Any] = await self._ledger(lambda ledger: ledger.stats.remote(since))
        return answer

    async def ready(self) -> tuple[bool, dict[str, bool]]:
        """Recommendations need allocator and stages; without the ledger they go on at the last price."""
        names = [ALLOCATOR, *self._stages]
        handles = [self._allocator, *self._stages.values()]
        parts = dict(zip(names, await asyncio.gather(*(_pong(h.ping) for h in handles)), strict=True))
        ready = all(parts.values())
        parts["ledger"] = await _pong(lambda: self._exchange.handle.pid.remote())
        return ready, parts


def _carried(handle: Any, config: CascadeConfig, space: ChainSpace) -> Any:
    """The handle with the transport that fits its largest message: items and scores, or every chain's reward."""
    width = max(8 * int(space.items[:, 1:].max()), 4 * len(space))
    return handle.options(_by_reference=config.serving.batch_requests * (width + 256) > BY_VALUE)


def _call(method: Any) -> Callable[[Any], Awaitable[Any]]:
    """A handle's method as a coroutine function whose overload is :class:`Busy`."""

    async def call(message: Any) -> Any:
        try:
            return await method.remote(message)
        except BackPressureError as error:
            raise Busy from error

    return call


async def _pong(method: Any) -> bool:
    """Whether a replica answers in time."""
    try:
        response = method.remote() if hasattr(method, "remote") else method()
        await _within(response, PING_TIMEOUT_S)
    except Exception:
        return False
    return True


async def _within(awaitable: Awaitable[Any], seconds: float) -> Any:
    """Wait for anything awaitable, Serve's responses included. Raises TimeoutError."""

    async def wait() -> Any:
        return await awaitable

    return await asyncio.wait_for(wait(), seconds)
