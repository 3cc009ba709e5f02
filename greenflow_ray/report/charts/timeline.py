"""Pictures over the GreenFlow arm's time: traffic, spend against the budget, the price, and replicas."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import altair as alt
import numpy as np

from greenflow_ray.loadtest.mix import bin_width
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import Array, edges, spend, sums
from greenflow_ray.report.contents import Moment, Report
from greenflow_ray.report.course import LIMITS, intensity_changes, limit_of, replica_states
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Line, Panel, Picture
from greenflow_ray.viz.style import AMBER, BUDGET, EQUAL, GREEN, INK, MUTED, PRICE, ROSE, SKY

SECOND = ("x:Q", "from second", ".1f")
_LIMIT_COLOURS = {"flops": BUDGET, "watts": AMBER, "kwh": SKY, "grams": ROSE}
MOST_MARKS = 6  # changes of the carbon intensity that are marked one by one
MOST_VERSIONS = 40  # versions of the price that are marked one by one
BOTTOM = "seconds from the start"


def spike_band(report: Report, x: alt.X) -> list[alt.Chart]:
    """The seconds in which traffic was multiplied, shaded; nothing if there were none."""
    spike = report.budget.spike
    return [] if spike is None else [charts.band(spike.begin, spike.end, x, AMBER)]


def spend_and_price(report: Report, equal: ArmResult, greenflow: ArmResult) -> Picture:
    """Requests, spend against the budget, which limit binds if that changed, and the price, over the same time."""
    course, end = report.course, greenflow.duration_s
    bounds = edges(end, bin_width(end))
    spans = np.diff(bounds)
    x = charts.x_axis(0, end)
    asked = sums(equal, bounds, np.ones(len(equal.requests))) / spans
    tips = charts.tips(SECOND, ("due:Q", "requests/s", ".1f"))
    traffic = [
        *spike_band(report, x),
        charts.filled(bounds, asked, x, charts.y_axis(1.1 * float(asked.max(initial=0)) or 1, ticks=2), MUTED, 0.35),
        charts.hover("traffic", charts.steps(bounds, due=asked), x, tips),
        *([charts.words(report.budget.spike.end, None, "spike", AMBER)] if report.budget.spike else []),
    ]
    limits = {limit_of(m.bound_by) for m in course if m.bound_by}
    panels: list[Panel] = [
        charts.titled(traffic, "Requests due, per second", 60),
        _spend(report, equal, greenflow, bounds, x),
        *([_limits(course, end, x)] if len(limits) > 1 else []),
        _price(report, course, end),
    ]
    return Picture("spend", "Spend against budget, and price", panels)


def _spend(report: Report, equal: ArmResult, greenflow: ArmResult, bounds: Array, x: alt.X) -> alt.LayerChart:
    """Both arms' FLOP/s and the budget; the EQUAL arm may leave the picture, or nothing else could be seen."""
    end, spans = float(bounds[-1]), np.diff(bounds)
    full, spent = spend(equal, bounds) / spans, spend(greenflow, bounds) / spans
    course = report.budget.course or ((0.0, report.budget.flops_per_second),)
    times = np.array([max(t, 0.0) for t, _ in course] + [end])
    times[0] = 0.0
    limit = np.array([np.nan if rate is None else rate for _, rate in course])
    most = float(np.max(limit, initial=0, where=np.isfinite(limit)))
    usual = max(3 * most, 1.3 * float(np.quantile(full, 0.8)))
    highest = max(float(spent.max(initial=0)), most)
    top = 1.06 * (max(highest * 1.12, min(float(full.max(initial=0)) * 1.06, usual)) or 1.0)
    size, prefix = style.scale(top)
    y = charts.y_axis(top / size, ticks=5)
    lines = [Line("EQUAL", EQUAL, bounds, full / size), Line("GreenFlow", GREEN, bounds, spent / size)]
    if np.isfinite(limit).any():
        lines.append(Line("budget", BUDGET, times, limit / size, dashed=True))
    layers: list[alt.Chart] = [
        *spike_band(report, x),
        charts.filled(bounds, spent / size, x, y, GREEN),
        charts.step_lines(lines, x, y),
        *_grid_changes(report.course, end, x, words=True),
    ]
    held = limit[np.maximum(np.searchsorted(times[:-1], bounds[:-1], side="right") - 1, 0)]
    series = {"equal": "EQUAL", "greenflow": "GreenFlow", "budget": "budget"}
    tips = charts.tips(SECOND, *((f"{n}:Q", f"{text}, {prefix}FLOP/s", ".3g") for n, text in series.items()))
    data = charts.steps(bounds, equal=full / size, greenflow=spent / size, budget=held / size)
    layers.append(charts.hover("spend", data, x, tips))
    beyond = f"; EQUAL up to {style.si(float(full.max()), 'FLOP/s')}" if full.max(initial=0) > top else ""
    return charts.titled(layers, f"Spend, {prefix}FLOP/s ({spans[0]:g} s bins){beyond}", 230)


def _grid_changes(course: Sequence[Moment], end: float, x: alt.X, *, words: bool) -> list[alt.Chart]:
    """Lines where the grid's carbon intensity changed, with what it became if ``words``; none if it changed often."""
    found = intensity_changes(course, end)
    if not found or len(found) > MOST_MARKS:
        return []
    out = [charts.rules([t for t, _, _ in found], x, ROSE, strokeDash=[2, 3])]
    for t, before, after in found if words else ():
        fits = t < 0.6 * end
        text = f"{before:.0f} → {after:.0f} gCO2e/kWh"
        out.append(charts.words(t, None, text, ROSE, align="left" if fits else "right", dx=4 if fits else -4))
    return out


def _limits(course: Sequence[Moment], end: float, x: alt.X) -> alt.LayerChart:
    """A band that names the limit that binds."""
    spots = [(m.t, limit_of(m.bound_by) if m.bound_by else "") for m in course if m.t < end]
    runs = [next(group) for _, group in itertools.groupby(spots, key=lambda spot: spot[1])]
    bands = [(t, after, name) for (t, name), after in zip(runs, [t for t, _ in runs[1:]] + [end], strict=True) if name]
    data = charts.records(
        {"x": t, "x2": after, "low": 0, "high": 1, "middle": (t + after) / 2, "colour": _LIMIT_COLOURS.get(name, MUTED),
         "limit": LIMITS.get(name, name), "text": LIMITS.get(name, name) if after - t > 0.07 * end else ""}
        for t, after, name in bands
    )  # fmt: skip
    tips = charts.tips(("limit:N",), SECOND, ("x2:Q", "to", ".1f"))
    colour = alt.Color("colour:N", scale=None, legend=None)
    y = alt.Y("low:Q", axis=alt.Axis(labels=False, grid=False, title=None))  # the room of the other panels' labels
    base = alt.Chart(data)
    shaded = base.mark_rect(opacity=0.45).encode(x=x, x2="x2:Q", y=y, y2="high:Q", color=colour, tooltip=tips)
    names = base.mark_text(color=INK).encode(x="middle:Q", y=alt.value(10), text="text:N")
    return charts.titled([shaded, names], "Limit that binds", 20)


def _price(report: Report, course: Sequence[Moment], end: float) -> alt.LayerChart:
    """The price that holds until the next moment, and when a new version came."""
    x = charts.x_axis(0, end, BOTTOM)
    points = [m for m in course if m.t < end]
    if not points:
        return charts.titled([charts.rules([], x, PRICE)], "Price: none was reported", 30)
    values = np.array([m.price for m in points])
    unit, letter = _per_flop(float(values.max()))
    scaled = values * unit
    usual, most = (float(f(scaled[scaled > 0])) if (scaled > 0).any() else 1.0 for f in (np.median, np.max))
    log = most > 8 * usual  # a cap's price, which would press all others flat
    if log:
        scale = alt.Scale(type="symlog", constant=usual, domain=[0, 1.3 * most], nice=False)
        axis = alt.Axis(title=None, values=[0, usual, most], format=".2g")
    else:
        scale, axis = alt.Scale(domain=[0, 1.15 * most], nice=False), alt.Axis(title=None, tickCount=3, format="~g")
    y = alt.Y("y:Q", scale=scale, axis=axis)
    versions = [b.t for a, b in itertools.pairwise(points) if b.version != a.version and b.t > 0]
    marked = 0 < len(versions) <= MOST_VERSIONS
    at = [*(m.t for m in points), end]
    data = charts.steps(at, price=scaled, version=[m.version for m in points])
    tips = charts.tips(SECOND, ("price:Q", f"clicks per {letter}FLOP", ".4g"), ("version:Q",))
    layers = [
        *spike_band(report, x),
        *([charts.rules(versions, x, PRICE, opacity=0.3)] if marked else []),
        *_grid_changes(course, end, x, words=False),
        charts.step_lines([Line("price", PRICE, at, scaled)], x, y, legend=False, width=1.6),
        charts.hover("price", data, x, tips),
    ]
    title = f"Price, clicks per {letter}FLOP{', log scale' if log else ''}"
    return charts.titled(layers, title + ("; lines: new versions" if marked else ""), 110)


def replicas(report: Report, end: float) -> Picture | None:
    """A row for each deployment whose number of replicas changed, over the same time; None if none did."""
    states, times = replica_states(report.course, end)
    moved = {name: np.array(numbers, dtype=np.float64) for name, numbers in states.items() if len(set(numbers)) > 1}
    panels: list[Panel] = []
    for name, numbers in moved.items():
        low, high = int(numbers.min()), int(numbers.max())
        bounds = np.append(times, max(end, float(times[-1]) + 1e-9))
        x = charts.x_axis(0, end, BOTTOM if len(panels) == len(moved) - 1 else None)
        y = charts.y_axis(1.15 * high, values=sorted({0, low, high}), format="d")
        said = charts.steps(bounds, replicas=numbers)
        layers = [
            *spike_band(report, x),
            charts.filled(bounds, numbers, x, y, PRICE),
            charts.step_lines([Line(name, PRICE, bounds, numbers)], x, y, legend=False, width=1.6),
            charts.hover(f"replicas{len(panels)}", said, x, charts.tips(SECOND, ("replicas:Q",))),
        ]
        panels.append(charts.titled(layers, name, 46))
    return Picture("replicas", "Replicas", panels) if panels else None


def _per_flop(largest: float) -> tuple[float, str]:
    """Factor and prefix that make a price per FLOP readable: clicks per M, G or T FLOP."""
    return next(((f, p) for f, p in ((1e6, "M"), (1e9, "G"), (1e12, "T")) if largest * f >= 0.1), (1e9, "G"))
