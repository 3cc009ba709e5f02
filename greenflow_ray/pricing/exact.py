"""One budget, exactly: every request's chain, the price, and a certificate of how far from the optimum it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.frontier import Frontier, occupied
from greenflow_ray.pricing.inputs import F64
from greenflow_ray.pricing.kernels import hull, parallel, passes
from greenflow_ray.pricing.kernels.tally import Problem, Tally, tally
from greenflow_ray.pricing.refinement import Refinement

SAMPLE = 4096
"""Rows that foretell where the price lies, at most (a 24th of all); below ``SMALL`` rows it is not worth a sample."""
SMALL = 8192


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
    bucket = frontier.crossing(budget / n) or 0  # None: the budget covers every edge
    if seen is None or not seen.low <= bucket <= seen.high:
        seen = survey(problem, bucket, bucket, workers)
    return _finish(problem, seen, frontier, bucket, budget)


def _finish(problem: Problem, seen: Survey, frontier: Frontier, bucket: int, budget: float) -> Solution:
    """Refine the crossing bucket from the listed edges, and move rows along theirs."""
    inside = (seen.bits >> 16) == bucket
    places = seen.bits[inside] & 0xFFFF
    sums = [np.bincount(places, w[inside], hull.FINE) for w in (seen.edge_cost, seen.edge_reward)]
    refined = Refinement(bucket, *occupied(np.stack(sums, axis=1)))
    if frontier.top * frontier.requests <= budget or len(refined.places) == 0:
        price_bits, price = 0, 0.0
    else:
        price = refined.solve(frontier, budget).price
        price_bits = int(np.float32(price).view(np.int32))
    while True:
        steeper = seen.bits > price_bits
        cost = seen.cost + float(seen.edge_cost[steeper].sum())
        reward = seen.reward + float(seen.edge_reward[steeper].sum())
        tied = seen.bits == price_bits
        slack = np.maximum(seen.edge_reward[tied] - price * seen.edge_cost[tied], 0.0)  # rounding to float32
        bound = price * budget + reward - price * cost + float(slack.sum())
        chains = seen.chains.copy()
        _, gained = seen.settle(price_bits, budget - cost, chains)
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


@dataclass(frozen=True, eq=False)
class Survey:
    """Every row's chain with all edges above the window bought, and the window's edges (see ``passes.survey``).

    ``chains`` int32 ``[n]``; ``cost`` and ``reward`` their totals; ``bits``, ``row``, ``chain`` int32 ``[e]``,
    ``edge_cost`` and ``edge_reward`` float64 ``[e]``.
    """

    low: int
    high: int
    found: Tally
    chains: npt.NDArray[np.int32]
    cost: float
    reward: float
    bits: npt.NDArray[np.int32]
    row: npt.NDArray[np.int32]
    chain: npt.NDArray[np.int32]
    edge_cost: F64
    edge_reward: F64

    def settle(self, price_bits: int, spare: float, chains: npt.NDArray[np.int32]) -> tuple[float, float]:
        """``passes.settle`` on these edges: moves ``chains`` in place; what of ``spare`` is left, and the gain."""
        edges = (self.bits, self.row, self.chain, self.edge_cost, self.edge_reward)
        return passes.settle(price_bits, spare, *edges, chains)


def guess(problem: Problem, budget_per_request: float) -> tuple[int, int] | None:
    """Buckets between which the price lies almost surely, from a sample; None where it foretells a price of 0.

    Spend per request lies between floor and top, so its standard deviation is at most half of their distance.
    """
    n = len(problem.rewards)
    rows = np.arange(0, n, max(24, n // SAMPLE))
    costs = problem.costs[rows] if problem.per_row else problem.costs
    sample = Frontier.from_tally(tally(Problem(problem.rewards[rows], costs, problem.order, problem.per_row)))
    if not sample.requests > 0:
        return None
    margin = (sample.top - sample.floor) / len(rows) ** 0.5
    high = sample.crossing(max(budget_per_request - margin, 0.0))
    low = sample.crossing(budget_per_request + margin)
    return None if high is None else (0 if low is None else low, high)


def survey(problem: Problem, low: int, high: int, workers: int | None) -> Survey:
    """One pass with the window of buckets ``low``..``high``; a second one if it holds more than eight edges a row."""
    n, width = problem.rewards.shape
    chains = np.empty(n, np.int32)

    def block(start: int, stop: int) -> tuple[tuple[F64, F64, int], list[npt.NDArray[np.int32]], list[F64]]:
        part = problem.slice(start, stop)
        bits = part.rewards.view(np.int32)
        room = max(8 * (stop - start), 1024)  # pages that are not touched cost nothing
        while True:
            table, totals = np.zeros((hull.BUCKETS, 2)), np.zeros(8)
            whole = [np.empty(room, np.int32) for _ in range(3)]
            real = [np.empty(room) for _ in range(2)]
            given = (part.rewards, bits, part.order, part.costs, part.per_row, low, high)
            count = passes.survey(*given, table, totals, chains[start:stop], *whole, *real)
            if count <= room:
                whole[1][:count] += start
                return (table, totals, start), [a[:count] for a in whole], [a[:count] for a in real]
            room = count

    parts = parallel.over_rows(block, n, width, workers)
    blocks = [p[0] for p in parts]
    cost, reward = (float(sum(totals[k] for _, totals, _ in blocks)) for k in (6, 7))
    bits, row, chain = (np.concatenate([p[1][k] for p in parts]) for k in range(3))
    edge_cost, edge_reward = (np.concatenate([p[2][k] for p in parts]) for k in range(2))
    found = Tally.of(blocks)
    return Survey(low, high, found, chains, cost, reward, bits, row, chain, edge_cost, edge_reward)
