"""Histograms of hull edges over many rows: the kernels of ``hull`` spread over threads and added up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.kernels import hull, parallel, passes


@dataclass(frozen=True)
class Tally:
    """What one pass over ``n`` rows found; ``table`` ``[BUCKETS or FINE, 2]`` holds Σ Δc and Σ ΔR by slope."""

    table: F64
    requests: float
    base_cost: float
    base_reward: float
    bad: int
    first_bad: int

    @classmethod
    def of(cls, blocks: Sequence[tuple[F64, F64, int]]) -> Tally:
        """Of blocks in row order: table and totals that a kernel filled in, first row. The first table is reused."""
        table = blocks[0][0]
        for more, _, _ in blocks[1:]:
            table += more
        requests, cost, reward, _, bad = sum(totals[:5] for _, totals, _ in blocks).tolist()  # type: ignore[union-attr]
        first = next((start + int(totals[5]) for _, totals, start in blocks if totals[4]), -1)
        return cls(table, requests, cost, reward, int(bad), first)


@dataclass(frozen=True)
class Problem:
    """Checked rewards and costs: float32 ``[n, J]``, and float64 ``[1, J]`` ascending (shared) or ``[n, J]`` (per
    request).

    ``order`` uint32 ``[J]`` lists the columns by shared cost, ties by column.
    """

    rewards: F32
    costs: F64
    order: npt.NDArray[np.uint32]
    per_row: bool

    @classmethod
    def of(cls, rewards: Any, costs: Any) -> Problem:
        """Check the arguments. Raises PricingInputError naming the one that is wrong."""
        checked = inputs.rewards_array(rewards)
        prices = inputs.costs_array(costs, checked.shape)
        if prices.ndim == 2:
            return cls(checked, prices, np.arange(checked.shape[1], dtype=np.uint32), True)
        order = np.argsort(prices, kind="stable").astype(np.uint32)
        return cls(checked, prices[order][None], order, False)

    def slice(self, start: int, stop: int) -> Problem:
        """Rows ``start`` to ``stop``, as views."""
        costs = self.costs[start:stop] if self.per_row else self.costs
        return Problem(self.rewards[start:stop], costs, self.order, self.per_row)


def tally(problem: Problem, *, bucket: int = -1, workers: int | None = None) -> Tally:
    """One pass: hull edges by bucket, or by place within ``bucket``."""

    def block(start: int, stop: int) -> tuple[F64, F64, int]:
        part = problem.slice(start, stop)
        table = np.zeros((hull.BUCKETS if bucket < 0 else hull.FINE, 2))
        totals = np.zeros(8)
        bits = part.rewards.view(np.int32)
        passes.histogram(part.rewards, bits, part.order, part.costs, part.per_row, bucket, table, totals)
        return table, totals, start

    rows, width = problem.rewards.shape
    return Tally.of(parallel.over_rows(block, rows, width, workers))
