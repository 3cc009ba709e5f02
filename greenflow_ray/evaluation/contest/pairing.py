"""How sure a comparison is: policies on the same users, compared in pairs, users drawn whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.evaluation.findings.shape import Interval
from greenflow_ray.pricing.inputs import F64
from greenflow_ray.statistics import percentiles, weights

DRAWS = 2000


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one policy did at one budget, summed over seeds and cuts for each user: all ``[users]``, the clusters."""

    clicks: F64
    flops: F64
    requests: F64

    @classmethod
    def of(
        cls, user: npt.NDArray[np.int64], users: int, clicks: npt.NDArray[np.floating], flops: npt.NDArray[np.floating]
    ) -> Outcome:
        """Sum rows ``[n]`` by their ``user``, an index below ``users``."""
        requests = np.bincount(user, minlength=users).astype(np.float64)
        sums = [np.bincount(user, np.asarray(w, dtype=np.float64), users).astype(np.float64) for w in (clicks, flops)]
        return cls(sums[0], sums[1], requests)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(self.clicks + other.clicks, self.flops + other.flops, self.requests + other.requests)

    @property
    def mean_clicks(self) -> float:
        """Clicks a request."""
        return float(self.clicks.sum() / self.requests.sum())


@dataclass(frozen=True)
class Drawn:
    """An outcome seen from every draw: clicks and FLOPs a request, float64 ``[draws + 1]``, the sample itself first."""

    clicks: F64
    flops: F64


class Bootstrap:
    """The same draws of users for every comparison (Efron and Tibshirani 1993, percentile intervals)."""

    def __init__(self, users: int, seed: int, draws: int = DRAWS) -> None:
        rng = np.random.default_rng([seed, 0xB007])
        self._weights = np.concatenate([np.ones((1, users)), weights(users, draws, rng)])
        self._cache: dict[Outcome, Drawn] = {}

    def see(self, outcome: Outcome) -> Drawn:
        """``outcome`` in every draw."""
        if outcome not in self._cache:
            requests = np.maximum(self._weights @ outcome.requests, 1e-12)
            sums = self._weights @ outcome.clicks, self._weights @ outcome.flops
            self._cache[outcome] = Drawn(sums[0] / requests, sums[1] / requests)
        return self._cache[outcome]

    def clicks(self, outcome: Outcome) -> Interval:
        """Mean clicks a request."""
        return interval(self.see(outcome).clicks)

    def ratio(self, outcome: Outcome, other: Outcome) -> Interval:
        """Clicks of ``outcome`` ÷ clicks of ``other``."""
        return self.mean_ratio([outcome], [other])

    def mean_ratio(self, outcomes: list[Outcome], others: list[Outcome]) -> Interval:
        """Mean over pairs (one a budget) of clicks ÷ clicks."""
        pairs = [(self.see(a).clicks, self.see(b).clicks) for a, b in zip(outcomes, others, strict=True)]
        return interval(np.mean([a / np.maximum(b, 1e-12) for a, b in pairs], axis=0))

    def flops_at(self, curve: list[Outcome], wanted: Outcome, *, level: float = 1.0, mixed: bool = True) -> F64:
        """FLOPs a request at which ``curve``, by rising budget, earns ``level`` × ``wanted``, in every draw.

        NaN where it never does. A curve is taken for the best of all that costs no more. With ``mixed`` one may stand
        between two budgets (requests shared between them); without, only on them.
        """
        clicks = np.maximum.accumulate([self.see(o).clicks for o in curve], axis=0)
        flops = np.maximum.accumulate([self.see(o).flops for o in curve], axis=0)
        target = level * self.see(wanted).clicks
        reached = clicks >= target
        at = np.argmax(reached, axis=0)
        draw = np.arange(len(target))
        high = flops[at, draw]
        if mixed:
            before = np.maximum(at - 1, 0)
            gained = clicks[at, draw] - clicks[before, draw]
            share = np.where(gained > 0, (target - clicks[before, draw]) / np.maximum(gained, 1e-12), 1.0)
            high = np.where(at > 0, flops[before, draw] + share * (high - flops[before, draw]), high)
        return np.where(reached.any(axis=0), high, np.nan)


def interval(draws: F64) -> Interval:
    """The first entry's value with the percentiles of the others. Draws that are not finite are left out."""
    low, high = percentiles(draws[1:]) if np.isfinite(draws[1:]).any() else (float(draws[0]), float(draws[0]))
    return Interval(value=float(draws[0]), low=low, high=high)
