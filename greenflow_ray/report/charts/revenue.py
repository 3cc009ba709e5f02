"""The revenue frontier's picture: what the price promises for every mean cost, and where the arms were."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.contents import ArmPoint, Frontier, Report
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import EQUAL, GREEN, MUTED, NARROW, PRICE, WIDE


@mpl.rc_context(style.RC)
def frontier(report: Report, shown: Frontier, greenflow: ArmResult, *, narrow: bool = False) -> Figure:
    """Clicks per request over FLOPs per request: the predicted curve, both arms, and GreenFlow in and out of a spike.

    ``shown`` is the report's frontier.
    """
    figure, (axes,) = style.figure(NARROW if narrow else WIDE, 3.9 if narrow else 4.2)
    flops = np.array([p.flops for p in shown.points])
    clicks = np.array([p.clicks for p in shown.points])
    a, b = shown.equal, shown.today
    phases = _phases(report, greenflow)
    right = max(float(flops.max()), a.flops, b.flops)
    size, prefix = style.scale(right)
    edge = (1.26 if narrow else 1.12) * right / size
    # A fuller budget than the unpriced mix costs is not spent: from there on the curve is flat.
    axes.plot(np.append(flops, edge * size) / size, np.append(clicks, clicks[-1]), color=PRICE, lw=2.2, zorder=2)
    values = [*clicks, *(v for p in (a, b) for v in (p.clicks_interval or (p.clicks,))), *(y for _, _, y in phases)]
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    axes.set_ylim(max(0.0, low - 0.3 * span), high + 0.12 * span)
    axes.set_xlim(0, edge)

    # The way from GreenFlow to EQUAL: to the right, then up.
    corner = ([b.flops / size, a.flops / size, a.flops / size], [b.clicks, b.clicks, a.clicks])
    axes.plot(*corner, color=MUTED, lw=0.9, ls=(0, (2, 2)), zorder=1)
    for name, x, y in phases:
        axes.plot(x / size, y, "o", color=GREEN, ms=6, mfc="none", mew=1.5, zorder=3)
        _note(axes, (x / size, y), name, (7, -5), "left", "top", GREEN)
    for point, colour in ((a, EQUAL), (b, GREEN)):
        _arm(axes, point, size, colour)
    _note(axes, (a.flops / size, a.clicks), "EQUAL", (8, -6), "left", "top", EQUAL)
    changes = "".join(
        f"\n{style.signed_percent(None if saved is None else -saved)} {what}"
        for saved, what in ((report.saving.flops, "FLOPs"), (report.saving.clicks, "clicks"))
    )
    under, side = b.clicks_interval[0] if b.clicks_interval else b.clicks, "left" if b.flops < 0.7 * right else "right"
    _note(axes, (b.flops / size, under), "GreenFlow today" + changes, (-5, -10), side, "top", GREEN)
    at = b.flops + 0.85 * (a.flops - b.flops) if a.flops > b.flops else 0.5 * right
    place = (at / size, float(np.interp(at, flops, clicks)))
    _note(axes, place, "predicted frontier", (-4, 5), "right", "bottom", PRICE)
    style.tidy(axes)
    axes.set_xlim(0, edge)
    axes.yaxis.set_major_locator(style.ticks(5))
    axes.xaxis.set_major_locator(style.ticks(4 if narrow else 7))
    axes.set_xlabel(f"{prefix}FLOPs per request")
    style.title(axes, "Clicks per request" if narrow else "Clicks per request (bars: 95 % intervals)")
    return figure


def _arm(axes: Axes, point: ArmPoint, size: float, colour: str) -> None:
    """A dot with its interval of clicks."""
    if point.clicks_interval:
        axes.vlines(point.flops / size, *point.clicks_interval, color=colour, lw=2.2, zorder=4)
    axes.plot(point.flops / size, point.clicks, "o", color=colour, ms=9, zorder=5)


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


def _note(
    axes: Axes,
    at: tuple[float, float],
    text: str,
    offset: tuple[float, float],
    ha: str,
    va: str,
    colour: str,
) -> None:
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", ha=ha, va=va, color=colour, fontsize=9.5,
        annotation_clip=False, zorder=6,
    )  # fmt: skip
