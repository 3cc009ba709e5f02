"""The revenue frontier's picture: what the price promises for every mean cost, and where the arms were."""

from __future__ import annotations

import altair as alt
import numpy as np
import numpy.typing as npt

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.contents import Frontier, Report
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Picture
from greenflow_ray.viz.style import EQUAL, GREEN, MUTED, PRICE, SKY


def frontier(report: Report, shown: Frontier, greenflow: ArmResult) -> Picture:
    """Clicks per request over FLOPs per request: the predicted curve, both arms, and GreenFlow in and out of a spike.

    ``shown`` is the report's frontier.
    """
    flops, clicks = (np.array([getattr(p, name) for p in shown.points]) for name in ("flops", "clicks"))
    a, b = shown.equal, shown.today
    phases = _phases(report, greenflow)
    right = max(float(flops.max()), a.flops, b.flops)
    size, prefix = style.scale(right)
    edge = 1.2 * right / size
    values = [
        *clicks,
        *(v for p in (a, b, shown.tuned) if p for v in (p.clicks_interval or (p.clicks,))),
        *(y for _, _, y in phases),
    ]
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
        inside = charts.table(
            x=[f / size for _, f, _ in phases], y=[c for _, _, c in phases], name=[name for name, _, _ in phases]
        )
        tips = [alt.Tooltip("name:N"), alt.Tooltip("x:Q", format=".3s"), alt.Tooltip("y:Q", format=".3f")]
        layers.append(alt.Chart(inside).mark_point(color=GREEN, size=45).encode(x=x, y=y, tooltip=tips))
        texts = alt.Chart(inside).mark_text(align="left", dx=7, dy=8, color=GREEN).encode(x=x, y=y, text="name:N")
        layers.append(texts)
    dots = [("EQUAL", a, EQUAL), ("GreenFlow", b, GREEN)] + ([("TUNED", shown.tuned, SKY)] if shown.tuned else [])
    for name, point, colour in dots:
        ends = point.clicks_interval or (point.clicks, point.clicks)
        data = charts.table(
            arm=name, x=point.flops / size, y=point.clicks, low=ends[0], high=ends[1], predicted=point.predicted
        )
        tips = [
            alt.Tooltip("arm:N"),
            alt.Tooltip("x:Q", title=f"{prefix}FLOPs per request", format=".3f"),
            alt.Tooltip("y:Q", title="clicks per request", format=".3f"),
            alt.Tooltip("low:Q", title="95 % from", format=".3f"),
            alt.Tooltip("high:Q", title="to", format=".3f"),
        ]
        bar = alt.Chart(data).mark_rule(color=colour, strokeWidth=2.2).encode(x=x, y=alt.Y("low:Q"), y2="high:Q")
        dot = alt.Chart(data).mark_point(filled=True, size=110, opacity=1, color=colour)
        layers += [bar, dot.encode(x=x, y=y, tooltip=tips)]
    changes = [
        f"{style.signed_percent(None if saved is None else -saved)} {what}"
        for saved, what in ((report.saving.flops, "FLOPs"), (report.saving.clicks, "clicks"))
    ]
    side = "left" if b.flops < 0.7 * right else "right"
    under = b.clicks_interval[0] if b.clicks_interval else b.clicks
    at = b.flops + 0.85 * (a.flops - b.flops) if a.flops > b.flops else 0.5 * right
    above = float(np.interp(at, flops, clicks))
    layers += [
        charts.words(there, a.clicks, "EQUAL", EQUAL, dx=9, dy=10),
        charts.words(here, under, ["GreenFlow today", *changes], GREEN, dx=-5, dy=16, align=side, lineHeight=14),
        *(
            [charts.words(shown.tuned.flops / size, shown.tuned.clicks, "TUNED", SKY, dx=9, dy=10)]
            if shown.tuned
            else []
        ),
        charts.words(at / size, above, "predicted frontier", PRICE, dx=-4, dy=-9, align="right"),
    ]
    panel = charts.titled(layers, "Clicks per request (bars: 95 % intervals)", 300)
    return Picture("frontier", "Revenue frontier", [panel])


def _phases(report: Report, arm: ArmResult) -> list[tuple[str, float, float]]:
    """GreenFlow's means in steady traffic and in the spike: (name, FLOPs, clicks) per request."""
    spike = report.budget.spike
    if spike is None:
        return []
    due = arm.requests.scheduled
    inside: npt.NDArray[np.bool_] = (due >= spike.begin) & (due < spike.end)
    return [
        (name, float(arm.recounted[rows].mean()), float(arm.requests.clicks[rows].mean()))
        for name, rows in (("steady", ~inside), ("spike", inside))
        if rows.any()
    ]
