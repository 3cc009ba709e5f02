"""TUNED, the strongest rival that asks nobody: one fixed chain, or one price for all, chosen on samples for a budget.

Callers: the arms of :mod:`greenflow_ray.line`, and `tests.benchmarks.bill`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.exact import solve

RESOLUTION = 1000
"""Shares are multiples of its inverse."""


def tuned(clicks: npt.NDArray[Any], costs: npt.NDArray[np.float64], budget: float) -> dict[int, float]:
    """Chains and their shares of the requests, at most two, whose mean cost stays within ``budget``.

    ``clicks`` ``[n, J]`` are what sampled requests earned under every chain, ``costs`` ``[J]``. Every request is taken
    for the mean one: where one price for all would split between two chains it does, which earns at least what the
    best fixed chain within the budget does. Raises InfeasibleBudget below the cheapest chain.
    """
    mean = np.asarray(clicks.mean(axis=0, dtype=np.float64), dtype=np.float32)
    chosen = solve(np.repeat(mean[None], RESOLUTION, axis=0), costs, budget * RESOLUTION).chains
    chains, counts = np.unique(chosen, return_counts=True)
    return {int(j): int(n) / RESOLUTION for j, n in zip(chains, counts, strict=True)}
