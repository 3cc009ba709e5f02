"""Pictures of what the arms answered and what came of it: chains, latency, clicks, and the revenue frontier."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from greenflow_ray.loadtest import mix
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.contents import Frontier, Report
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Picture
from greenflow_ray.viz.style import EQUAL, GREEN, INK, MUTED, PRICE, SKY

ARMS = {"EQUAL": EQUAL, "GreenFlow": GREEN}
COLOURS = alt.Scale(domain=list(ARMS), range=list(ARMS.values()))


def chain_mix(arms: Mapping[str, ArmResult]) -> Picture:
    """The arms' shares of chains as stacked bars, then GreenFlow's over time; dearer chains are darker."""
    x = charts.x_axis(0, arms["GreenFlow"].duration_s, "seconds from the start")
    time = charts.titled(mix.over_time(list(arms.values()), x), "GreenFlow's mix over time", 210)
    return Picture("chains", "Which chains answered", [mix.shares(list(arms.items())), time])


def bought(report: Report) -> Picture:
    """Clicks and FLOPs of both arms as bars from 0."""
    a, b, saving = report.arms.equal, report.arms.greenflow, report.saving
    panels = []
    for name, values, saved in (
        ("Clicks", [a.clicks, b.clicks], saving.clicks),
        ("FLOPs", [a.flops, b.flops], saving.flops),
    ):
        texts = [style.si(v, "FLOPs") if name == "FLOPs" else f"{v:,}" for v in values]
        data = alt.Chart(charts.table(arm=list(ARMS), value=values, text=texts))
        y = alt.Y("arm:N", sort=list(ARMS), axis=alt.Axis(title=None, labelColor=INK))
        x = alt.X("value:Q", scale=alt.Scale(domain=[0, 1.45 * max(*values, 1)]), axis=None)
        bars = data.mark_bar(size=18).encode(y=y, x=x, color=alt.Color("arm:N", scale=COLOURS, legend=None))
        words = data.mark_text(align="left", dx=5).encode(y=y, x=x, text="text:N")
        panels.append(charts.titled([bars, words], f"{name}: {style.change(saved)}", 56))
    return Picture("outcomes", "Clicks and FLOPs of both arms", panels)


def latency(arms: Mapping[str, ArmResult]) -> Picture:
    """Share of answers slower than x, all arms, both axes logarithmic: the tail is what the eye must see."""
    rows, dots, floor, low, high = [], [], 1.0, np.inf, 0.0
    for name, arm in arms.items():
        values = np.sort(arm.requests.latency[arm.ok]) * 1000
        n = len(values)
        if not n:
            continue
        floor, low, high = min(floor, 1 / n), min(low, values[0]), max(high, values[-1])
        # As many points as the eye can see, closer together in the tail.
        at = np.unique(np.concatenate([np.linspace(0, n - 1, 150), n - np.geomspace(1, n, 150)]).astype(int))
        rows += [{"x": float(values[i]), "y": float(1 - i / n), "arm": name} for i in at]
        dots += [
            {"x": float(np.quantile(values, q)), "y": 1 - q, "arm": name, "quantile": f"p{100 * q:g}"}
            for q in (0.5, 0.95, 0.99)
        ]
    domain = [0.95 * low, 1.05 * high] if rows else [1, 1000]
    title, around = "latency, milliseconds (log scale)", charts.log_ticks(*domain)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(title=title, values=around, tickCount=12, format="~g"),
    )
    ticks = [t for t in (1, 0.5, 0.05, 0.01, 0.001) if t >= floor]
    y = alt.Y(
        "y:Q",
        scale=alt.Scale(type="log", domain=[max(floor, 1e-4), 1.15], nice=False),
        axis=alt.Axis(values=ticks, tickCount=len(ticks), labelExpr=charts.PERCENT, labelOverlap=False, title=None),
    )
    colours = alt.Scale(domain=list(arms), range=[{**ARMS, "TUNED": SKY}[name] for name in arms])
    colour = alt.Color("arm:N", scale=colours, legend=alt.Legend(symbolType="stroke"))
    line = alt.Chart(charts.records(rows)).mark_line(interpolate="step-after", clip=True).encode(x=x, y=y, color=colour)
    marks = alt.Chart(charts.records(dots)).mark_point(filled=True, size=60, opacity=1)
    marks = marks.encode(
        x=x, y=y, color=colour, tooltip=charts.tips(("arm:N",), ("quantile:N",), ("x:Q", "ms", ",.1f"))
    )
    title = "Share slower than this (dots: p50, p95, p99)"
    return Picture("latency", "Latency", [charts.titled([line, marks], title, 230)])


def frontier(report: Report, shown: Frontier, greenflow: ArmResult) -> Picture:
    """Clicks per request over FLOPs per request: the predicted curve, the arms, and GreenFlow in and out of a spike."""
    flops, clicks = (np.array([getattr(p, name) for p in shown.points]) for name in ("flops", "clicks"))
    a, b, tuned = shown.equal, shown.today, shown.tuned
    arms = [("EQUAL", a, EQUAL), ("GreenFlow", b, GREEN), *([("TUNED", tuned, SKY)] if tuned else [])]
    ends = {name: point.clicks_interval or (point.clicks, point.clicks) for name, point, _ in arms}
    phases = _phases(report, greenflow)
    right = max(float(flops.max()), a.flops, b.flops)
    size, prefix = style.scale(right)
    edge = 1.2 * right / size
    values = [*clicks, *(v for pair in ends.values() for v in pair), *(y for _, _, y in phases)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    axis = alt.Axis(title=f"{prefix}FLOPs per request", tickCount=5)
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, edge], nice=False), axis=axis)
    y = charts.y_axis(high + 0.12 * span, low=max(0.0, low - 0.3 * span), ticks=5)

    # A fuller budget than the unpriced mix costs is not spent: from there on the curve is flat.
    predicted = charts.table(x=np.append(flops / size, edge), y=np.append(clicks, clicks[-1]))
    curve = alt.Chart(predicted).mark_line(color=PRICE, strokeWidth=2.2, clip=True).encode(x=x, y=y)
    # The way from GreenFlow to EQUAL: to the right, then up.
    here, there = b.flops / size, a.flops / size
    corner = charts.table(x=[here, there, there], y=[b.clicks, b.clicks, a.clicks], n=[0, 1, 2])
    way = alt.Chart(corner).mark_line(color=MUTED, strokeWidth=0.9, strokeDash=[3, 3]).encode(x=x, y=y, order="n:Q")
    layers: list[alt.Chart] = [way, curve]
    if phases:
        inside = alt.Chart(charts.records({"x": f / size, "y": c, "name": name} for name, f, c in phases))
        tips = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", format=".3s"), alt.Tooltip("y:Q", format=".3f")]
        dots = inside.mark_point(color=GREEN, size=45).encode(x=x, y=y, tooltip=tips)
        layers += [dots, inside.mark_text(align="left", dx=7, dy=8, color=GREEN).encode(x=x, y=y, text="name:N")]
    said = (
        ("x:Q", f"{prefix}FLOPs per request"),
        ("y:Q", "clicks per request"),
        ("low:Q", "95 % from"),
        ("high:Q", "to"),
    )
    tips = charts.tips(("arm:N",), *((*each, ".3f") for each in said))
    for name, point, colour in arms:
        row = {"arm": name, "x": point.flops / size, "y": point.clicks, "predicted": point.predicted}
        base = alt.Chart(charts.table(**row, low=ends[name][0], high=ends[name][1]))
        bar = base.mark_rule(color=colour, strokeWidth=2.2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
        layers += [bar, base.mark_point(filled=True, size=110, opacity=1, color=colour).encode(x=x, y=y, tooltip=tips)]
    changes = [f"{style.change(report.saving.flops)} FLOPs", f"{style.change(report.saving.clicks)} clicks"]
    side = "left" if b.flops < 0.7 * right else "right"
    at = b.flops + 0.85 * (a.flops - b.flops) if a.flops > b.flops else 0.5 * right
    above = float(np.interp(at, flops, clicks))
    today = ["GreenFlow today", *changes]
    layers += [
        charts.words(there, a.clicks, "EQUAL", EQUAL, dx=9, dy=10),
        charts.words(here, ends["GreenFlow"][0], today, GREEN, dx=-5, dy=16, align=side, lineHeight=14),
        *([charts.words(tuned.flops / size, tuned.clicks, "TUNED", SKY, dx=9, dy=10)] if tuned else []),
        charts.words(at / size, above, "predicted frontier", PRICE, dx=-4, dy=-9, align="right"),
    ]
    panel = charts.titled(layers, "Clicks per request (bars: 95 % intervals)", 300)
    return Picture("frontier", "Revenue frontier", [panel])


def _phases(report: Report, arm: ArmResult) -> list[tuple[str, float, float]]:
    """GreenFlow's means in steady traffic and in the spike: (name, FLOPs, clicks) per request."""
    spike = report.budget.spike
    if spike is None:
        return []
    inside = (arm.requests.scheduled >= spike.begin) & (arm.requests.scheduled < spike.end)
    return [
        (name, float(arm.recounted[rows].mean()), float(arm.requests.clicks[rows].mean()))
        for name, rows in (("steady", ~inside), ("spike", inside))
        if rows.any()
    ]
