"""The pictures of energy and carbon: the grid's intensity, grams so far, and where each arm's energy went."""

from __future__ import annotations

import altair as alt
import numpy as np

from greenflow_ray.report.charts.outcomes import ARMS, COLOURS
from greenflow_ray.report.charts.timeline import BOTTOM, spike_band
from greenflow_ray.report.contents import Report
from greenflow_ray.report.course import footprint
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Line, Picture
from greenflow_ray.viz.style import INK, MUTED, ROSE

UNATTRIBUTED = "unattributed"


def carbon(report: Report) -> Picture | None:
    """The grid's intensity, each arm's grams a second and so far; None if unknown, or if nothing of it ever changed."""
    arms = {"EQUAL": report.arms.equal, "GreenFlow": report.arms.greenflow}
    if report.carbon is None:
        return None
    found = {
        name: footprint(
            arm.energy_joules,
            sum(arm.energy_by_deployment_joules.values()),
            arm.duration_seconds,
            report.carbon.grams_per_kwh,
            report.course,
            own=name == "GreenFlow",
        )
        for name, arm in arms.items()
        if arm.energy_joules is not None
    }
    if len(found) < 2 or not (found["GreenFlow"].shaped or float(np.ptp(found["GreenFlow"].grams_per_kwh)) > 0):
        return None
    mine = found["GreenFlow"]
    end = float(mine.bounds[-1])
    rates = {name: f.grams / np.diff(f.bounds) for name, f in found.items()}
    highest = max(float(rate.max()) for rate in rates.values())
    most = max(f.total for f in found.values())
    (size, prefix), (whole, unit) = _grams(highest), _grams(most)
    x, bottom = charts.x_axis(0, end), charts.x_axis(0, end, BOTTOM)
    grid = [Line("grid", ROSE, mine.bounds, mine.grams_per_kwh)]
    each = [Line(name, colour, found[name].bounds, rates[name] / size) for name, colour in ARMS.items()]
    labels = {name: f"{name}: {f.total / whole:.3g} {unit}g" for name, f in found.items()}
    so_far = {name: np.cumsum(f.grams) / whole for name, f in found.items()}
    rows = [
        {"x": t, "y": y, "arm": labels[name]}
        for name, f in found.items()
        for t, y in zip(f.bounds, [0.0, *so_far[name]], strict=True)
    ]
    names = alt.Scale(domain=list(labels.values()), range=list(ARMS.values()))
    total = alt.Chart(charts.records(rows)).mark_line().encode(
        x=bottom,
        y=charts.y_axis(1.08 * most / whole or 1),
        color=alt.Color("arm:N", scale=names, legend=alt.Legend(symbolType="stroke")),
    )  # fmt: skip
    spread = "" if mine.shaped else ", energy spread evenly over the arm"
    top = charts.y_axis(1.15 * float(mine.grams_per_kwh.max()) or 1, ticks=3)
    rate_top = charts.y_axis(1.15 * highest / size or 1, ticks=3)
    sums = {f"so_far{i}": values for i, values in enumerate(so_far.values())}
    said = charts.steps(mine.bounds, grid=mine.grams_per_kwh, **sums)
    tips = charts.tips(
        ("x:Q", "from second"),
        ("grid:Q", "gCO2e/kWh"),
        *((f"so_far{i}:Q", f"{name}, {unit}g so far", ".3g") for i, name in enumerate(ARMS)),
    )
    panels = [
        charts.titled([*spike_band(report, axis), *layers, charts.hover(name, said, axis, tips)], title, height)
        for name, axis, layers, title, height in (
            ("grid", x, [charts.step_lines(grid, x, top, legend=False)], "Grid's intensity, gCO2e/kWh", 90),
            ("rate", x, [charts.step_lines(each, x, rate_top, legend=False)], f"{prefix}gCO2e a second{spread}", 100),
            ("total", bottom, [total], f"{unit}gCO2e so far", 140),
        )
    ]
    return Picture("carbon", "Carbon over time", panels)


def energy(report: Report) -> Picture:
    """Each arm's energy by deployment, and what nobody can be charged for, as bars from 0."""
    arms = {"EQUAL": report.arms.equal, "GreenFlow": report.arms.greenflow}
    joules = {name: arm.energy_by_deployment_joules for name, arm in arms.items()}

    def most(deployment: str) -> float:
        return max(spent.get(deployment, 0.0) for spent in joules.values())

    names = sorted(joules["EQUAL"] | joules["GreenFlow"], key=lambda name: -most(name))
    for name, arm in arms.items():
        if arm.energy_unattributed_joules is not None:
            joules[name] = joules[name] | {UNATTRIBUTED: arm.energy_unattributed_joules}
    names.append(UNATTRIBUTED)
    rows = [
        {"name": name, "arm": arm, "joules": spent[name], "text": style.si(spent[name], "J"),
         "faint": name == UNATTRIBUTED}
        for name in names for arm, spent in joules.items() if name in spent
    ]  # fmt: skip
    y = alt.Y("name:N", sort=names, axis=alt.Axis(title=None, labelColor=INK, labelLimit=130))
    offset = alt.YOffset("arm:N", sort=list(ARMS))
    x = alt.X("joules:Q", scale=alt.Scale(domain=[0, 1.16 * (max(map(most, names)) or 1.0)], nice=False), axis=None)
    base = alt.Chart(charts.records(rows))
    bars = base.mark_bar().encode(
        y=y,
        yOffset=offset,
        x=x,
        color=alt.Color("arm:N", scale=COLOURS, legend=alt.Legend()),
        opacity=alt.when("datum.faint").then(alt.value(0.45)).otherwise(alt.value(1.0)),
        tooltip=charts.tips(("name:N",), ("arm:N",), ("text:N", "energy")),
    )
    texts = base.mark_text(align="left", dx=4, color=MUTED, fontSize=10)
    texts = texts.encode(y=y, yOffset=offset, x=x, text="text:N")
    panel = charts.titled([bars, texts], "Energy by deployment, joules", 34 * len(names))
    return Picture("energy", "Energy by deployment", [panel])


def _grams(largest: float) -> tuple[float, str]:
    """Divisor and prefix for grams: milli- and micrograms below one."""
    return next(((size, prefix) for size, prefix in ((1.0, ""), (1e-3, "m")) if largest >= size), (1e-6, "µ"))
