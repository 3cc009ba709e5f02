"""The controller: from frontier, budget, observed traffic and spend to the price now.

    price(t) = frontier.price(target rate(t) / request rate(t)) × correction(t)

The first factor answers a change of traffic or budget at once, by a look-up. The correction is dual mirror descent on
the logarithm of the price (Balseiro, Lu and Mirrokni, arXiv 2002.10421), ``log κ += η (spend / intended spend − 1)``,
its step divided by the frontier's own elasticity, clipped to a trust region; it absorbs what the frontier got wrong. A
token bucket remembers what was spent beyond or below the budget: the target leans against it, and it is the hard cap.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from greenflow_ray.errors import PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.control.pacing import MOST, Pace
from greenflow_ray.pricing.control.traffic import RateEstimator
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective


@dataclass(frozen=True)
class ControllerSettings:
    """How the controller behaves; times in seconds.

    Attributes:
        cheapest: index of the cheapest chain, served when the hard cap closes.
        safe: index of the chain served while no price is known; None: the cheapest.
        interval_s: expected time between ticks.
        burst_s: seconds of budget that the token bucket holds at most.
        level: share of the bucket that is aimed at: above it savings are spent, below it debt is paid back.
        repay_s: the bucket's distance from that level is made good over this long.
        pace_s: allocators make good their own deviations from an order over this long.
        headroom: share of the budget left unused, so that noise does not become over-use.
        memory_s, surprise: of the request rate's estimate (``traffic.RateEstimator``).
        gain: η of the correction, per second of observation.
        trust: the correction stays within [1/trust, trust].
        stale_after_s: a frontier older than this still prices, the correction follows it faster, and a reason is given.
        expire_after_s: a frontier older than this prices nothing: the safe chain.
        mix_width: buckets between the crossing one and either price of the mix.
        keep: of the reward at price 0 this share is enough: no more is spent, whatever the budget. None: all is spent.
        worth: lowest price, reward per unit of cost: what buys less is not bought, whatever the budget.
    """

    cheapest: int = 0
    safe: int | None = None
    interval_s: float = 0.2
    burst_s: float = 1.0
    level: float = 0.5
    repay_s: float = 2.0
    pace_s: float = 0.5
    headroom: float = 0.002
    memory_s: float = 20.0
    surprise: float = 4.0
    gain: float = 0.02
    trust: float = 4.0
    stale_after_s: float = 300.0
    expire_after_s: float = 6 * 3600.0
    mix_width: int = 1
    keep: float | None = None
    worth: float = 0.0

    def __post_init__(self) -> None:
        for name in ("surprise", *(f.name for f in fields(self) if f.name.endswith("_s"))):
            if not inputs.number(name, getattr(self, name)) > 0:
                raise PricingInputError(f"{name}: must be above 0")
        inputs.number("gain", self.gain)
        inputs.number("worth", self.worth)
        if self.keep is not None and not 0 < inputs.number("keep", self.keep) <= 1:
            raise PricingInputError(f"keep: {self.keep:g} is not within (0, 1]")
        inputs.number("trust", self.trust, minimum=1.0)
        for name in ("headroom", "level"):
            if not inputs.number(name, getattr(self, name)) < 1:
                raise PricingInputError(f"{name}: must be below 1")


@dataclass(frozen=True)
class PriceNow:
    """The price of the moment and why.

    Attributes:
        directive: for the allocators.
        price: the dual price between the directive's two, 0 without a budget.
        budget_rate: cost per second that the operator allows, None: no limit.
        request_rate: requests per second, estimated.
        correction: factor κ within the trust region.
        version: of the frontier, 0 without one.
        allowance: cost that may be spent until the next tick before the hard cap closes, None: no limit. An allocator
            that spends it earlier can go to the cheapest chain by itself, without waiting for the next tick.
        pace: what allocators do until the next tick, None without a budget or a price.
        reason: None when all is well, else why requests are degraded or the price is old.
    """

    directive: PriceDirective
    price: float
    budget_rate: float | None
    request_rate: float
    correction: float
    version: int
    allowance: float | None
    pace: Pace | None
    reason: str | None


class PriceController:
    """One per ledger; not thread-safe. ``clock`` returns seconds, and may step back."""

    def __init__(self, settings: ControllerSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._traffic = RateEstimator(memory_s=settings.memory_s, surprise=settings.surprise)
        self._frontier: Frontier | None = None
        self._least = settings.worth
        self._version = 0
        self._age = 0.0
        self._budget: float | None = None
        self._tokens = 0.0
        self._log_correction = 0.0
        self._intended = 0.0  # cost per request that the last directive meant to spend; 0: it tells nothing
        self._allowance: float | None = None
        self._elasticity = 1.0
        self._pace: Pace | None = None
        self._pending = 0.0
        self._last = clock()

    @property
    def budget(self) -> float | None:
        """Cost per second allowed now, None: no limit."""
        return self._budget

    def set_frontier(self, frontier: Frontier, version: int) -> None:
        """Price from ``frontier`` from the next tick on. An empty one is refused by PricingInputError; the old one
        stays.

        What the correction had learned belongs to the old frontier. A new one speaks for itself in so far as it rests
        on many requests; the rest of the correction is carried over so that the price does not jump.
        """
        frontier.check()
        if not frontier.requests > 0:
            raise PricingInputError("frontier: holds no requests; the previous one stays in force")
        if self._frontier is not None and self._intended > 0:
            old, new = self._frontier.price(self._intended), frontier.price(self._intended)
            if old > 0 and new > 0:
                carried = self._log_correction + math.log(old / new)
                self._log_correction = self._trusted(carried * 200.0 / (200.0 + frontier.requests))
        self._frontier, self._version, self._age = frontier, version, 0.0
        keep = self.settings.keep
        kept = 0.0 if keep is None else frontier.price(frontier.needed(keep * frontier.reward(frontier.top)))
        self._least = max(kept, self.settings.worth)

    def set_budget(self, per_second: float | None) -> None:
        """Allow this much cost per second (FLOP/s, watts, g/s: the unit of the costs), None: no limit.

        Raises PricingInputError if it is negative or not finite.
        """
        if per_second is not None:
            per_second = inputs.number("budget", per_second)
            if self._budget is None:
                self._tokens = self.settings.level * self.settings.burst_s * per_second
            elif self._budget:
                self._tokens *= min(per_second / self._budget, 1.0)
        self._budget = per_second
        self._intended = 0.0

    def tick(self, requests: float, spend: float, weight: float | None = None) -> PriceNow:
        """Take in what happened since the last tick and say what to charge until the next one.

        Args:
            requests: requests seen since the last tick, ≥ 0.
            spend: their total cost, ≥ 0.
            weight: sum over the requests of the multipliers with which they were paced (``pacing.Pace``); None: 1 each.

        Raises PricingInputError if one is negative or not finite; state is then as before.
        """
        requests = inputs.number("requests", requests)
        spend = inputs.number("spend", spend)
        weight = requests if weight is None else inputs.number("weight", weight)
        now = self._clock()
        elapsed = now - self._last
        self._last = now
        if not 0 < elapsed < math.inf:  # the clock stood or stepped back: no time has passed, but requests did come
            elapsed = 0.0
        self._age += elapsed
        self._pending += requests
        if elapsed > 0:
            self._traffic.observe(self._pending, elapsed)
            self._pending = 0.0
        self._learn(weight, spend, elapsed)
        self._settle(spend, elapsed)
        return self.price()

    def _trusted(self, log_correction: float) -> float:
        limit = math.log(self.settings.trust)
        return min(max(log_correction, -limit), limit)

    def _learn(self, requests: float, spend: float, elapsed: float) -> None:
        """Mirror descent on the correction, from the cost per request that the last directive meant and what it got.

        ``requests`` count by how much each was meant to spend.
        """
        if self._intended <= 0 or requests < 1:
            return
        error = min(max(spend / (requests * self._intended) - 1.0, -0.5), 0.5)
        if error < 0 and self._allowance is not None and spend >= 0.98 * self._allowance:
            return  # the allowance held spend down, not the price
        haste = 4.0 if self._age > self.settings.stale_after_s else 1.0
        weight = min(self.settings.gain * haste * elapsed, 0.25) * requests / (requests + 20.0)
        self._log_correction = self._trusted(self._log_correction + weight * error / self._elasticity)

    def _settle(self, spend: float, elapsed: float) -> None:
        """Fill the token bucket with the budget of the time that passed, and take out what was spent."""
        if self._budget is None:
            return
        capacity = self.settings.burst_s * self._budget
        filled = min(self._tokens + self._budget * (1.0 - self.settings.headroom) * elapsed - spend, capacity)
        # Debt is remembered for as long as the bucket could have saved for it, not for ever.
        self._tokens = max(filled, -10.0 * capacity)

    def _answer(
        self, low: float, high: float, share: float, price: float, capped: int | None, reason: str | None
    ) -> PriceNow:
        cheapest = self.settings.cheapest if capped is None else capped
        directive = PriceDirective(low, high, share, self._version, capped is not None, cheapest)
        rate, factor = self._traffic.rate, math.exp(self._log_correction)
        return PriceNow(
            directive, price, self._budget, rate, factor, self._version, self._allowance, self._pace, reason
        )

    def price(self) -> PriceNow:
        """What to charge for what is known; no time has passed since the last tick."""
        self._intended, self._allowance, self._pace = 0.0, None, None
        s = self.settings
        if self._budget is None:
            return self._enough() or self._answer(0.0, 0.0, 0.0, 0.0, None, None)
        safe = s.cheapest if s.safe is None else s.safe
        self._allowance = max(self._tokens + self._budget * s.interval_s, 0.0)
        if self._frontier is None:
            return self._answer(0.0, 0.0, 0.0, 0.0, safe, "no frontier yet")
        if self._age > s.expire_after_s:
            return self._answer(0.0, 0.0, 0.0, 0.0, safe, f"frontier expired, {self._age:.0f} s old")
        reason = f"stale frontier, {self._age:.0f} s old" if self._age > s.stale_after_s else None
        budget = self._budget * (1.0 - s.headroom)
        lean = (self._tokens - s.level * s.burst_s * self._budget) / s.repay_s
        target = budget + min(max(lean, -0.5 * budget), 0.5 * budget)
        rate = self._traffic.rate
        f = self._frontier
        per_request = min(target / rate, 2.0 * f.top + 1.0) if rate > 0 else 2.0 * f.top + 1.0
        mix = f.mix(per_request, width=s.mix_width)
        factor = math.exp(self._log_correction)
        price = f.price(per_request)
        least = self._least
        if price > 0 and per_request > f.floor:
            self._intended = per_request
            self._elasticity = self._elasticity_at(price)
            above = min(max(price * factor / least, 1.0) ** self._elasticity, MOST) if least > 0 else MOST
            self._pace = Pace(target, self._budget, self._elasticity, s.pace_s, above)
        if price * factor < least and self._allowance > 0 and (enough := self._enough()):
            return enough
        capped = s.cheapest if self._allowance <= 0 else None
        if capped is not None:
            self._intended = 0.0
            reason = "hard cap"
        top = 3.4e38
        low, high = min(mix.low * factor, top), min(mix.high * factor, top)
        return self._answer(low, high, mix.high_share, min(price * factor, top), capped, reason)

    def _enough(self) -> PriceNow | None:
        """The lowest price worth charging, without regard to the budget; None if that is 0."""
        if self._frontier is None or not self._least > 0 or self._age > self.settings.expire_after_s:
            return None
        self._intended = 0.0  # what is spent says nothing about a price that the budget did not make
        mix = self._frontier.mix(self._frontier.spend(self._least), width=self.settings.mix_width)
        return self._answer(mix.low, mix.high, mix.high_share, self._least, None, None)

    def _elasticity_at(self, price: float) -> float:
        """−d log spend / d log price of the frontier around ``price``, held within [0.1, 4] for use as a divisor."""
        assert self._frontier is not None
        step = 1.05
        cheap, dear = self._frontier.spend(price / step), self._frontier.spend(min(price * step, 3.4e38))
        if not dear > 0:
            return 4.0
        return min(max(math.log(cheap / dear) / (2.0 * math.log(step)), 0.1), 4.0)

    def state(self) -> dict[str, Any]:
        """What a restarted ledger needs beside the frontier, JSON-able and finite."""
        return {
            "budget": self._budget,
            "tokens": self._tokens,
            "log_correction": self._log_correction,
            "traffic": self._traffic.state(),
            "clock": self._last,
            "version": self._version,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved state; then hand over the frontier. Raises PricingInputError if it is malformed."""
        try:
            budget = None if state["budget"] is None else inputs.number("budget", state["budget"])
            tokens = inputs.number("tokens", state["tokens"], minimum=-math.inf)
            log_correction = inputs.number("log_correction", state["log_correction"], minimum=-math.inf)
            inputs.number("traffic.count", state["traffic"]["count"])
            inputs.number("traffic.seconds", state["traffic"]["seconds"])
            last = inputs.number("clock", state["clock"], minimum=-math.inf)
        except (KeyError, TypeError) as error:
            raise PricingInputError(f"controller state: malformed ({error!r}); start afresh") from error
        self._traffic.restore(state["traffic"])
        self._budget, self._tokens, self._last = budget, tokens, last
        self._log_correction = self._trusted(log_correction)
        self._intended, self._allowance, self._pending = 0.0, None, 0.0
