"""Arm against arm: what was saved and at what cost, phase by phase, how the budget was kept, and the frontier."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from greenflow_ray.energy.metering.processes import LEDGER, METER
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import BudgetCourse, first_second, kept, over_after, ratios, settling_s
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.report import contents
from greenflow_ray.report.contents import Intervals
from greenflow_ray.report.course import finite
from greenflow_ray.statistics import block_interval, quantile_difference_intervals, ratio_interval, saving_interval

WINDOW_S = 5.0
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SHOWN = 0.2  # changes of the budget by less than this share are the meters' and not an operator's, and are not listed
MOST_CHANGES = 12  # a budget that changed more often follows something, and its single changes say nothing
REPRICING = "repricing job"  # among the parts of GreenFlow's own cost, and among the deployments
OWN = ("allocator", LEDGER, METER)  # deployments and actors that only GreenFlow needs
POINTS = 61  # points of the frontier


def ratio(new: float | None, old: float | None) -> float | None:
    """new ÷ old, or None where that means nothing."""
    return None if new is None or not old else new / old


def less(new: float | None, old: float | None) -> float | None:
    """1 − new ÷ old, or None where that means nothing."""
    return None if new is None or not old else 1 - new / old


def saving(equal: ArmResult, greenflow: ArmResult, arms: contents.Arms, seed: int) -> contents.Saving:
    """Savings of the whole trace; intervals for what is counted a request at a time."""
    a, b = arms.equal, arms.greenflow
    old, new = (np.where(arm.ok, arm.requests.latency, np.nan) for arm in (equal, greenflow))
    found = quantile_difference_intervals(
        equal.requests.user_id, old, new, list(QUANTILES.values()), np.random.default_rng(seed)
    )
    waits = {q: (getattr(a.latency_seconds, q), getattr(b.latency_seconds, q)) for q in QUANTILES}
    return contents.Saving(
        flops=less(b.flops, a.flops),
        clicks=less(b.clicks, a.clicks),
        cpu_seconds=less(b.cpu_seconds, a.cpu_seconds),
        energy=less(b.energy_joules, a.energy_joules),
        carbon=less(b.carbon_grams, a.carbon_grams),
        intervals=_saving_intervals(equal, greenflow, seed),
        latency_seconds={q: y - x for q, (x, y) in waits.items() if x is not None and y is not None},
        latency_intervals=dict(zip(QUANTILES, found, strict=True)) if found else {},
    )


def against(
    rival: ArmResult, greenflow: ArmResult, old: contents.Arm, new: contents.Arm, seed: int
) -> contents.Against:
    """GreenFlow ÷ a rival; intervals for what is counted a request at a time."""
    return contents.Against(
        clicks=ratio(new.clicks, old.clicks),
        flops=ratio(new.flops, old.flops),
        cpu_seconds=ratio(new.cpu_seconds, old.cpu_seconds),
        joules=ratio(new.energy_joules, old.energy_joules),
        marginal_joules=ratio(new.marginal_joules, old.marginal_joules),
        intervals={n: (1 - high, 1 - low) for n, (low, high) in _saving_intervals(rival, greenflow, seed).items()},
    )


def _saving_intervals(rival: ArmResult, greenflow: ArmResult, seed: int) -> Intervals:
    out: Intervals = {}
    for name, x, y in (
        ("flops", rival.recounted, greenflow.recounted),
        ("clicks", rival.requests.clicks, greenflow.requests.clicks),
    ):
        old, new = x.astype(np.float64), y.astype(np.float64)
        if found := saving_interval(rival.requests.user_id, old, new, np.random.default_rng(seed)):
            out[name] = found
    return out


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
    equal: ArmResult, greenflow: ArmResult, course: BudgetCourse | None, spike: tuple[float, float] | None, seed: int
) -> contents.Budget:
    """How the GreenFlow arm kept its budget, also one that changed; each request counts at the instant it was due."""
    if course is None:
        return contents.Budget(flops_per_second=None, utilisation=None, overuse=None, window_seconds=WINDOW_S)
    end, due, flops = greenflow.duration_s, greenflow.requests.scheduled, greenflow.recounted
    found = kept(equal, greenflow, course, WINDOW_S)
    used, full = ratios(equal, greenflow, course, WINDOW_S)
    series = {"utilisation": used, "overuse": np.maximum(full - 1, 0)}
    intervals = {name: block_interval(values, np.random.default_rng(seed)) for name, values in series.items()}
    inside = (course.times < end) & (np.append(course.times[1:], np.inf) > 0)
    rates = course.flops_per_second[inside]
    moves = course.steps(end, SHOWN)
    until = [*(t for t, _, _ in moves[1:]), end]
    held = None
    if spike is not None:
        after = asdict(over_after(due, flops, course, *spike, width_s=WINDOW_S))
        first = finite(first_second(due, flops, course, spike[0]))
        held = contents.SpikeKept(begin=spike[0], end=spike[1], first_second=first, **after)
    return contents.Budget(
        flops_per_second=finite(float(course.integral(np.array([0.0, end]))[0]) / end),
        utilisation=found.utilisation,
        overuse=found.overuse,
        window_seconds=WINDOW_S,
        windows=found.windows,
        worst_window=found.worst,
        lowest_flops_per_second=finite(rates.min()),
        highest_flops_per_second=finite(rates.max()),
        intervals={name: interval for name, interval in intervals.items() if interval is not None},
        course=tuple(zip(course.times[inside].tolist(), map(finite, rates), strict=True)) if len(rates) > 1 else (),
        changes=tuple(
            contents.BudgetChange(
                t=t,
                before=finite(before),
                after=finite(after),
                settling_seconds=settling_s(due, flops, course, t, next_t),
            )
            for (t, before, after), next_t in zip(moves if len(moves) <= MOST_CHANGES else (), until, strict=False)
        ),
        spike=held,
    )


def overhead(
    result: ArmResult, reward_flops: int | None, p99_s: float | None, repricing_cpu_seconds: float | None
) -> contents.Overhead:
    """What GreenFlow itself costs: its own parts + repricing, ÷ all of Serve + repricing; unknown parts left out."""
    own = (reward_flops or 0) * int(np.count_nonzero(result.ok))
    parts = {name.lower(): spent for name, spent in result.cpu_seconds.items() if name.lower() in OWN}
    total = sum(result.cpu_seconds.values()) + (repricing_cpu_seconds or 0.0)
    if repricing_cpu_seconds is not None:
        parts[REPRICING] = repricing_cpu_seconds
    return contents.Overhead(
        flops_share=None if reward_flops is None or not result.ok.any() else own / (own + int(result.recounted.sum())),
        cpu_share=sum(parts.values()) / total if result.cpu_seconds and total > 0 else None,
        p99_seconds=p99_s,
        cpu_seconds=parts,
    )


def curve(
    frontier: Frontier, equal: ArmResult, greenflow: ArmResult, seed: int, tuned: ArmResult | None = None
) -> contents.Frontier | None:
    """The frontier's points, closer together where it bends, and the arms' realised means; None if it is empty."""
    if not frontier.requests > 0:
        return None
    flops = frontier.floor + (frontier.top - frontier.floor) * np.linspace(0.0, 1.0, POINTS) ** 1.5
    return contents.Frontier(
        points=tuple(contents.FrontierPoint(flops=x, clicks=frontier.reward(x)) for x in dict.fromkeys(flops.tolist())),
        requests=frontier.requests,
        equal=_point(frontier, equal, seed),
        tuned=None if tuned is None else _point(frontier, tuned, seed),
        today=_point(frontier, greenflow, seed),
    )


def _point(frontier: Frontier, arm: ArmResult, seed: int) -> contents.ArmPoint:
    requests = max(len(arm.requests), 1)
    flops = float(arm.recounted.sum()) / requests
    clicks = arm.requests.clicks.astype(np.float64)
    return contents.ArmPoint(
        flops=flops,
        clicks=float(clicks.sum()) / requests,
        clicks_interval=ratio_interval(arm.requests.user_id, clicks, np.ones(len(clicks)), np.random.default_rng(seed)),
        predicted=frontier.reward(flops) if flops >= frontier.floor else None,
    )
