"""Boosted trees over the leading components of reward rows: a strong reference, and the network's teacher.

A user's rewards over hundreds of chains move in few directions: how much there is to click, how much deeper ranking
finds, how much wider pre-ranking finds. Trees predict each row's coordinates along the leading directions of
*differences between chains* (what the choice depends on), and its level apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from greenflow_ray.datasets.schema import F32, F64, Array
from greenflow_ray.support.progress import Steps, uncounted

COMPONENTS = 8
TREES: dict[str, Any] = {
    "max_iter": 150,
    "learning_rate": 0.04,
    "max_leaf_nodes": 8,
    "min_samples_leaf": 40,
    "l2_regularization": 10.0,
    "early_stopping": False,
}


@dataclass(frozen=True)
class BoostedRewards:
    """Rewards of every chain from features."""

    mean: F64  # mean reward of every chain less the mean of all, float64 ``[J]``
    directions: F64  # orthonormal, float64 ``[K, J]``
    trees: tuple[HistGradientBoostingRegressor, ...]  # one ensemble a direction, a last one for the level (row's mean)

    @classmethod
    def fit(cls, features: F32, clicks: Array, seed: int, progress: Steps = uncounted) -> BoostedRewards:
        """Fit to ``features`` ``[n, F]`` and realised ``clicks`` ``[n, J]``."""
        level = clicks.mean(axis=1, dtype=np.float64)
        centred = clicks - level[:, None]
        mean = centred.mean(axis=0)
        centred -= mean
        # Right singular vectors by the J × J Gram matrix: J is hundreds, n may be millions.
        _, vectors = np.linalg.eigh(centred.T @ centred)
        directions = vectors.T[::-1][: min(COMPONENTS, len(vectors), len(clicks))]
        targets = np.column_stack([centred @ directions.T, level])
        trees = []
        # On a shared machine the library's spinning threads cost more than they bring.
        with threadpool_limits(1):
            for i, target in enumerate(targets.T):
                trees.append(HistGradientBoostingRegressor(**TREES, random_state=seed).fit(features, target))
                progress(i + 1, targets.shape[1])
        return cls(mean, directions, tuple(trees))

    def evaluate(self, features: F32) -> F32:
        """Rewards, float32 ``[n, J]``, of ``features`` ``[n, F]``."""
        with threadpool_limits(1):
            found = np.column_stack([tree.predict(features) for tree in self.trees])
        return np.asarray(self.mean + found[:, :-1] @ self.directions + found[:, -1:], dtype=np.float32)
