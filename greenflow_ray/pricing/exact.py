"""One budget, exactly: every request's chain, the price, and a certificate of how far from the optimum it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels import hull, passes
from greenflow_ray.pricing.kernels.tally import Problem, tally
from greenflow_ray.pricing.refinement import Refinement
from greenflow_ray.pricing.survey import SMALL, Survey, guess, survey


@dataclass(frozen=True, eq=False)
class Solution:
    """Chains for all requests within one budget.

    Attributes:
        price: dual price λ ≥ 0, reward per unit of cost.
        chains: int32 ``[n]``, column of each request's chain.
        cost: Σ of their costs, ≤ budget.
        reward: Σ of their rewards.
        bound: D(λ) of equation (9): no assignment within the budget, fractional ones included, is worth more.
        gap: ``bound - reward`` ≥ 0, at most one hull edge: λ times what is left of the budget.
    """

    price: float
    chains: npt.NDArray[np.int32]
    cost: float
    reward: float
    bound: float
    gap: float


def solve(rewards: Any, costs: Any, budget: float, *, workers: int | None = None) -> Solution:
    """Maximise Σ R over one chain a request with Σ c ≤ ``budget`` (paper, equation 3), by radix select on hull slopes.

    Args:
        rewards: float32 ``[n, J]``, finite. No rows: an empty solution at price 0.
        costs: float64 ``[J]`` in any order, or ``[n, J]``; ≥ 0.
        budget: total cost allowed, in the costs' unit.
        workers: threads; default one a core.

    Raises PricingInputError naming what is malformed, InfeasibleBudget if ``budget`` does not cover the cheapest
    chains.

    A sample foretells the price within a few buckets; one pass then tallies all hull edges by bucket and lists those
    near the price, and the list is refined to float32 (where the sample was wrong, a second pass lists the right
    bucket). Edges of exactly the price's slope are bought in row order while they fit, so at most one edge's worth of
    budget stays unused.
    """
    budget = inputs.number("budget", budget)
    problem = Problem.of(rewards, costs)
    n = len(problem.rewards)
    if n == 0:
        return Solution(0.0, np.empty(0, np.int32), 0.0, 0.0, 0.0, 0.0)
    if n >= SMALL and (window := guess(problem, budget / n)) is not None:
        seen = survey(problem, *window, workers)
        found = seen.found
    else:
        seen, found = None, tally(problem, workers=workers)
    inputs.refuse_rows(found.first_bad, found.bad)
    minimum = found.base_cost if problem.per_row else n * float(problem.costs[0, 0])
    if budget < minimum:
        raise InfeasibleBudget(budget, minimum)
    frontier = Frontier.from_tally(found)
    bucket = frontier.crossing(budget / n)
    if bucket is None:
        bucket = 0  # the budget covers every edge
    if seen is None or not seen.low <= bucket <= seen.high:
        seen = survey(problem, bucket, bucket, workers)
    return _finish(problem, seen, frontier, bucket, budget)


def _finish(problem: Problem, seen: Survey, frontier: Frontier, bucket: int, budget: float) -> Solution:
    """Refine the crossing bucket from the listed edges, and move rows along theirs."""
    inside = (seen.bits >> 16) == bucket
    places = seen.bits[inside] & 0xFFFF
    table = [np.bincount(places, w[inside], hull.FINE).astype(float) for w in (seen.edge_cost, seen.edge_reward)]
    kept = np.flatnonzero(table[0]).astype(np.int32)
    if frontier.top * frontier.requests <= budget or len(kept) == 0:
        price_bits, price = 0, 0.0
    else:
        price = Refinement(bucket, kept, table[0][kept], table[1][kept]).solve(frontier, budget).price
        price_bits = int(np.float32(price).view(np.int32))
    while True:
        steeper = seen.bits > price_bits
        cost = seen.cost + float(seen.edge_cost[steeper].sum())
        reward = seen.reward + float(seen.edge_reward[steeper].sum())
        tied = seen.bits == price_bits
        slack = np.maximum(seen.edge_reward[tied] - price * seen.edge_cost[tied], 0.0)  # rounding to float32
        bound = price * budget + reward - price * cost + float(slack.sum())
        chains = seen.chains.copy()
        _, gained = passes.settle(
            price_bits, budget - cost, seen.bits, seen.row, seen.chain, seen.edge_cost, seen.edge_reward, chains
        )
        reward += gained
        cost = _cost(problem, chains)
        if cost <= budget:
            return Solution(price, chains, cost, reward, max(bound, reward), max(bound - reward, 0.0))
        # Sums in another order differ in the last digits: step to the next steeper edge until the budget holds.
        above = seen.bits[seen.bits > price_bits]
        price_bits = int(above.min()) if len(above) else 0x7F7FFFFF
        price = float(np.int32(price_bits).view(np.float32))


def _cost(problem: Problem, chains: npt.NDArray[np.int32]) -> float:
    """Σ cost of a choice; exactly where costs are shared integers."""
    if problem.per_row:
        return float(problem.costs[np.arange(len(chains)), chains].sum())
    by_column = np.empty(problem.rewards.shape[1])
    by_column[problem.order] = problem.costs[0]
    return float(np.bincount(chains, minlength=len(by_column)) @ by_column)
