"""Bootstraps: how sure one trace can be of a saving, a rate, a quantile's difference or a mean over windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]
Interval = tuple[float, float]

CELLS = 4_000_000
"""Numbers that one chunk of draws may hold."""


def saving_interval(
    user_id: npt.NDArray[np.int64], equal: Array, greenflow: Array, rng: np.random.Generator, *, draws: int = 2000
) -> Interval | None:
    """Percentile interval of 1 − Σ greenflow ÷ Σ equal, users drawn with replacement, both arms' rows together.

    All three are ``[n]``, one entry a request, in the same order. Whole users are drawn, because one user's requests
    depend on each other, and so do one request's two arms. None if EQUAL's sum is 0 or there are fewer than two users.
    """
    found = ratio_interval(user_id, greenflow, equal, rng, draws=draws)
    return (1 - found[1], 1 - found[0]) if found else None


def ratio_interval(
    user_id: npt.NDArray[np.int64], over: Array, under: Array, rng: np.random.Generator, *, draws: int = 2000
) -> Interval | None:
    """Percentile interval of Σ over ÷ Σ under, whole users drawn; e.g. clicks per request with ``under`` of ones.

    All ``[n]``, one entry a request. None if ``under`` sums to 0 or there are fewer than two users.
    """
    users, row = np.unique(user_id, return_inverse=True)
    n = len(users)
    if n < 2 or under.sum() <= 0:
        return None

    def ratio(above: Array, below: Array, axis: int) -> Array:
        sums = below.sum(axis=axis)
        out: Array = np.divide(above.sum(axis=axis), sums, out=np.full_like(sums, np.nan), where=sums > 0)
        return out

    found = stats.bootstrap(
        (np.bincount(row, over, n), np.bincount(row, under, n)),
        ratio,
        n_resamples=draws,
        batch=max(1, CELLS // n),
        vectorized=True,
        paired=True,
        method="percentile",
        rng=rng,
    )
    return percentiles(found.bootstrap_distribution)


def quantile_difference_intervals(
    user_id: npt.NDArray[np.int64],
    equal: Array,
    greenflow: Array,
    quantiles: Sequence[float],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
) -> list[Interval] | None:
    """Percentile interval of each of GreenFlow's quantiles less EQUAL's, whole users drawn, both arms' rows together.

    ``equal`` and ``greenflow`` are ``[n]``, e.g. latencies, NaN where there is none. None if an arm has no value or
    there are fewer than two users.
    """
    users, row = np.unique(user_id, return_inverse=True)
    if len(users) < 2 or not np.isfinite(equal).any() or not np.isfinite(greenflow).any():
        return None
    sides = []
    for values in (equal, greenflow):
        order = np.argsort(values)[: np.count_nonzero(np.isfinite(values))]  # NaN sorts last
        sides.append((values[order], row[order]))
    differences = []
    chunk = max(1, CELLS // len(user_id))
    for start in range(0, draws, chunk):
        counts = weights(len(users), min(chunk, draws - start), rng)
        old, new = (_weighted(values, counts[:, rows], quantiles) for values, rows in sides)
        differences.append(new - old)
    found = np.concatenate(differences)
    found = found[np.isfinite(found).all(axis=1)]
    return [percentiles(column) for column in found.T] if len(found) else None


def block_interval(values: Array, rng: np.random.Generator, *, draws: int = 2000, least: int = 8) -> Interval | None:
    """Percentile interval of the mean of a series: circular block bootstrap, NaN left out.

    Blocks of about the cube root of the series' length keep neighbours together, which depend on each other (Politis
    and Romano 1992; Hall, Horowitz and Jing 1995). None for fewer than ``least`` values.
    """
    values = values[np.isfinite(values)]
    n = len(values)
    if n < least:
        return None
    length = max(1, round(n ** (1 / 3)))
    starts = rng.integers(0, n, (draws, -(-n // length)))
    rows = (starts[:, :, None] + np.arange(length)) % n
    return percentiles(values[rows.reshape(draws, -1)[:, :n]].mean(axis=1))


def weights(users: int, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """How often each user was drawn, whole users with replacement, int64 ``[draws, users]``."""
    return rng.multinomial(users, np.full(users, 1 / users), draws)


def percentiles(values: Array) -> Interval:
    """The middle 95 % of a bootstrap's draws (Efron and Tibshirani 1993); those that are not finite are left out.

    At least one must be finite.
    """
    low, high = np.quantile(values[np.isfinite(values)], [0.025, 0.975])
    return float(low), float(high)


def _weighted(ordered: Array, counts: npt.NDArray[np.int64], quantiles: Sequence[float]) -> Array:
    """Quantiles of ascending values ``[n]`` under each row of ``counts`` ``[draws, n]``, float64 ``[draws, q]``.

    NaN where the counts sum to 0.
    """
    below = np.cumsum(counts, axis=1)
    out = np.full((len(counts), len(quantiles)), np.nan)
    for draw, sums in enumerate(below):
        if sums[-1] > 0:
            out[draw] = ordered[np.searchsorted(sums, np.asarray(quantiles) * sums[-1])]
    return out
