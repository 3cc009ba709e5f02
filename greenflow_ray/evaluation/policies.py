"""Allocation policies that an offline comparison holds against each other; all decide before any click is seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.choice import PriceDirective, choose
from greenflow_ray.pricing.frontier import Frontier

F64 = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.int32]


def best_fixed(mean_rewards: F64, costs: F64, budget: float) -> int:
    """The one chain within ``budget`` (FLOPs per request) that earned most on the fitting users: EQUAL, well tuned."""
    affordable = np.flatnonzero(costs <= budget)
    return int(affordable[np.argmax(mean_rewards[affordable])])


def priced(
    rewards: npt.NDArray[np.float32], costs: F64, frontier: Frontier, budget: float, hashes: npt.NDArray[np.uint64]
) -> Chosen:
    """Equation 10 at the frontier's price for ``budget`` per request, mixed at the breakpoint; int32 ``[n]``."""
    mix = frontier.mix(budget)
    directive = PriceDirective(mix.low, mix.high, mix.high_share, 1, False, int(np.argmin(costs)))
    return choose(rewards, costs, directive, hashes)


def priced_globally(mean_rewards: F64, costs: F64, budget: float, n: int, hashes: npt.NDArray[np.uint64]) -> Chosen:
    """GLOBAL: the same price mechanism without personalisation, every request taken for the mean one."""
    row = mean_rewards[None].astype(np.float32)
    frontier = Frontier.build(row, costs)
    return priced(np.repeat(row, n, axis=0), costs, frontier, budget, hashes)
