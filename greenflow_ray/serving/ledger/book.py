"""The ledger's book, without Ray: from what replicas report to the orders that they get."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import accumulate, islice
from typing import Any

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig, Limits
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.limits import Bound
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.pricing.control.controller import ControllerSettings, PriceController, PriceNow
from greenflow_ray.pricing.store.records import PriceRecord
from greenflow_ray.serving.ledger.energy_book import EnergyBook
from greenflow_ray.serving.ledger.order import BudgetOrder
from greenflow_ray.serving.ledger.reports import Reports, plain
from greenflow_ray.serving.wire import Orders, Reason, Usage

MAX_SKIPPED = 3
"""Ticks without a report that are left out in a row; after that silence means that there is no traffic."""

REPAY = 0.6
"""Savings and debt are made good within this share of ``budget.burst_s``, by the ledger and by each allocator."""

SLACK = 1.5
"""Where there are several allocators, the parts of the allowance that they get add up to this: batches are not spread
evenly within one exchange, and what is spent too much is known at the next."""

CHANGE = 0.002
"""Relative change from which on a budget that is converted from watts or grams is handed on."""

KEEP_SECONDS = 7200
"""Length of the trajectory that is kept, one point a second."""

NEWEST = 5
"""Points that every saved state brings along, more than come between two."""


@dataclass
class Point:
    """One second of the trajectory.

    Attributes:
        t: Unix seconds.
        version, price: of the frontier, and the dual price (reward per FLOP), at the second's end.
        spend, requests: FLOPs and requests of that second.
        budget: FLOP/s in force, None: no limit.
        policy: in force.
        bound_by: name of the limit that binds.
        grams_per_kwh, carbon_stale: the grid's carbon intensity, and whether it is out of date; None: unknown.
        watts: of serving, in the last window of the energy meters; None: unknown.
        replicas: heard from lately, by deployment.
    """

    t: float
    version: int = 0
    price: float = 0.0
    spend: int = 0
    budget: float | None = None
    requests: int = 0
    policy: str = ""
    bound_by: str | None = None
    grams_per_kwh: float | None = None
    carbon_stale: bool | None = None
    watts: float | None = None
    replicas: dict[str, int] = field(default_factory=dict)


class LedgerBook:
    """One per application; not thread-safe. ``clock`` for durations, ``wall`` for Unix time.

    ``core``: FLOP-equivalents of a CPU-second, where chains' costs are timed.
    """

    def __init__(
        self,
        config: CascadeConfig,
        space: ChainSpace,
        session: str,
        *,
        core: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.session = session
        self.space = space
        self._wall = wall
        budget = config.budget
        settings = ControllerSettings(
            cheapest=space.cheapest,
            safe=space.index(budget.safe_chain),
            interval_s=budget.exchange_s,
            burst_s=budget.burst_s,
            repay_s=REPAY * budget.burst_s,
            pace_s=REPAY * budget.burst_s,
            headroom=budget.headroom,
            keep=budget.keep,
            worth=budget.worth.clicks_per_gflop / 1e9 if budget.worth else 0.0,
        )
        self._controller = PriceController(settings, clock)
        self.reports = Reports(clock)
        self._skipped = 0
        self._trajectory: deque[Point] = deque(maxlen=KEEP_SECONDS)
        self._record: PriceRecord | None = None
        self._safe = space.index(budget.safe_chain)
        self.energy = EnergyBook(config.energy, core)
        self.order = self._in_force = BudgetOrder.declared(budget)
        self._bound = Bound(None, None, None)
        self._apply()
        self._now: PriceNow = self._controller.price()

    # What comes in

    def publish(self, record: PriceRecord) -> bool:
        """Price from a newly published frontier; False if it is the one in force.

        Raises PricingInputError if the frontier is empty; the old one stays.
        """
        known = self._record
        if known is not None and (record.version, record.published_at) == (known.version, known.published_at):
            return False
        self._controller.set_frontier(record.frontier, record.version)
        self._record = record
        if known is None:
            self._now = self._controller.price()  # one that has been restarted prices from its first word on
        return True

    def set_budget(self, order: BudgetOrder) -> None:
        """Follow the operator's order from the next tick on; without a chain the last one named stays.

        It does not tick by itself: a handful of requests within milliseconds would look like a burst of demand. Raises
        ConfigError on an unknown chain.
        """
        chain = order.fixed_chain or self.order.chain
        for name in (chain, *order.mix):
            self.space.index(name)
        self.order = order.model_copy(update={"fixed_chain": chain})
        self._apply(always=True)

    def limits(self) -> Limits:
        """The operator's limits that hold at this hour."""
        return self.order.limits_at(self._wall())

    def _apply(self, *, always: bool = False) -> None:
        """Hand the budget that binds now, in FLOP/s, to the controller."""
        self._bound = self.energy.bound(self.limits(), self._wall())
        # Under a fixed chain nothing obeys the price: without a budget the controller does not learn from that.
        budget = self._bound.flops_per_second if self.order.policy == "greenflow" else None
        held = self._controller.budget
        # What a FLOP draws is learned all the time: a budget that moves by a hair is left alone.
        if always or budget is None or held is None or abs(budget - held) > CHANGE * held:
            self._controller.set_budget(budget)

    def meter(self, windows: Mapping[str, EnergyWindow], intensity: CarbonIntensity | None, own: Usage) -> None:
        """Take in what the nodes used since the last time, ``windows`` by node; ``own`` is the ledger's usage."""
        self.energy.observe(windows, [*self.reports.usages(), own], self.reports.chain_flops(), intensity, self._wall())

    # What goes out

    def tick(self) -> None:
        """Turn what was committed since the last tick into a new price.

        A tick without any report has seen no traffic where there may be some, and would price it at nothing: it is left
        out, a few times in a row at most. So are ticks of a restarted ledger until it knows what was spent without it.
        """
        if self.reports.awaited:
            return
        if self.reports.silent and self._skipped < MAX_SKIPPED:
            self._skipped += 1
            return
        self._skipped = 0
        self._apply()
        spend = self.reports.take()
        self._now = self._controller.tick(float(spend.requests), float(spend.flops), spend.weight)
        self._in_force = self.order  # policy and price change together
        if self.order.policy != "greenflow":
            self._now = replace(self._now, price=0.0)  # nobody is charged it
        second = float(int(self._wall()))
        if not self._trajectory or self._trajectory[-1].t != second:
            self._trajectory.append(Point(second, replicas=self.reports.replicas()))
        point = self._trajectory[-1]
        point.version, point.price, point.policy = self._now.version, self._now.price, self.order.policy
        point.budget, point.bound_by = self._bound.flops_per_second, self._bound.by
        point.watts = self.energy.watts
        if self.energy.intensity is not None:
            point.grams_per_kwh, point.carbon_stale = self.energy.intensity.grams_per_kwh, self.energy.intensity.stale
        point.spend += spend.flops
        point.requests += spend.requests

    def orders(self) -> Orders:
        """Orders for one allocator; the allowance is shared among those heard from lately."""
        now = self._now
        reason = Reason.NONE
        if now.directive.capped:
            reason = Reason.BUDGET_CAP
            if now.version == 0:
                reason = Reason.NO_PRICE
            elif now.reason is not None and "expired" in now.reason:
                reason = Reason.PRICE_EXPIRED
        part = 1.0 / max(len(self.reports.live), 1)
        allowance = None if now.allowance is None else now.allowance * min(SLACK * part, 1.0)
        pace = None if now.pace is None else now.pace.share(part)
        policy = self._in_force.policy
        mix = self._in_force.mix or {self._in_force.chain: 1.0}
        whole = sum(mix.values())
        fixed = tuple(map(self.space.index, mix)), tuple(accumulate(weight / whole for weight in mix.values()))
        directive = now.directive
        if self._bound.flops_per_second is None and self._bound.by is not None:
            directive = replace(directive, capped=True, cheapest=self._safe)
            reason = Reason.BUDGET_UNKNOWN
        return Orders(policy, fixed, directive, now.price, int(reason), allowance, pace)

    def budget(self) -> dict[str, Any]:
        """The answer to ``GET /v1/budget``; rates in requests or FLOPs per second, price in reward per FLOP."""
        now, intensity = self._now, self.energy.intensity
        return {
            **self.order.told(),
            "in_force": {**self.limits().model_dump(), "binding": asdict(self._bound)},
            "price": now.price,
            "price_version": now.version,
            "request_rate": now.request_rate,
            "correction": now.correction,
            "reason": now.reason,
            "watts": self.energy.watts,
            "grams_per_kwh": intensity and intensity.grams_per_kwh,
            "carbon_stale": intensity and intensity.stale,
        }

    def stats(self, since: float = 0.0) -> dict[str, Any]:
        """The answer to ``GET /v1/stats``; the trajectory from ``since`` (Unix seconds) on."""
        return {
            **self.reports.told(),
            "energy": self.energy.told(),
            "trajectory": [plain(point) for point in self._trajectory if point.t >= since],
        }

    # Survival

    def state(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """What a restarted ledger needs beside the price store, JSON-able, FLOPs exact; and the newest points."""
        state = {
            "session": self.session,
            "order": self.order.told(),
            **self.reports.state(),
            "controller": self._controller.state(),
            "energy": self.energy.state(),
        }
        return state, [plain(p) for p in islice(reversed(self._trajectory), NEWEST)][::-1]

    def restore(self, state: dict[str, Any], points: list[dict[str, Any]]) -> bool:
        """Take up the state of this session's earlier life; False, changing nothing, if it is another session's."""
        if state.get("session") != self.session:
            return False
        self.reports.restore(state)
        self._trajectory = deque((Point(**p) for p in points), maxlen=KEEP_SECONDS)
        self.order = self._in_force = BudgetOrder.read(state["order"])
        for name in (self.order.chain, *self.order.mix):
            self.space.index(name)
        self._controller.restore(state["controller"])
        self.energy.restore(state["energy"])
        self._apply()
        # Not a tick: the time since the last one goes with what was spent in it, of which allocators are yet to report.
        self._now = self._controller.price()
        return True
