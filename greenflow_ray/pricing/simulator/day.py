"""The simulated loop, second by second, and the figures that judge it.

Definitions (μ and ν after arXiv 2512.24325; C is the budget of a minute, D its demand: what price 0 would spend):
    utilisation       mean over minutes of min(cost, T) / T, T = min(C, D)
    overuse           mean over minutes of (max(cost, C) − C) / C
    spike_first_tick  spend ÷ budget in the first second whose price could know of the spike (the second after it
                      begins), the worst of all spikes; ``spike_unseen_second`` is the one before
    regret            1 − reward ÷ hindsight optimum, the optimum being the sum over minutes of the most that the
                      minute's own requests could earn within the minute's budget, all known in advance
    regret_day        the same against an optimum that may also shift budget freely between minutes of the whole day
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from greenflow_ray.pricing.control.controller import ControllerSettings, PriceNow
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.inputs import F64
from greenflow_ray.pricing.kernels.choice import choose, request_hashes, within_allowance
from greenflow_ray.pricing.simulator.world import MINUTE, World
from greenflow_ray.support.progress import Progress, silent

REPRICE_S = 300
"""Seconds between two frontiers, each of the last as many seconds' samples."""
SAMPLED = 10
"""One request in so many is logged."""


@dataclass(frozen=True, eq=False)
class Day:
    """What happened, second by second (``price``, ``spend``, ``correction``) and minute by minute (the others)."""

    price: F64
    spend: F64
    correction: F64
    cost: F64
    reward: F64
    optimum: F64
    demand: F64
    day_optimum: float
    capped_seconds: int


class Pricer(Protocol):
    """What ``play`` drives: a ``PriceController`` or one of its rivals."""

    def set_budget(self, per_second: float | None) -> None: ...  # noqa: D102
    def set_frontier(self, frontier: Frontier, version: int) -> None: ...  # noqa: D102
    def tick(self, requests: float, spend: float) -> PriceNow: ...  # noqa: D102
    def state(self) -> dict[str, Any]: ...  # noqa: D102
    def restore(self, state: dict[str, Any]) -> None: ...  # noqa: D102


def settings_for(world: World) -> ControllerSettings:
    """The controller's defaults, at one tick a second."""
    return ControllerSettings(cheapest=int(np.argmin(world.costs)), interval_s=1.0)


def play(
    world: World, make: Callable[[Callable[[], float]], Pricer], progress: Progress = silent, *, hold: bool = True
) -> Day:
    """Run the loop over ``world`` with the pricer of ``make(clock)``; ``hold``: allocators keep to its allowance."""
    seconds, minutes = len(world.counts), len(world.scale)
    clock = [0.0]
    controller = make(lambda: clock[0])
    controller.set_budget(float(world.budget[0]))
    now: PriceNow = controller.tick(0, 0.0)
    price, spend, correction = np.zeros(seconds), np.zeros(seconds), np.ones(seconds)
    cost, reward, optimum, demand = (np.zeros(minutes) for _ in range(4))
    whole = Frontier.empty()
    window: list[Frontier] = []
    published: tuple[Frontier, int] | None = None
    saved = controller.state()
    unreported = [0.0, 0.0]
    capped = served = 0
    rng = np.random.default_rng([world.seed, 1])
    half = len(world.rewards) // 2
    for minute in range(minutes):
        first = minute * MINUTE
        counts = world.counts[first : first + MINUTE]
        total = int(counts.sum())
        rows = rng.integers(0, half, total) + half * (rng.random(total) < world.searching[minute])
        rewards = world.rewards[rows] * world.scale[minute]
        hashes = request_hashes(np.arange(served, served + total))
        served += total
        ends = np.cumsum(counts)
        for i in range(MINUTE):
            second = first + i
            a, b = int(ends[i] - counts[i]), int(ends[i])
            mine = rewards[a:b]
            chosen = choose(mine, world.costs, now.directive, hashes[a:b])
            if hold:
                chosen = within_allowance(chosen, world.costs, now.directive, now.allowance)
            spend[second] = world.costs[chosen].sum()
            reward[minute] += float(mine[np.arange(b - a), chosen].sum(dtype=np.float64))
            price[second], correction[second] = now.price, now.correction
            capped += now.directive.capped
            clock[0] = second + 1.0
            unreported[0] += b - a
            unreported[1] += spend[second]
            if world.restart[0] <= second < world.restart[1]:
                continue  # the ledger is down: allocators keep the last price
            if second == world.restart[1]:
                controller = make(lambda: clock[0])
                controller.restore(json.loads(json.dumps(saved)))
                if published is not None:
                    controller.set_frontier(*published)
            if second + 1 < seconds and world.budget[second + 1] != world.budget[second]:
                controller.set_budget(float(world.budget[second + 1]))
            now = controller.tick(*unreported)
            unreported = [0.0, 0.0]
            saved = controller.state()
        found = Frontier.build(rewards, world.costs) if total else Frontier.empty()
        whole += found
        budget = float(world.budget[first : first + MINUTE].sum())
        cost[minute] = spend[first : first + MINUTE].sum()
        if total:
            demand[minute] = found.top * total
            optimum[minute] = found.reward(max(budget / total, found.floor)) * total
            window.append(Frontier.build(rewards[::SAMPLED], world.costs))
        window = window[-REPRICE_S // MINUTE :]
        out = world.outage[0] <= first < world.outage[1]
        if window and not out and (minute == 0 or (minute + 1) % (REPRICE_S // MINUTE) == 0):
            published = (sum(window[1:], window[0]), minute + 1)
            controller.set_frontier(*published)
        if minute % 15 == 14 or minute + 1 == minutes:
            progress("simulating the day", (minute + 1) / minutes)
    day = whole.reward(float(world.budget.sum()) / whole.requests) * whole.requests
    return Day(price, spend, correction, cost, reward, optimum, demand, day, capped)


def judge(world: World, day: Day) -> dict[str, Any]:
    """The figures defined at the top of this module, and what explains them."""
    budget = world.budget.reshape(-1, MINUTE).sum(axis=1)
    target = np.minimum(budget, day.demand)
    busy = target > 0
    ratio = day.spend / world.budget
    spikes = [s for s in world.spikes if s.start + 1 < len(ratio)]
    over = np.maximum(day.cost - budget, 0.0) / budget
    return {
        "utilisation": float(np.mean(np.minimum(day.cost, target)[busy] / target[busy])),
        "overuse": float(over.mean()),
        "spike_first_tick": max(float(ratio[s.start + 1]) for s in spikes),
        "regret": float(1.0 - day.reward.sum() / day.optimum.sum()),
        "spike_unseen_second": max(float(ratio[s.start]) for s in spikes),
        "spike_first_ten_seconds": max(float(ratio[s.start : s.start + 10].mean()) for s in spikes),
        "regret_day": float(1.0 - day.reward.sum() / day.day_optimum),
        "worst_minute_overuse": float(over.max()),
        "minutes_where_budget_binds": int((budget < day.demand).sum()),
        "capped_seconds": day.capped_seconds,
        "requests": int(world.counts.sum()),
    }
