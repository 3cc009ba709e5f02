"""Pacing: what an allocator does between two orders, so that noise in traffic is made good at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from greenflow_ray.pricing.kernels.choice import PriceDirective

LEAST, MOST = 0.25, 4.0
"""Bounds of the multiplier of spend per request."""


@dataclass(frozen=True)
class Pace:
    """The course that spend should take after an order; costs in the unit of the chains' costs.

    Attributes:
        rate: cost per second that the order means to spend.
        budget: cost per second that the budget allows.
        elasticity: −d log spend ÷ d log price of the frontier at the order's price.
        horizon_s: a deviation is made good over so many seconds.
        most: what is saved is spent by at most this multiplier.
    """

    rate: float
    budget: float
    elasticity: float
    horizon_s: float
    most: float = MOST

    def share(self, part: float) -> Pace:
        """The pace of ``part`` of the traffic."""
        return replace(self, rate=self.rate * part, budget=self.budget * part)

    def multiplier(self, spent: float, elapsed_s: float) -> float:
        """By what spend per request should differ from what the order's price buys, given ``spent`` since the order."""
        if self.budget <= 0:
            return LEAST
        ahead = spent - self.rate * elapsed_s
        return min(max(1.0 - ahead / (self.budget * self.horizon_s), LEAST), self.most)

    def priced(self, directive: PriceDirective, multiplier: float) -> PriceDirective:
        """Prices at which spend per request is ``multiplier`` times what it is at ``directive``'s."""
        factor = multiplier ** (-1.0 / self.elasticity)
        top = 3.4e38
        return replace(
            directive,
            price_low=min(directive.price_low * factor, top),
            price_high=min(directive.price_high * factor, top),
        )
