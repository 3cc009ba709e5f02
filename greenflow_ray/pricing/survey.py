"""Everything an exact price needs of the rows, from one pass over them in most cases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.inputs import F64
from greenflow_ray.pricing.kernels import hull, parallel, passes
from greenflow_ray.pricing.kernels.tally import Problem, Tally, tally

SAMPLE = 4096
"""Rows that foretell where the price lies, at most (a 24th of all); below ``SMALL`` rows it is not worth a sample."""
SMALL = 8192


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

    def block(start: int, stop: int) -> tuple[Tally, F64, list[npt.NDArray[np.int32]], list[F64]]:
        part = problem.slice(start, stop)
        bits = part.rewards.view(np.int32)
        room = max(8 * (stop - start), 1024)  # pages that are not touched cost nothing
        while True:
            table, totals = np.zeros((hull.BUCKETS, 2)), np.zeros(8)
            whole = [np.empty(room, np.int32) for _ in range(3)]
            real = [np.empty(room) for _ in range(2)]
            count = passes.survey(
                part.rewards,
                bits,
                part.order,
                part.costs,
                part.per_row,
                low,
                high,
                table,
                totals,
                chains[start:stop],
                *whole,
                *real,
            )
            if count <= room:
                whole[1][:count] += start
                return Tally.of(table, totals, start), totals[6:], [a[:count] for a in whole], [a[:count] for a in real]
            room = count

    parts = parallel.over_rows(block, n, width, workers)
    return Survey(
        low,
        high,
        Tally.merge([p[0] for p in parts]),
        chains,
        float(sum(p[1][0] for p in parts)),
        float(sum(p[1][1] for p in parts)),
        *(np.concatenate([p[2][k] for p in parts]) for k in range(3)),
        *(np.concatenate([p[3][k] for p in parts]) for k in range(2)),
    )
