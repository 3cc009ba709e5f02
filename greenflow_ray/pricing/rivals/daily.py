"""Other ways to set the price over the same day, for comparison: one price a period, and mirror descent alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from greenflow_ray.pricing.control.controller import PriceNow
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective


class PeriodicPrice:
    """The paper's nearline loop: each period's price is solved for the traffic of the period before, then held.

    Solved exactly here, which is kinder to it than gradient steps would be.
    """

    def __init__(self, clock: Callable[[], float], cheapest: int) -> None:
        self._clock, self._cheapest = clock, cheapest
        self._price: float | None = None
        self._budget = 0.0
        self._requests, self._since = 0.0, clock()

    def set_budget(self, per_second: float | None) -> None:
        """Budget rate from now on; heeded at the next period."""
        self._budget = per_second or 0.0

    def set_frontier(self, frontier: Frontier, version: int) -> None:
        """A period ends: price its requests."""
        del version
        rate = self._requests / max(self._clock() - self._since, 1.0)
        if rate > 0:
            self._price = frontier.price(self._budget / rate)
        self._requests, self._since = 0.0, self._clock()

    def tick(self, requests: float, spend: float) -> PriceNow:
        """Count requests; the price stands."""
        del spend
        self._requests += requests
        return _now(self._price, self._budget, self._cheapest)

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        return {"price": self._price, "budget": self._budget}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self._price, self._budget = state["price"], state["budget"]


class MirrorPrice:
    """Dual mirror descent by the second without a frontier's look-up: ``log λ += η (spend / budget − 1)``.

    The first frontier gives it its starting price.
    """

    def __init__(self, clock: Callable[[], float], cheapest: int, rate: float = 0.05) -> None:
        self._clock, self._cheapest, self._rate = clock, cheapest, rate
        self._log_price: float | None = None
        self._budget = 0.0
        self._last = clock()

    def set_budget(self, per_second: float | None) -> None:
        """Budget rate from now on."""
        self._budget = per_second or 0.0

    def set_frontier(self, frontier: Frontier, version: int) -> None:
        """Only the first one is used."""
        del version
        if self._log_price is None:
            self._log_price = math.log(max(frontier.price(0.5 * (frontier.floor + frontier.top)), 1e-300))

    def tick(self, requests: float, spend: float) -> PriceNow:
        """One step of mirror descent for each second."""
        del requests
        elapsed, self._last = self._clock() - self._last, self._clock()
        if self._log_price is not None and elapsed > 0 and self._budget > 0:
            self._log_price += self._rate * min(max(spend / (self._budget * elapsed) - 1.0, -1.0), 4.0)
        price = None if self._log_price is None else math.exp(self._log_price)
        return _now(price, self._budget, self._cheapest)

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        return {"log_price": self._log_price, "budget": self._budget}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self._log_price, self._budget = state["log_price"], state["budget"]


def _now(price: float | None, budget: float, cheapest: int) -> PriceNow:
    known = price if price is not None else 0.0
    directive = PriceDirective(known, known, 0.0, 1, price is None, cheapest)
    return PriceNow(directive, known, budget, 0.0, 1.0, 1, None, None, None)
