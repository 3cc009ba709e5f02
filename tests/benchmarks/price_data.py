"""Problems to measure on: three shapes of reward rows, from easiest to hardest for a hull."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]

SHAPES = ("uniform", "concave", "noisy")


def problem(shape: str, n: int, width: int, seed: int = 0) -> Pair:
    """Rewards ``[n, width]`` and costs ``[width]``.

    ``uniform``: independent rewards (few hull edges); ``concave``: every chain on the hull; ``noisy``: concave with an
    estimator's noise of 5 %, as reward models give them.
    """
    rng = np.random.default_rng(seed)
    costs = np.sort(rng.uniform(1.0, 100.0, width)) * 1e7
    if shape == "uniform":
        return rng.random((n, width), dtype=np.float32), costs
    worth = rng.gamma(2.0, 1.0, (n, 1)).astype(np.float32)
    knee = (rng.uniform(5.0, 80.0, (n, 1)) * 1e7).astype(np.float32)
    rewards = worth * (1.0 - np.exp(-costs.astype(np.float32) / knee))
    if shape == "noisy":
        rewards *= 1.0 + 0.05 * rng.standard_normal((n, width), dtype=np.float32)
    return np.ascontiguousarray(rewards, np.float32), costs


def pools(shape: str, n: int, width: int, count: int, seed: int = 0) -> tuple[Pair, npt.NDArray[np.float64]]:
    """A problem with ``count`` budgets, all of which bind or nearly so; costs are ``[count, width]``."""
    rewards, base = problem(shape, n, width, seed)
    rng = np.random.default_rng([seed, 1])
    costs = rng.uniform(0.2, 1.0, (count, width)) * base * rng.uniform(0.5, 2.0, (count, 1))
    full = costs[:, rewards.argmax(axis=1)].sum(axis=1)
    least = costs.min(axis=1) * n
    return (rewards, costs), least + (full - least) * np.linspace(0.3, 0.6, count)
