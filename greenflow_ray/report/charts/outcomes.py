"""Pictures of both arms' answers: which chains, how slow, and what came of them."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from greenflow_ray.loadtest import mix
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.contents import Report
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Picture
from greenflow_ray.viz.style import EQUAL, GREEN, INK, SKY

ARMS = {"EQUAL": EQUAL, "GreenFlow": GREEN}
COLOURS = alt.Scale(domain=list(ARMS), range=list(ARMS.values()))
TUNED = SKY


def present(equal: ArmResult, greenflow: ArmResult, tuned: ArmResult | None) -> dict[str, ArmResult]:
    """The arms that were played, by name."""
    return {"EQUAL": equal, **({} if tuned is None else {"TUNED": tuned}), "GreenFlow": greenflow}


def chain_mix(arms: Mapping[str, ArmResult]) -> Picture:
    """The arms' shares of chains as stacked bars, then GreenFlow's over time; dearer chains are darker."""
    greenflow = arms["GreenFlow"]
    bars = mix.shares(list(arms.items()))
    x = charts.x_axis(0, greenflow.duration_s, "seconds from the start")
    time = charts.titled(mix.over_time(list(arms.values()), x), "GreenFlow's mix over time", 210)
    return Picture("chains", "Which chains answered", [bars, time])


def bought(report: Report) -> Picture:
    """Clicks and FLOPs of both arms as bars from 0."""
    a, b = report.arms.equal, report.arms.greenflow
    panels = []
    for name, old, new, saving in (
        ("Clicks", a.clicks, b.clicks, report.saving.clicks),
        ("FLOPs", a.flops, b.flops, report.saving.flops),
    ):
        texts = [style.si(v, "FLOPs") if name == "FLOPs" else f"{v:,}" for v in (old, new)]
        data = alt.Chart(charts.table(arm=list(ARMS), value=[old, new], text=texts))
        y = alt.Y("arm:N", sort=list(ARMS), axis=alt.Axis(title=None, labelColor=INK))
        x = alt.X("value:Q", scale=alt.Scale(domain=[0, 1.45 * max(old, new, 1)]), axis=None)
        bars = data.mark_bar(size=18).encode(y=y, x=x, color=alt.Color("arm:N", scale=COLOURS, legend=None))
        words = data.mark_text(align="left", dx=5).encode(y=y, x=x, text="text:N")
        change = style.signed_percent(None if saving is None else -saving)
        panels.append(charts.titled([bars, words], f"{name}: {change}", 56))
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
    x = alt.X(
        "x:Q",
        scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=alt.Axis(
            title="latency, milliseconds (log scale)", values=charts.log_ticks(*domain), tickCount=12, format="~g"
        ),
    )
    ticks = [t for t in (1, 0.5, 0.05, 0.01, 0.001) if t >= floor]
    y = alt.Y(
        "y:Q",
        scale=alt.Scale(type="log", domain=[max(floor, 1e-4), 1.15], nice=False),
        axis=alt.Axis(values=ticks, tickCount=len(ticks), labelExpr=charts.PERCENT, labelOverlap=False, title=None),
    )
    shown = {name: {**ARMS, "TUNED": TUNED}[name] for name in arms}
    colours = alt.Scale(domain=list(shown), range=list(shown.values()))
    colour = alt.Color("arm:N", scale=colours, legend=alt.Legend(symbolType="stroke"))
    line = alt.Chart(charts.records(rows)).mark_line(interpolate="step-after", clip=True).encode(x=x, y=y, color=colour)
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("quantile:N"), alt.Tooltip("x:Q", title="ms", format=",.1f")]
    marks = alt.Chart(charts.records(dots)).mark_point(filled=True, size=60, opacity=1)
    marks = marks.encode(x=x, y=y, color=colour, tooltip=tips)
    title = "Share slower than this (dots: p50, p95, p99)"
    return Picture("latency", "Latency", [charts.titled([line, marks], title, 230)])
