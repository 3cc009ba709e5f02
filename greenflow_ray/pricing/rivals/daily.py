"""Other ways to set the price over the same day: one price a period, and mirror descent alone.

``tests/benchmarks/price.py`` plays them beside the controller.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from greenflow_ray.pricing.control.controller import PriceNow
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective


class _Rival:
    """One price for everybody, none at first; everyone gets ``cheapest`` until there is one."""

    def __init__(self, clock: Callable[[], float], cheapest: int) -> None:
        self._clock, self._cheapest = clock, cheapest
        self._held: float | None = None  # what the price follows from
        self._budget = 0.0
        self._last = clock()

    def set_budget(self, per_second: float | None) -> None:
        """Budget rate from now on."""
        self._budget = per_second or 0.0

    def state(self) -> dict[str, Any]:
        """What ``restore`` takes."""
        return {"held": self._held, "budget": self._budget}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        self._held, self._budget = state["held"], state["budget"]

    def _now(self, price: float | None) -> PriceNow:
        known = 0.0 if price is None else price
        directive = PriceDirective(known, known, 0.0, 1, price is None, self._cheapest)
        return PriceNow(directive, known, self._budget, 0.0, 1.0, 1, None, None, None)


class PeriodicPrice(_Rival):
    """The paper's nearline loop: each period's price is solved for the traffic of the period before, then held.

    Solved exactly here, which is kinder to it than gradient steps would be.
    """

    _requests = 0.0

    def set_frontier(self, frontier: Frontier, version: int) -> None:
        """A period ends: price its requests."""
        del version
        rate = self._requests / max(self._clock() - self._last, 1.0)
        if rate > 0:
            self._held = frontier.price(self._budget / rate)
        self._requests, self._last = 0.0, self._clock()

    def tick(self, requests: float, spend: float) -> PriceNow:
        """Count requests; the price stands."""
        del spend
        self._requests += requests
        return self._now(self._held)


class MirrorPrice(_Rival):
    """Dual mirror descent by the second without a frontier's look-up: ``log λ += 0.05 (spend / budget − 1)``.

    The first frontier gives it its starting price.
    """

    def set_frontier(self, frontier: Frontier, version: int) -> None:
        """Only the first one is used."""
        del version
        if self._held is None:
            self._held = math.log(max(frontier.price(0.5 * (frontier.floor + frontier.top)), 1e-300))

    def tick(self, requests: float, spend: float) -> PriceNow:
        """One step of mirror descent for each second."""
        del requests
        elapsed, self._last = self._clock() - self._last, self._clock()
        if self._held is not None and elapsed > 0 and self._budget > 0:
            self._held += 0.05 * min(max(spend / (self._budget * elapsed) - 1.0, -1.0), 4.0)
        return self._now(None if self._held is None else math.exp(self._held))
