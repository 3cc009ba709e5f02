"""Arm against arm: what was saved, phase by phase, and how the budget was kept, with intervals."""

from __future__ import annotations

import math

import numpy as np

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import (
    BudgetCourse,
    first_second,
    kept,
    over_after,
    ratios,
    settling_s,
)
from greenflow_ray.report import contents
from greenflow_ray.statistics import block_interval, quantile_difference_intervals, saving_interval

WINDOW_S = 5.0
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SHOWN = 0.2
"""Changes of the budget by less than this share are the meters' and not an operator's, and are not listed."""
MOST_CHANGES = 12
"""A budget that changed more often follows something, and its single changes say nothing."""


def less(new: float | None, old: float | None) -> float | None:
    """1 − new ÷ old, or None where that means nothing."""
    return None if new is None or not old else 1 - new / old


def saving(equal: ArmResult, greenflow: ArmResult, arms: contents.Arms, seed: int) -> contents.Saving:
    """Savings of the whole trace; intervals for what is counted a request at a time."""
    a, b = arms.equal, arms.greenflow
    slower, slower_intervals = _slower(equal, greenflow, arms, seed)
    return contents.Saving(
        flops=less(b.flops, a.flops),
        clicks=less(b.clicks, a.clicks),
        cpu_seconds=less(b.cpu_seconds, a.cpu_seconds),
        energy=less(b.energy_joules, a.energy_joules),
        carbon=less(b.carbon_grams, a.carbon_grams),
        intervals=_saving_intervals(equal, greenflow, seed),
        latency_seconds=slower,
        latency_intervals=slower_intervals,
    )


def against(
    rival: ArmResult, greenflow: ArmResult, old: contents.Arm, new: contents.Arm, seed: int
) -> contents.Against:
    """GreenFlow ÷ a rival; intervals for what is counted a request at a time."""
    intervals = {name: (1 - high, 1 - low) for name, (low, high) in _saving_intervals(rival, greenflow, seed).items()}

    def ratio(a: float | None, b: float | None) -> float | None:
        return None if b is None or not a else b / a

    return contents.Against(
        clicks=ratio(old.clicks, new.clicks),
        flops=ratio(old.flops, new.flops),
        cpu_seconds=ratio(old.cpu_seconds, new.cpu_seconds),
        joules=ratio(old.energy_joules, new.energy_joules),
        marginal_joules=ratio(old.marginal_joules, new.marginal_joules),
        intervals=intervals,
    )


def _saving_intervals(rival: ArmResult, greenflow: ArmResult, seed: int) -> dict[str, tuple[float, float]]:
    intervals: dict[str, tuple[float, float]] = {}
    for name, x, y in (
        ("flops", rival.recounted, greenflow.recounted),
        ("clicks", rival.requests.clicks, greenflow.requests.clicks),
    ):
        old, new = x.astype(np.float64), y.astype(np.float64)
        found = saving_interval(rival.requests.user_id, old, new, np.random.default_rng(seed))
        if found is not None:
            intervals[name] = found
    return intervals


def _slower(
    equal: ArmResult, greenflow: ArmResult, arms: contents.Arms, seed: int
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """GreenFlow's quantiles of latency less EQUAL's, seconds, and their intervals."""
    old, new = (np.where(arm.ok, arm.requests.latency, np.nan) for arm in (equal, greenflow))
    found = quantile_difference_intervals(
        equal.requests.user_id, old, new, list(_QUANTILES.values()), np.random.default_rng(seed)
    )
    differences = {}
    for name in _QUANTILES:
        a, b = getattr(arms.equal.latency_seconds, name), getattr(arms.greenflow.latency_seconds, name)
        if a is not None and b is not None:
            differences[name] = b - a
    return differences, dict(zip(_QUANTILES, found, strict=True)) if found else {}


def phases(equal: ArmResult, greenflow: ArmResult, spike: tuple[float, float] | None) -> tuple[contents.Phase, ...]:
    """Steady traffic and spike, each arm against arm on its own; nothing if there was no spike."""
    if spike is None:
        return ()
    due = equal.requests.scheduled
    inside = (due >= spike[0]) & (due < spike[1])
    return tuple(
        contents.Phase(
            name=name,
            requests=int(rows.sum()),
            flops=less(float(greenflow.recounted[rows].sum()), float(equal.recounted[rows].sum())),
            clicks=less(float(greenflow.requests.clicks[rows].sum()), float(equal.requests.clicks[rows].sum())),
            degraded=int(greenflow.requests.degraded[rows].sum()),
        )
        for name, rows in (("steady traffic", ~inside), ("spike", inside))
        if rows.any()
    )


def budget(
    equal: ArmResult,
    greenflow: ArmResult,
    course: BudgetCourse | None,
    spike: tuple[float, float] | None,
    seed: int,
) -> contents.Budget:
    """How the GreenFlow arm kept its budget, also one that changed; each request counts at the instant it was due."""
    if course is None:
        return contents.Budget(flops_per_second=None, utilisation=None, overuse=None, window_seconds=WINDOW_S)
    end = greenflow.duration_s
    found = kept(equal, greenflow, course, WINDOW_S)
    used, full = ratios(equal, greenflow, course, WINDOW_S)
    intervals: dict[str, tuple[float, float]] = {}
    for name, values in (("utilisation", used), ("overuse", np.maximum(full - 1, 0))):
        interval = block_interval(values, np.random.default_rng(seed))
        if interval is not None:
            intervals[name] = interval
    inside = (course.times < end) & (np.append(course.times[1:], math.inf) > 0)
    rates = course.flops_per_second[inside]
    points = tuple((float(t), _finite(float(rate))) for t, rate in zip(course.times[inside], rates, strict=True))
    return contents.Budget(
        flops_per_second=_finite(float(course.integral(np.array([0.0, end]))[0]) / end),
        utilisation=found.utilisation,
        overuse=found.overuse,
        window_seconds=WINDOW_S,
        windows=found.windows,
        worst_window=found.worst,
        lowest_flops_per_second=_finite(float(rates.min())),
        highest_flops_per_second=_finite(float(rates.max())),
        intervals=intervals,
        course=points if len(points) > 1 else (),
        changes=_changes(greenflow, course),
        spike=_spike(greenflow, course, spike),
    )


def _changes(greenflow: ArmResult, course: BudgetCourse) -> tuple[contents.BudgetChange, ...]:
    end = greenflow.duration_s
    found = course.steps(end, SHOWN)
    if len(found) > MOST_CHANGES:
        return ()
    due, flops = greenflow.requests.scheduled, greenflow.recounted
    until = [t for t, _, _ in found[1:]] + [end]
    return tuple(
        contents.BudgetChange(
            t=t,
            before=_finite(before),
            after=_finite(after),
            settling_seconds=settling_s(due, flops, course, t, next_t),
        )
        for (t, before, after), next_t in zip(found, until, strict=False)
    )


def _spike(greenflow: ArmResult, course: BudgetCourse, spike: tuple[float, float] | None) -> contents.SpikeKept | None:
    if spike is None:
        return None
    due, flops = greenflow.requests.scheduled, greenflow.recounted
    after = over_after(due, flops, course, *spike, width_s=WINDOW_S)
    return contents.SpikeKept(
        begin=spike[0],
        end=spike[1],
        first_second=_finite(first_second(due, flops, course, spike[0])),
        windows=after.windows,
        over=after.over,
        worst=after.worst,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
