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
WIDE, SIDE = 720, 400
"""Pixels of the panels over time, and of those of the whole."""


def save_png(result: ArmResult, path: Path | str) -> None:
    """Write three panels over time, where a request counts in the window in which it was due, and two of the whole."""
    width = mix.bin_width(result.duration_s)
    bounds = edges(result.duration_s, width)
    x = charts.x_axis(0, result.duration_s)
    bottom = f"seconds from the start, windows of {width:g} s; chains: {2 * width:g} s"
    left = charts.stacked(
        [
            traffic(result, bounds, x),
            _latency(result, bounds, x),
            _spent(result, bounds, x),
            mix.over_time([result], "Chains' shares of answers", 150, bottom),
        ],
        WIDE,
    )
    right = charts.stacked([_histogram(result), _shares(result)], SIDE)
    late = style.seconds(result.send_delay_s["p99"])
    client = (
        f"The client used {result.client_cpu_share:.0%} of a core, {result.client_cpu_peak:.0%} in its busiest second, "
        f"and sent requests up to {late} late (p99); latencies count from the instant at which a request was due."
    )
    slow = ["The client itself was slow: its lateness is in the latencies."] if result.client_was_slow else []
    whole = alt.hconcat(left, right, spacing=40).resolve_scale(color="independent", strokeDash="independent")
    charts.save_png(whole, path, [headline(result), client, *slow])


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
    rows = []
    for rank, (kind, (mine, _)) in enumerate(kinds.items()):
        rates = sums(result, bounds, mine.astype(np.float64)) / np.diff(bounds)
        if mine.any():
            at = zip(bounds, [*rates, rates[-1]], strict=True)
            rows += [{"x": float(t), "y": float(rate), "kind": kind, "rank": rank} for t, rate in at]
    colours = alt.Scale(domain=list(kinds), range=[colour for _, colour in kinds.values()])
    area = alt.Chart(charts.records(rows)).mark_area(interpolate="step-after", opacity=0.75)
    area = area.encode(x=x, y=alt.Y("y:Q", stack="zero"), color=alt.Color("kind:N", scale=colours), order="rank:Q")
    return charts.titled([area], "Requests due, per second, by what became of them", 120)


def _latency(result: ArmResult, bounds: Array, x: alt.X) -> alt.LayerChart:
    """p50 and p99 of each window's answers on a log scale."""
    window = np.digitize(result.requests.scheduled, bounds[1:-1])
    found = [1e3 * result.requests.latency[result.ok & (window == i)] for i in range(len(bounds) - 1)]
    p50, p99 = (np.array([np.quantile(f, q) if len(f) else np.nan for f in found]) for q in (0.5, 0.99))
    title = "Latency of answers, milliseconds: p50 and p99 of each window"
    if np.isnan(p50).all():
        return _nothing(title, 120)
    scale = alt.Scale(type="log", domain=[0.7 * float(np.nanmin(p50)), 1.4 * float(np.nanmax(p99))], nice=False)
    y = alt.Y("y:Q", scale=scale, axis=alt.Axis(title=None, format="~g", tickCount=5))
    lines = [Line("p99", PRICE, bounds, p99), Line("p50", INK, bounds, p50)]
    return charts.titled([charts.step_lines(lines, x, y)], title, 120)


def _spent(result: ArmResult, bounds: Array, x: alt.X) -> alt.LayerChart:
    """FLOP/s by the receipts' chains."""
    rate = spend(result, bounds) / np.diff(bounds)
    size, prefix = style.scale(rate.max(initial=0.0))
    y = charts.y_axis(1.08 * float(rate.max(initial=0.0)) / size or 1, ticks=3)
    line = charts.step_lines([Line("spend", BUDGET, bounds, rate / size)], x, y, legend=False)
    return charts.titled([line], f"Spend, {prefix}FLOP/s", 80)


def _shares(result: ArmResult) -> alt.LayerChart:
    """Each chain's share of all answers, with its name and FLOPs."""
    groups, labels = mix.chain_groups([result])
    mine = groups[result.requests.chain[result.requests.chain >= 0]]
    parts = np.bincount(mine, minlength=len(labels)) / max(len(mine), 1)
    rows = [
        {"chain": label, "share": float(part), "text": f"{100 * part:.0f} %   {label}"}
        for label, part in zip(labels, parts, strict=True)
    ]
    x = alt.X("share:Q", axis=None, scale=alt.Scale(domain=[0, 2.6 * float(parts.max(initial=0.0)) or 1]))
    y = alt.Y("chain:N", sort=labels[::-1], axis=None)
    base = alt.Chart(charts.records(rows))
    bars = base.mark_bar().encode(x=x, y=y, color=mix.colours(labels, legend=False))
    texts = base.mark_text(align="left", dx=5).encode(x=x, y=y, text="text:N")
    return charts.titled([bars, texts], "Share of all answers · chain · its FLOPs", 230)


def _histogram(result: ArmResult) -> alt.LayerChart:
    """Latencies of all answers over a log axis, with the quantiles that people ask for."""
    title = "Answers by latency, milliseconds (log scale)"
    found = histogram(result.requests.latency[result.ok])
    if not len(found.counts):
        return _nothing(title, 260)
    top, ends = float(found.counts.max()), 1e3 * found.edges
    scale = alt.Scale(type="log", domain=[float(ends[0]) / 2.5, 1.1 * float(ends[-1])], nice=False)
    x = alt.X("x:Q", scale=scale, axis=alt.Axis(title=None, format="~g", tickCount=6))
    y = charts.y_axis(1.3 * top, format=",d")
    area = charts.filled(ends, found.counts.astype(float), x, y, PRICE, 0.5)
    quantiles = charts.records(
        # Stepped, for p99 and p99.9 may lie close together.
        {"x": 1e3 * value, "y": top * (1.24 - 0.08 * i), "text": f"{name}  {style.seconds(value)}"}
        for i, (name, value) in enumerate(result.latency_seconds().items())
    )
    marks = alt.Chart(quantiles)
    rules = marks.mark_rule(color=INK, strokeDash=[3, 2], strokeWidth=0.9).encode(x=x, y=y, y2=alt.datum(0))
    texts = marks.mark_text(align="right", dx=-4, color=INK).encode(x=x, y=y, text="text:N")
    return charts.titled([area, rules, texts], title, 260)


def _nothing(title: str, height: int) -> alt.LayerChart:
    words = alt.Chart(charts.table(text=["nothing was answered"])).mark_text(color=MUTED).encode(text="text:N")
    return charts.titled([words], title, height)
