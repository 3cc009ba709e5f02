"""Spend over time: series for pictures, and how well a budget was kept, window by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.loadtest.result import ArmResult


def edges(duration_s: float, width_s: float) -> npt.NDArray[np.float64]:
    """Edges of windows from 0 to the duration; the last may be shorter than ``width_s``, but not by rounding alone."""
    count = max(1, int(np.ceil(duration_s / width_s - 1e-6)))
    out = np.arange(count + 1, dtype=np.float64) * width_s
    out[-1] = duration_s
    return out


def sums(
    result: ArmResult, bounds: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Sum of ``weights`` (one a request) of the requests *due* in each window, float64 ``[windows]``.

    The instant at which a request was due is the same in both arms, so that their windows compare.
    """
    return np.histogram(result.requests.scheduled, bins=bounds, weights=weights)[0].astype(np.float64)


def spend(result: ArmResult, bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Recounted FLOPs of each window, float64 ``[windows]``."""
    return sums(result, bounds, result.recounted.astype(np.float64))


def demand(equal: ArmResult, bounds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """FLOPs of each window had every request got the EQUAL arm's chain, float64 ``[windows]``.

    For answered requests that is what the EQUAL arm spent; a request it failed to answer counts as the chain that it
    would have got, or an overloaded EQUAL arm would seem to ask for less.
    """
    served = equal.recounted.astype(np.float64)
    full = served[equal.ok].max(initial=0.0)
    return sums(equal, bounds, np.where(equal.ok, served, full))


@dataclass(frozen=True)
class Kept:
    """How a budget was kept.

    Attributes:
        utilisation: μ, mean over windows of min(spend, C) ÷ min(C, demand); windows without demand are left out.
        overuse: ν, mean over windows of max(spend − C, 0) ÷ C.
        windows: their number.
        worst: largest spend ÷ C.
    """

    utilisation: float | None
    overuse: float
    windows: int
    worst: float


def kept(equal: ArmResult, greenflow: ArmResult, flops_per_second: float, width_s: float = 5.0) -> Kept:
    """μ and ν of the GreenFlow arm, after MaRCA's metrics (arXiv 2512.24325).

    C is the budget of a window. Utilisation is measured against min(C, demand): where even the fullest chains would not
    have spent the budget, spending what they cost is all there is to spend.
    """
    bounds = edges(greenflow.duration_s, width_s)
    budget = flops_per_second * np.diff(bounds)
    spent, asked = spend(greenflow, bounds), demand(equal, bounds)
    possible = np.minimum(budget, asked)
    some = possible > 0
    used = np.minimum(np.minimum(spent, budget)[some] / possible[some], 1.0)
    over = np.maximum(spent - budget, 0) / budget
    return Kept(
        float(used.mean()) if some.any() else None, float(over.mean()), len(budget), float((spent / budget).max())
    )
