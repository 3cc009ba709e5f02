"""The day at a glance: traffic, price, and spend against budget and demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from greenflow_ray.pricing.simulator.day import Day
from greenflow_ray.pricing.simulator.world import MINUTE, World


def draw(path: Path, world: World, day: Day, report: dict[str, Any]) -> None:
    """Write a PNG of three panels over the hours of the day."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    minutes = len(day.cost)
    hours = np.arange(minutes) / 60.0
    figure = Figure(figsize=(11, 8), layout="constrained")
    FigureCanvasAgg(figure)
    traffic, price, spend = figure.subplots(3, 1, sharex=True)
    traffic.plot(hours, world.counts.reshape(-1, MINUTE).mean(axis=1), color="tab:blue", lw=1)
    traffic.set_ylabel("requests / s")
    grid = traffic.twinx()
    grid.stairs(world.intensity, np.linspace(0, minutes / 60, 25), baseline=None, color="tab:gray", lw=1)
    grid.set_xlim(0, minutes / 60)
    grid.set_ylabel("gCO2e / kWh", color="tab:gray")
    price.plot(hours, day.price.reshape(-1, MINUTE).mean(axis=1) * 1e9, color="tab:red", lw=1)
    price.set_ylabel("price (clicks / GFLOP)")
    correction = price.twinx()
    correction.plot(hours, day.correction.reshape(-1, MINUTE)[:, -1], color="tab:orange", lw=0.8)
    correction.set_ylabel("correction", color="tab:orange")
    spend.plot(hours, day.demand / MINUTE / 1e9, color="tab:blue", lw=0.8, alpha=0.5, label="demand at price 0")
    spend.plot(hours, day.cost / MINUTE / 1e9, color="tab:green", lw=1, label="spend")
    budget = world.budget.reshape(-1, MINUTE).mean(axis=1)
    spend.plot(hours, budget / 1e9, color="black", lw=1, ls="--", label="budget")
    spend.set_yscale("log")
    spend.set_ylabel("GFLOP / s")
    spend.set_xlabel("hour of the day")
    for panel in (traffic, price, spend):
        panel.axvspan(world.outage[0] / 3600, world.outage[1] / 3600, color="tab:red", alpha=0.12)
        panel.axvline(world.restart[0] / 3600, color="tab:purple", lw=1, ls=":")
    spend.plot([], [], color="tab:red", alpha=0.3, lw=6, label="solver outage")
    spend.plot([], [], color="tab:purple", ls=":", label="ledger restart")
    spend.legend(loc="lower right", ncols=3, fontsize=8)
    traffic.set_title(
        f"utilisation {report['utilisation']:.2%}   over-use {report['overuse']:.3%}   "
        f"first tick after a 5× spike {report['spike_first_tick']:.3f}   regret {report['regret']:.2%}"
    )
    figure.savefig(path, dpi=110)
