"""The second pass: from a frontier's crossing bucket to the price in full float32, mergeable as the first pass is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.frontier import Frontier, added, occupied
from greenflow_ray.pricing.inputs import F64
from greenflow_ray.pricing.kernels import hull
from greenflow_ray.pricing.kernels.tally import Problem, tally


@dataclass(frozen=True, eq=False)
class ExactPrice:
    """The dual optimum of equation (9), to float32.

    Attributes:
        price: λ. Edges steeper than it are bought; those of exactly this slope while ``spare`` lasts.
        cost, reward: Σ over requests before ties are settled: attainable, within the budget.
        spare: budget left for ties (and, at price 0, for nothing).
        tied_cost, tied_reward: Σ Δc and Σ ΔR of the edges of exactly this slope.
        bound: D(λ), which no assignment within the budget exceeds.
    """

    price: float
    cost: float
    reward: float
    spare: float
    tied_cost: float
    tied_reward: float
    bound: float

    @property
    def gap(self) -> float:
        """``bound - reward``, ≥ 0, before ties are settled."""
        return max(self.bound - self.reward, 0.0)


@dataclass(frozen=True, eq=False)
class Refinement:
    """Hull edges of one bucket by the low 16 bits of their slope: ``places`` int32 ``[k]``, Σ Δc and Σ ΔR ``[k]``."""

    bucket: int
    places: npt.NDArray[np.int32]
    cost: F64
    reward: F64

    @classmethod
    def build(
        cls, rewards: Any, costs: Any, bucket: int, *, skip_bad: bool = False, workers: int | None = None
    ) -> Refinement:
        """Second pass over the rows that built the frontier; arguments as for ``Frontier.build``."""
        if not 0 <= bucket < hull.BUCKETS:
            raise PricingInputError(f"bucket: {bucket} is not one of {hull.BUCKETS}; take it from Frontier.crossing")
        found = tally(Problem.of(rewards, costs), bucket=bucket, workers=workers)
        if not skip_bad:
            inputs.refuse_rows(found.first_bad, found.bad)
        return cls(bucket, *occupied(found.table))

    def __add__(self, other: Refinement) -> Refinement:
        """Both sets of requests together. Raises PricingInputError if the buckets differ."""
        if not isinstance(other, Refinement):
            return NotImplemented
        if other.bucket != self.bucket:
            raise PricingInputError(f"bucket: cannot add refinements of buckets {self.bucket} and {other.bucket}")
        mine, others = (self.places, self.cost, self.reward), (other.places, other.cost, other.reward)
        return Refinement(self.bucket, *added(mine, others))

    def solve(self, frontier: Frontier, budget: float) -> ExactPrice:
        """The price at which all requests of ``frontier`` together spend ``budget`` (a total, not per request)."""
        base, worth = frontier.above(self.bucket)
        left = budget - base
        bought = np.cumsum(self.cost[::-1])
        if len(bought) == 0:
            raise PricingInputError(f"refinement: bucket {self.bucket} is empty; refine the frontier's crossing bucket")
        k = int(np.searchsorted(bought, left)) if left > 0 else 0
        at = max(len(bought) - 1 - k, 0)
        price = float(np.int32((self.bucket << 16) | int(self.places[at])).view(np.float32))
        cost = base + float(self.cost[at + 1 :].sum())
        reward = worth + float(self.reward[at + 1 :].sum())
        bound = max(reward + price * (budget - cost), reward)
        return ExactPrice(price, cost, reward, budget - cost, float(self.cost[at]), float(self.reward[at]), bound)


def unpriced(frontier: Frontier, budget: float) -> ExactPrice:
    """The answer where the budget covers every edge: price 0, everyone's best chain."""
    cost = frontier.top * frontier.requests
    reward = frontier.reward(frontier.top) * frontier.requests
    return ExactPrice(0.0, cost, reward, budget - cost, 0.0, 0.0, reward)


def crossing(frontier: Frontier, budget: float) -> int | None:
    """Bucket to refine for a total ``budget``; None: the price is 0. InfeasibleBudget below the cheapest chains."""
    budget = inputs.number("budget", budget)
    if budget < frontier.base_cost:
        raise InfeasibleBudget(budget, frontier.base_cost)
    return frontier.crossing(budget / frontier.requests)
