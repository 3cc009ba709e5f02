"""Spend against a budget over a day (the paper's Figure 5): final users' requests under simulated traffic."""

from __future__ import annotations

import numpy as np

from greenflow_ray.evaluation.findings.shape import Tracking
from greenflow_ray.pricing.control.controller import ControllerSettings, PriceController
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.kernels.choice import PriceDirective, choose, request_hashes, within_allowance

WINDOWS, WINDOW_S, TICKS = 96, 900.0, 15  # a day of quarters of an hour; the controller acts every minute
MEAN_RATE = 1.0  # requests a second, the day's mean


def demand(rng: np.random.Generator) -> F64:
    """Requests a second by minute: a daily wave with an evening peak, noise, and two spikes of an hour, 3× and 5×."""
    minutes = np.arange(WINDOWS * TICKS)
    hours = minutes / 60
    wave = 1 + 0.45 * np.sin((hours - 9) / 24 * 2 * np.pi) + 0.25 * np.exp(-0.5 * ((hours - 20) / 1.5) ** 2)
    spike = np.where((hours >= 11) & (hours < 12), 3.0, 1.0) * np.where((hours >= 17.5) & (hours < 18.0), 5.0, 1.0)
    noise = np.exp(0.03 * rng.normal(size=len(minutes)))
    return np.asarray(MEAN_RATE * wave * spike * noise / (wave * spike).mean(), dtype=np.float64)


def track(fitting: F32, final: F32, costs: F64, share: float, seed: int) -> Tracking:
    """Serve a day of final users at a constant budget of ``share`` of what the fullest chain would take on average.

    ``fitting`` and ``final`` are predicted rewards ``[n, J]``: the frontier comes from the former, the requests (drawn
    with replacement, no click needed) from the latter. Three ways to price: never (EQUAL, the fullest chain), once
    for the day's mean traffic, and by the controller, which looks the price of the moment's traffic up.
    """
    rng = np.random.default_rng([seed, 0xDA1])
    rates = demand(rng)
    frontier = Frontier.build(fitting, costs)
    budget = share * float(costs.max()) * MEAN_RATE
    clock = [0.0]
    tick = WINDOW_S / TICKS
    settings = ControllerSettings(
        cheapest=int(np.argmin(costs)),
        interval_s=tick,
        burst_s=5 * tick,
        repay_s=5 * tick,
        memory_s=10 * tick,
        stale_after_s=2 * 86400.0,
        expire_after_s=3 * 86400.0,
    )
    controller = PriceController(settings, lambda: clock[0])
    controller.set_frontier(frontier, 1)
    controller.set_budget(budget)
    mix = frontier.mix(budget / MEAN_RATE)
    once = PriceDirective(mix.low, mix.high, mix.high_share, 1, False, settings.cheapest)
    spend = {name: np.zeros(len(rates)) for name in ("EQUAL", "price solved once", "GreenFlow")}
    arrived = 0.0
    for minute, rate in enumerate(rates):
        clock[0] += tick
        now = controller.tick(arrived, float(spend["GreenFlow"][minute - 1] * tick) if minute else 0.0)
        arrived = float(rng.poisson(rate * tick))
        rows = rng.integers(len(final), size=int(arrived))
        hashes = request_hashes(rng.integers(2**62, size=len(rows)))
        mine = choose(final[rows], costs, now.directive, hashes)
        served = {
            "EQUAL": np.full(len(rows), int(np.argmax(costs))),
            "price solved once": choose(final[rows], costs, once, hashes),
            "GreenFlow": within_allowance(mine, costs, now.directive, now.allowance),
        }
        for name, chosen in served.items():
            spend[name][minute] = costs[chosen].sum() / tick
    windows = {name: s.reshape(WINDOWS, TICKS).mean(axis=1) for name, s in spend.items()}
    by_window = rates.reshape(WINDOWS, TICKS).mean(axis=1)
    # Below the cheapest chain for everybody no policy can go: such windows would judge the budget, not the policy.
    able = by_window * float(costs.min()) <= budget
    return Tracking(
        window_s=WINDOW_S,
        demand=tuple(by_window.tolist()),
        budget=(budget,) * WINDOWS,
        spend={name: tuple(s.tolist()) for name, s in windows.items()},
        utilisation={n: float(np.minimum(s[able], budget).mean() / budget) for n, s in windows.items()},
        overuse={n: float(np.maximum(s[able] - budget, 0).mean() / budget) for n, s in windows.items()},
    )
