"""Paired bootstrap over users: how sure one trace can be of a saving."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def saving_interval(
    user_id: npt.NDArray[np.int64],
    equal: npt.NDArray[np.float64],
    greenflow: npt.NDArray[np.float64],
    rng: np.random.Generator,
    *,
    draws: int = 2000,
    level: float = 0.95,
) -> tuple[float, float] | None:
    """Percentile interval of 1 − Σ greenflow ÷ Σ equal, users drawn with replacement, both arms' rows together.

    All three are ``[n]``, one entry a request, in the same order. Whole users are drawn, because one user's requests
    depend on each other, and so do one request's two arms. None if EQUAL's sum is 0 or there are fewer than two users.
    """
    users, row = np.unique(user_id, return_inverse=True)
    n = len(users)
    if n < 2 or equal.sum() <= 0:
        return None
    sums = np.stack([np.bincount(row, equal, n), np.bincount(row, greenflow, n)], axis=1)
    totals = np.empty((draws, 2))
    chunk = max(1, 4_000_000 // n)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        totals[start : start + size] = rng.multinomial(n, np.full(n, 1 / n), size=size) @ sums
    totals = totals[totals[:, 0] > 0]
    low, high = np.quantile(1 - totals[:, 1] / totals[:, 0], [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
