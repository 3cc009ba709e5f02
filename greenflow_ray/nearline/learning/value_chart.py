"""Clicks against FLOPs per request: the policies that the log can value, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt

from greenflow_ray.nearline.learning.estimators import Estimate, Valuation
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Picture
from greenflow_ray.viz.style import BUDGET, EQUAL, GREEN

KINDS = {
    "fixed chains": (EQUAL, "square"), "fixed chains, few requests": ("#c5cbd1", "square"),
    "price policy": (GREEN, "circle"), "price policy, few requests": ("#99d8c7", "circle"),
    "as served": (BUDGET, "diamond"),
}  # fmt: skip


def draw(clicks: Estimate, flops: Estimate, found: Sequence[Valuation]) -> Picture:
    """Doubly robust clicks with 95 % intervals; ``clicks`` and ``flops`` are those of the policy that served."""
    known = [(v, v.robust) for v in found if v.robust is not None]
    size, prefix = style.scale(max([flops.value, *(v.flops.value for v, _ in known)]))
    rows = [
        {
            "kind": ("fixed chains" if v.price is None else "price policy") + ", few requests" * (v.verdict == "weak"),
            "x": v.flops.value / size, "y": e.value, "low": e.low, "high": e.high,
        }
        for v, e in known
    ]  # fmt: skip
    served = {"kind": "as served", "x": flops.value / size, "y": clicks.value, "low": clicks.low, "high": clicks.high}
    strong = [e for v, e in known if v.verdict == "identified"] or [clicks]
    low, high = min(e.low for e in (*strong, clicks)), max(e.high for e in (*strong, clicks))
    room = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    x = alt.X("x:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=f"{prefix}FLOPs per request"))
    # Weak estimates may lie outside: they must not flatten the others.
    y = charts.y_axis(high + room, low=low - room, ticks=6)
    names = list(dict.fromkeys(str(row["kind"]) for row in [*rows, served]))
    colour = alt.Color("kind:N", scale=alt.Scale(domain=names, range=[KINDS[name][0] for name in names]))
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=names, range=[KINDS[name][1] for name in names]), legend=None)
    base = alt.Chart(charts.records([*rows, served]))
    bars = base.mark_rule(clip=True).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    dots = base.mark_point(filled=True, size=60, opacity=1, clip=True).encode(x=x, y=y, color=colour, shape=shape)
    missing = len(found) - len(known)
    said = f"; {missing} of {len(found)} policies are not identifiable from this log" if missing else ""
    title = f"Clicks per request, doubly robust, 95 % intervals; estimated from the log{said}"
    return Picture("value", "What policies would have earned", [charts.titled([bars, dots], title, 330)])
