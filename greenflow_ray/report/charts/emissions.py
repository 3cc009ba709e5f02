"""The pictures of energy and carbon: the grid's intensity, grams so far, and where each arm's energy went."""

from __future__ import annotations

import altair as alt
import numpy as np

from greenflow_ray.report.charts.outcomes import ARMS, COLOURS
from greenflow_ray.report.charts.timeline import spike_band
from greenflow_ray.report.contents import Arm, Report
from greenflow_ray.report.footprint import Footprint, footprint
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Line, Picture
from greenflow_ray.viz.style import INK, MUTED, ROSE

UNATTRIBUTED = "unattributed"


def footprints(report: Report) -> tuple[Footprint, Footprint] | None:
    """Both arms' energy and carbon over time, EQUAL first; None if energy or intensity is unknown."""
    a, b = report.arms.equal, report.arms.greenflow
    if report.carbon is None or a.energy_joules is None or b.energy_joules is None:
        return None
    mean = report.carbon.grams_per_kwh
    first, second = (
        footprint(
            joules, sum(arm.energy_by_deployment_joules.values()), arm.duration_seconds, mean, report.course, own=own
        )
        for joules, arm, own in ((a.energy_joules, a, False), (b.energy_joules, b, True))
    )
    return first, second


def carbon(report: Report) -> Picture | None:
    """The grid's intensity, each arm's grams a second, and its grams so far, over the same time.

    None where there is nothing to show: the intensity did not change, and watts are not known by second.
    """
    found = footprints(report)
    if found is None or not (found[1].shaped or float(np.ptp(found[1].grams_per_kwh)) > 0):
        return None
    end = float(found[1].bounds[-1])
    rates = [f.grams / np.diff(f.bounds) for f in found]
    size, prefix = _grams(max(float(rate.max()) for rate in rates))
    whole, unit = _grams(max(f.total for f in found))
    x, bottom = charts.x_axis(0, end), charts.x_axis(0, end, "seconds from the start")
    grid = [Line("grid", ROSE, found[1].bounds, found[1].grams_per_kwh)]
    each = [Line(n, c, f.bounds, r / size) for (n, c), f, r in zip(ARMS.items(), found, rates, strict=True)]
    so_far = [
        {"x": float(t), "y": float(y), "arm": f"{name}: {f.total / whole:.3g} {unit}g"}
        for name, f in zip(ARMS, found, strict=True)
        for t, y in zip(f.bounds, np.concatenate([[0.0], np.cumsum(f.grams)]) / whole, strict=True)
    ]
    names = alt.Scale(domain=list(dict.fromkeys(str(row["arm"]) for row in so_far)), range=list(ARMS.values()))
    total = alt.Chart(charts.records(so_far)).mark_line().encode(
        x=bottom,
        y=charts.y_axis(1.08 * max(f.total for f in found) / whole or 1),
        color=alt.Color("arm:N", scale=names, legend=alt.Legend(symbolType="stroke")),
    )  # fmt: skip
    spread = "" if found[1].shaped else ", energy spread evenly over the arm"
    top = charts.y_axis(1.15 * float(found[1].grams_per_kwh.max()) or 1, ticks=3)
    rate_top = charts.y_axis(1.15 * max(float(rate.max()) for rate in rates) / size or 1, ticks=3)
    shade = spike_band(report, x)
    said = charts.steps(
        grid[0].x,
        grid=found[1].grams_per_kwh,
        **{f"so_far{i}": np.cumsum(f.grams) / whole for i, f in enumerate(found)},
    )
    tips = [alt.Tooltip("x:Q", title="from second"), alt.Tooltip("grid:Q", title="gCO2e/kWh")]
    tips += [alt.Tooltip(f"so_far{i}:Q", title=f"{n}, {unit}g so far", format=".3g") for i, n in enumerate(ARMS)]
    intensity = [*shade, charts.step_lines(grid, x, top, legend=False), charts.hover("grid", said, x, tips)]
    emitted = [*shade, charts.step_lines(each, x, rate_top, legend=False), charts.hover("rate", said, x, tips)]
    added = [*spike_band(report, bottom), total, charts.hover("total", said, bottom, tips)]
    panels = [
        charts.titled(intensity, "Grid's intensity, gCO2e/kWh", 90),
        charts.titled(emitted, f"{prefix}gCO2e a second{spread}", 100),
        charts.titled(added, f"{unit}gCO2e so far", 140),
    ]
    return Picture("carbon", "Carbon over time", panels)


def energy(report: Report) -> Picture:
    """Each arm's energy by deployment, and what nobody can be charged for, as bars from 0."""
    a, b = report.arms.equal, report.arms.greenflow

    def joules(arm: Arm, name: str) -> float | None:
        return arm.energy_unattributed_joules if name == UNATTRIBUTED else arm.energy_by_deployment_joules.get(name)

    def most(name: str) -> float:
        return max(joules(a, name) or 0.0, joules(b, name) or 0.0)

    names = sorted(a.energy_by_deployment_joules | b.energy_by_deployment_joules, key=lambda name: -most(name))
    names.append(UNATTRIBUTED)
    rows = [
        {"name": name, "arm": arm, "joules": value, "text": style.si(value, "J"), "faint": name == UNATTRIBUTED}
        for name in names
        for arm, value in (("EQUAL", joules(a, name)), ("GreenFlow", joules(b, name)))
        if value is not None
    ]
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
        tooltip=[alt.Tooltip("name:N"), alt.Tooltip("arm:N"), alt.Tooltip("text:N", title="energy")],
    )
    texts = base.mark_text(align="left", dx=4, color=MUTED, fontSize=10)
    texts = texts.encode(y=y, yOffset=offset, x=x, text="text:N")
    panel = charts.titled([bars, texts], "Energy by deployment, joules", 34 * len(names))
    return Picture("energy", "Energy by deployment", [panel])


def _grams(largest: float) -> tuple[float, str]:
    """Divisor and prefix for grams: milli- and micrograms below one."""
    return next(((size, prefix) for size, prefix in ((1.0, ""), (1e-3, "m")) if largest >= size), (1e-6, "µ"))
