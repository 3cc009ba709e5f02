"""A simulated day written down: its figures as JSON, and a picture of traffic, price, and spend against budget."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np

from greenflow_ray.pricing.control.controller import PriceController
from greenflow_ray.pricing.simulator import day as days
from greenflow_ray.pricing.simulator import world as worlds
from greenflow_ray.pricing.simulator.day import Day
from greenflow_ray.pricing.simulator.world import MINUTE, World
from greenflow_ray.support.files import whole
from greenflow_ray.support.progress import Progress, silent
from greenflow_ray.viz import charts
from greenflow_ray.viz.style import AMBER, BUDGET, GREEN, INK, MUTED, PRICE, ROSE


def simulate(out: Path, seed: int = 0, progress: Progress = silent, *, seconds: int = worlds.DAY) -> dict[str, Any]:
    """Simulate a day and write ``simulation.json`` and ``simulation.png`` into ``out``; returns what the JSON holds.

    The same seed gives the same figures.
    """
    out.mkdir(parents=True, exist_ok=True)
    world = worlds.build(seed, seconds=seconds)
    settings = days.settings_for(world)
    began = time.perf_counter()
    day = days.play(world, lambda clock: PriceController(settings, clock), progress)
    report = days.judge(world, day)
    report |= {
        "seed": seed,
        "seconds": len(world.counts),
        "wall_seconds": round(time.perf_counter() - began, 3),
        "spikes": [{"start": s.start, "length": s.length, "factor": s.factor} for s in world.spikes],
        "solver_outage": list(world.outage),
        "ledger_down": list(world.restart),
        "carbon_intensity_g_per_kwh": world.intensity.tolist(),
        "settings": {k: getattr(settings, k) for k in settings.__dataclass_fields__},
        "definitions": (days.__doc__ or "").split("\n\n", 1)[1],
    }
    draw(out / "simulation.png", world, day, report)
    with whole(out / "simulation.json") as part:
        part.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return report


def draw(path: Path, world: World, day: Day, report: dict[str, Any]) -> None:
    """Write a PNG of three panels over the hours of the day."""
    minutes = len(day.cost)
    hours, ends = np.arange(minutes) / 60.0, np.linspace(0, minutes / 60, 25)
    spent, wanted = day.cost / MINUTE / 1e9, day.demand / MINUTE / 1e9
    budget = world.budget.reshape(-1, MINUTE).mean(axis=1) / 1e9

    def line(x: Any, y: Any, colour: str, unit: str, width: float = 1.2, *, steps: bool = False) -> alt.Chart:
        axis = alt.Axis(title=unit, titleColor=colour, orient="right" if colour in (MUTED, AMBER) else "left")
        mark = alt.Chart(charts.table(x=x, y=y)).mark_line(
            color=colour, strokeWidth=width, interpolate="step-after" if steps else "linear"
        )
        scale = alt.Scale(type="log" if unit == "GFLOP/s" else "linear", zero=False)
        return mark.encode(x=_hours(minutes, bottom=unit == "GFLOP/s"), y=alt.Y("y:Q", axis=axis, scale=scale))

    def marks(*, bottom: bool = False) -> list[alt.Chart]:
        x = _hours(minutes, bottom=bottom)
        outage = charts.band(world.outage[0] / 3600, world.outage[1] / 3600, x, ROSE, 0.2)
        return [outage, charts.rules([world.restart[0] / 3600], x, INK, strokeDash=[2, 3])]

    intensity = np.append(world.intensity, world.intensity[-1])
    traffic = alt.layer(
        alt.layer(*marks(), line(hours, world.counts.reshape(-1, MINUTE).mean(axis=1), PRICE, "requests/s")),
        line(ends, intensity, MUTED, "gCO2e/kWh", steps=True),
    ).resolve_scale(y="independent")
    price = alt.layer(
        alt.layer(*marks(), line(hours, day.price.reshape(-1, MINUTE).mean(axis=1) * 1e9, BUDGET, "clicks/GFLOP")),
        line(hours, day.correction.reshape(-1, MINUTE)[:, -1], AMBER, "correction", 0.9),
    ).resolve_scale(y="independent")
    spend = alt.layer(
        *marks(bottom=True),
        line(hours, wanted, PRICE, "GFLOP/s", 0.8),
        line(hours, spent, GREEN, "GFLOP/s"),
        line(hours, budget, INK, "GFLOP/s"),
    )
    panels = [
        traffic.properties(height=160, title="Requests a second, and the grid's carbon intensity"),
        price.properties(height=160, title="Price, and the controller's correction"),
        spend.properties(height=200, title="Spend (green), budget (black), demand at price 0 (blue); log scale"),
    ]
    charts.save_png(
        charts.stacked(panels, 900),
        path,
        [
            f"utilisation {report['utilisation']:.2%}   over-use {report['overuse']:.3%}   first tick after a 5× spike "
            f"{report['spike_first_tick']:.3f}   regret {report['regret']:.2%}",
            "shaded: solver outage; dotted line: ledger restart",
        ],
    )


def _hours(minutes: int, *, bottom: bool = False) -> alt.X:
    return charts.x_axis(0, minutes / 60, "hour of the day" if bottom else None)
