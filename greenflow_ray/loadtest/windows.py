"""Spend over time: series for pictures, and how well a budget was kept, window by window, also one that changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult

Array = npt.NDArray[np.float64]

MEAN_S, SETTLED = 2.0, 1.05
"""Spend that exceeds a new budget by no more than this factor, over so many seconds, is at the budget."""


@dataclass(frozen=True, eq=False)
class BudgetCourse:
    """A budget that holds from each of its times until the next one; the first one also holds before its time.

    Attributes:
        times: float64 ``[k]``, seconds, strictly increasing.
        flops_per_second: float64 ``[k]``, FLOP/s, at least 0; infinite where there is no limit.

    Raises DataError where they do not fit together.
    """

    times: Array
    flops_per_second: Array

    def __post_init__(self) -> None:
        times, rates = (np.asarray(values, np.float64) for values in (self.times, self.flops_per_second))
        if times.ndim != 1 or times.shape != rates.shape or not len(times):
            raise DataError("budget course: times and flops_per_second must be lists of one length, at least 1")
        if not np.isfinite(times).all() or np.any(np.diff(times) <= 0):
            raise DataError("budget course: times must be finite and increase strictly; sort them, drop duplicates")
        if not np.all(rates >= 0):
            raise DataError("budget course: flops_per_second must be at least 0; use infinity where there is no limit")
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "flops_per_second", rates)

    @classmethod
    def constant(cls, flops_per_second: float) -> BudgetCourse:
        """A budget that does not change."""
        return cls(np.zeros(1), np.array([flops_per_second]))

    def at(self, t: float) -> float:
        """FLOP/s in force at second ``t``."""
        return float(self.flops_per_second[max(int(np.searchsorted(self.times, t, side="right")) - 1, 0)])

    def integral(self, bounds: Array) -> Array:
        """FLOPs that the budget allows in each window ``[bounds[i], bounds[i+1])``, float64 ``[windows]``."""
        knots = np.unique(np.concatenate([bounds, self.times]))
        rates = self.flops_per_second[np.maximum(np.searchsorted(self.times, knots[:-1], side="right") - 1, 0)]
        free = np.isinf(rates)
        spans = np.diff(knots)

        def upto(values: Array) -> Array:
            total = np.concatenate([[0.0], np.cumsum(values)])
            return np.asarray(total[np.searchsorted(knots, bounds)], np.float64)

        allowed = np.diff(upto(np.where(free, 0.0, rates) * spans))
        return np.where(np.diff(upto(np.where(free, spans, 0.0))) > 0, np.inf, allowed)

    def steps(self, end: float, least: float = 0.05) -> list[tuple[float, float, float]]:
        """Changes after second 0 and before ``end`` by more than the share ``least``: (time, from, to)."""
        out: list[tuple[float, float, float]] = []
        old = self.at(0.0)
        for t, new in zip(self.times.tolist(), self.flops_per_second.tolist(), strict=True):
            if 0 < t < end and abs(new - old) > least * min(new, old):
                out.append((t, old, new))
                old = new
        return out


def edges(duration_s: float, width_s: float) -> Array:
    """Edges of windows from 0 to the duration; the last may be shorter than ``width_s``, but not by rounding alone."""
    count = max(1, int(np.ceil(duration_s / width_s - 1e-6)))
    out = np.arange(count + 1, dtype=np.float64) * width_s
    out[-1] = duration_s
    return out


def sums(result: ArmResult, bounds: Array, weights: npt.ArrayLike) -> Array:
    """Sum of ``weights`` (one a request) of the requests *due* in each window, float64 ``[windows]``.

    The instant at which a request was due is the same in both arms, so that their windows compare.
    """
    return np.histogram(result.requests.scheduled, bins=bounds, weights=np.asarray(weights, np.float64))[0]


def spend(result: ArmResult, bounds: Array) -> Array:
    """Recounted FLOPs of each window, float64 ``[windows]``."""
    return sums(result, bounds, result.recounted.astype(np.float64))


def demand(equal: ArmResult, bounds: Array) -> Array:
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


def ratios(equal: ArmResult, greenflow: ArmResult, budget: BudgetCourse, width_s: float = 5.0) -> tuple[Array, Array]:
    """Window by window, float64 ``[windows]`` each: min(spend, C) ÷ min(C, demand), and spend ÷ C.

    C is the budget's integral over the window. NaN where the first has no demand, or the second no budget.
    """
    bounds = edges(greenflow.duration_s, width_s)
    allowed = budget.integral(bounds)
    spent, asked = spend(greenflow, bounds), demand(equal, bounds)
    possible = np.minimum(allowed, asked)
    nothing = np.full(len(allowed), np.nan)
    used = np.divide(np.minimum(spent, allowed), possible, out=nothing.copy(), where=possible > 0)
    return np.minimum(used, 1.0), np.divide(spent, allowed, out=nothing, where=allowed > 0)


def kept(equal: ArmResult, greenflow: ArmResult, budget: float | BudgetCourse, width_s: float = 5.0) -> Kept:
    """μ and ν of the GreenFlow arm, after MaRCA's metrics (arXiv 2512.24325); ``budget`` in FLOP/s.

    C is the budget of a window. Utilisation is measured against min(C, demand): where even the fullest chains would not
    have spent the budget, spending what they cost is all there is to spend.
    """
    course = budget if isinstance(budget, BudgetCourse) else BudgetCourse.constant(budget)
    used, full = ratios(equal, greenflow, course, width_s)
    used, known = used[np.isfinite(used)], full[np.isfinite(full)]
    over = np.maximum(known - 1, 0)
    return Kept(
        float(used.mean()) if len(used) else None,
        float(over.mean()) if len(over) else 0.0,
        len(full),
        float(known.max(initial=0.0)),
    )


def share_spent(times: Array, flops: npt.NDArray[np.int64], budget: BudgetCourse, bounds: Array) -> Array:
    """Spend ÷ budget of each window ``[bounds[i], bounds[i+1])``, float64; NaN where the budget is 0.

    ``times`` are the seconds at which each answer's ``flops`` count, both ``[n]``.
    """
    inside = (times >= bounds[0]) & (times < bounds[-1])
    window = np.searchsorted(bounds, times[inside], side="right") - 1
    spent = np.bincount(window, flops[inside].astype(np.float64), len(bounds) - 1)
    allowed = budget.integral(bounds)
    shares = np.full(len(allowed), np.nan)
    np.divide(spent, allowed, out=shares, where=allowed > 0)
    return shares


def first_second(times: Array, flops: npt.NDArray[np.int64], budget: BudgetCourse, start: float) -> float:
    """Spend ÷ budget of the second that begins at ``start``, e.g. a spike's first; NaN where the budget is 0."""
    return float(share_spent(times, flops, budget, np.array([start, start + 1.0]))[0])


@dataclass(frozen=True)
class After:
    """Windows after a spike's first second: how many there are, how many spent over the budget, the fullest's share."""

    windows: int
    over: int
    worst: float


def over_after(
    times: Array, flops: npt.NDArray[np.int64], budget: BudgetCourse, start: float, end: float, *, width_s: float = 5.0
) -> After:
    """Windows of ``width_s`` from one second after ``start`` (a spike's) up to ``end``; the last may be shorter."""
    if end <= start + 1.0:
        return After(0, 0, 0.0)
    shares = share_spent(times, flops, budget, start + 1.0 + edges(end - start - 1.0, width_s))
    known = shares[np.isfinite(shares)]
    return After(len(shares), int(np.count_nonzero(known > 1.0)), float(known.max(initial=0.0)))


def settling_s(
    times: Array, flops: npt.NDArray[np.int64], budget: BudgetCourse, change: float, end: float
) -> float | None:
    """Seconds from a budget's ``change`` until spend is at the new budget; None if that is not seen before ``end``.

    It is the beginning of the half second from which on mean spend over the following two seconds is at
    most :data:`SETTLED` times the budget in force from ``change`` on. A budget that was raised is met at once: 0.
    """
    new = budget.at(change)
    for waited in np.arange(0.0, end - change - MEAN_S + 1e-9, 0.5).tolist():
        inside = (times >= change + waited) & (times < change + waited + MEAN_S)
        if float(flops[inside].sum()) <= SETTLED * new * MEAN_S:
            return float(waited)
    return None
