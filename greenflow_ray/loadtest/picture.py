"""A load test at a glance: outcomes, latency and chains over time, and latencies and chains of the whole."""

from __future__ import annotations

from pathlib import Path

import altair as alt
import numpy as np
import numpy.typing as npt

from greenflow_ray.loadtest import mix
from greenflow_ray.loadtest.result import SHED, ArmResult, histogram
from greenflow_ray.loadtest.windows import edges, spend, sums
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Line
from greenflow_ray.viz.style import AMBER, BUDGET, GREEN, INK, MUTED, PRICE, ROSE

Array = npt.NDArray[np.float64]
WIDE, SIDE = 620, 360
"""Pixels of the panels over time, and of those of the whole."""


def save_png(result: ArmResult, path: Path | str) -> None:
    """Write three panels over time, where a request counts in the window in which it was due, and two of the whole."""
    width = mix.bin_width(result.duration_s)
    bounds = edges(result.duration_s, width)
    x = charts.x_axis(0, result.duration_s)
    below = f"seconds from the start, windows of {width:g} s; chains: {2 * width:g} s"
    bottom = charts.x_axis(0, result.duration_s, below)
    left = charts.stacked([traffic(result, bounds, x), _latency(result, bounds, x), _mix(result, bottom)], WIDE)
    right = charts.stacked([_histogram(result), _shares(result)], SIDE)
    late = style.seconds(result.send_delay_s["p99"])
    client = (
        f"The client used {result.client_cpu_share:.0%} of a core, {result.client_cpu_peak:.0%} in its busiest second, "
        f"and sent requests up to {late} late (p99); latencies count from the instant at which a request was due."
    )
    colour = BUDGET if result.client_was_slow else MUTED
    footer = alt.Chart(charts.table(text=[client])).mark_text(align="left", color=colour)
    footer = footer.encode(x=alt.value(0), text="text:N").properties(width=WIDE, height=12)
    own = alt.Resolve(scale=alt.ScaleResolveMap(color="independent", strokeDash="independent"))
    both = alt.hconcat(left, right, spacing=40, resolve=own)
    charts.save_png(alt.vconcat(both, footer, resolve=own), path, headline(result))


def headline(result: ArmResult) -> str:
    """The figures that matter, on one line."""
    totals = result.totals()
    latency = totals["latency_seconds"]
    parts = [
        f"{totals['requests']:,} requests at {totals['offered_per_second']:,.0f}/s",
        f"p50 {style.seconds(latency['p50'])}",
        f"p99 {style.seconds(latency['p99'])}",
        f"{totals['errors']:,} errors",
        f"{totals['shed']:,} shed",
        f"{totals['degraded']:,} degraded",
        style.si(totals["flops"], "FLOPs"),
    ]
    if totals["clicks"]:
        parts.append(f"{totals['clicks']:,} clicks")
    return f"{result.name}: " + " · ".join(parts)


def traffic(result: ArmResult, bounds: Array, x: alt.X) -> alt.LayerChart:
    """Requests due per second, stacked by what became of them."""
    degraded, shed = result.requests.degraded, result.requests.status == SHED
    kinds = {
        "answered": (result.ok & ~degraded, GREEN),
        "degraded": (result.ok & degraded, AMBER),
        "shed": (shed, ROSE),
        "error": (~result.ok & ~shed, BUDGET),
    }
    kinds = {name: (mine, colour) for name, (mine, colour) in kinds.items() if mine.any()}
    rates = np.array([sums(result, bounds, mine) / np.diff(bounds) for mine, _ in kinds.values()])
    data = charts.table(
        x=np.tile(bounds, len(kinds)), y=np.append(rates, rates[:, -1:], axis=1).ravel(),
        kind=np.repeat(list(kinds), len(bounds)), rank=np.repeat(np.arange(len(kinds)), len(bounds)),
    )  # fmt: skip
    colours = alt.Scale(domain=list(kinds), range=[colour for _, colour in kinds.values()])
    y = charts.y_axis(1.15 * float(rates.sum(0).max(initial=0)) or 1, format=",~r")
    area = alt.Chart(data).mark_area(interpolate="step-after", opacity=0.75).encode(
        x=x, y=y.stack("zero"), color=alt.Color("kind:N", scale=colours), order="rank:Q"
    )  # fmt: skip
    outline = charts.step_lines([Line("due", INK, bounds, rates.sum(0))], x, y, legend=False, width=1.2)
    layers = alt.layer(area, outline).resolve_scale(color="independent")
    return charts.titled([layers], "Requests due, per second, by what became of them", 150)


def _latency(result: ArmResult, bounds: Array, x: alt.X) -> alt.LayerChart:
    """p50 and p99 of each window's answers on a log scale."""
    window = np.digitize(result.requests.scheduled, bounds[1:-1])
    found = [1e3 * result.requests.latency[result.ok & (window == i)] for i in range(len(bounds) - 1)]
    p50, p99 = (np.array([np.quantile(f, q) if len(f) else np.nan for f in found]) for q in (0.5, 0.99))
    title = "Latency of answers, milliseconds: p50 and p99 of each window"
    if np.isnan(p50).all():
        return _nothing(title, 150)
    low, high = 0.7 * float(np.nanmin(p50)), 1.4 * float(np.nanmax(p99))
    axis = alt.Axis(title=None, format=",~r", values=charts.log_ticks(low, high), tickCount=12)
    y = alt.Y("y:Q", scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=axis)
    between = charts.table(x=bounds, y=np.append(p99, p99[-1]), y2=np.append(p50, p50[-1]))
    band = alt.Chart(between).mark_area(interpolate="step-after", color=PRICE, opacity=0.18)
    lines = charts.step_lines([Line("p99", PRICE, bounds, p99), Line("p50", INK, bounds, p50)], x, y)
    return charts.titled([band.encode(x=x, y=y, y2="y2:Q"), lines], title, 150)


def _mix(result: ArmResult, x: alt.X) -> alt.LayerChart:
    """Chains' shares of each window's answers under the FLOP/s spent."""
    bounds = edges(result.duration_s, 2 * mix.bin_width(result.duration_s))
    rate = spend(result, bounds) / np.diff(bounds)
    size, prefix = style.scale(rate.max(initial=0.0))
    y = charts.y_axis(1.08 * float(rate.max(initial=0.0)) / size or 1, orient="right", labelColor=BUDGET, grid=False)
    lines = [
        charts.step_lines([Line("spend", colour, bounds, rate / size)], x, y, legend=False, width=width)
        for colour, width in (("white", 4.0), (BUDGET, 1.8))
    ]
    spent = alt.layer(*lines).resolve_scale(color="independent")
    layers = alt.layer(alt.layer(*mix.over_time([result], x, legend=False)), spent)
    layers = layers.resolve_scale(y="independent", color="independent")
    return charts.titled([layers], f"Chains' shares of answers; line: {prefix}FLOP/s, scale on the right", 170)


def _shares(result: ArmResult) -> alt.LayerChart:
    """Each chain's share of all answers, with its name and FLOPs."""
    groups, labels = mix.chain_groups([result])
    parts = mix.parts_of(result, groups, labels, np.array([0.0, result.duration_s]))[:, 0]
    texts = [f"{100 * part:.0f} %   {label}" for label, part in zip(labels, parts, strict=True)]
    x = alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, 2.6 * float(parts.max(initial=0.0)) or 1]))
    y = alt.Y("chain:N", sort=labels[::-1], axis=None)
    base = alt.Chart(charts.table(chain=labels, share=parts, text=texts)).encode(x=x, y=y)
    bars = base.mark_bar().encode(color=mix.colours(labels, legend=False))
    names = base.mark_text(align="left", dx=5).encode(text="text:N")
    return charts.titled([bars, names], "Share of all answers · chain · its FLOPs", 170)


def _histogram(result: ArmResult) -> alt.LayerChart:
    """Latencies of all answers over a log axis, with the quantiles that people ask for."""
    title = "Answers by latency, milliseconds (log scale)"
    edges_s, counts = histogram(result.requests.latency[result.ok])
    if not len(counts):
        return _nothing(title, 370)
    top, bounds = float(counts.max()), 1e3 * edges_s
    low, high = float(bounds[0]) / 2.5, 1.1 * float(bounds[-1])  # room on the left for the names of quantiles
    axis = alt.Axis(title=None, format=",~r", values=charts.log_ticks(low, high), tickCount=12)
    x = alt.X("x:Q", scale=alt.Scale(type="log", domain=[low, high], nice=False), axis=axis)
    y = charts.y_axis(1.3 * top, format=",~r")
    quantiles = charts.records(
        # Stepped, for p99 and p99.9 may lie close together.
        {"x": 1e3 * value, "y": top * (1.24 - 0.06 * i), "text": f"{name}  {style.seconds(value)}"}
        for i, (name, value) in enumerate(result.latency_seconds().items())
    )
    marks = alt.Chart(quantiles).encode(x=x, y=y)
    layers = [
        charts.filled(bounds, counts.astype(float), x, y, PRICE, 0.45),
        charts.step_lines([Line("answers", PRICE, bounds, counts.astype(float))], x, y, legend=False, width=1.2),
        marks.mark_rule(color=INK, strokeDash=[3, 2], strokeWidth=0.9).encode(y2=alt.datum(0)),
        marks.mark_text(align="right", dx=-4, stroke="white", strokeWidth=3).encode(text="text:N"),
        marks.mark_text(align="right", dx=-4, color=INK).encode(text="text:N"),
    ]
    return charts.titled(layers, title, 370)


def _nothing(title: str, height: int) -> alt.LayerChart:
    words = alt.Chart(charts.table(text=["nothing was answered"])).mark_text(color=MUTED).encode(text="text:N")
    return charts.titled([words], title, height)
