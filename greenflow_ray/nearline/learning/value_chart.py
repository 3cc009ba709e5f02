"""Clicks against FLOPs per request: the policies that the log can value, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from greenflow_ray.nearline.learning.estimators import Estimate, Valuation
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import BUDGET, EQUAL, GREEN, MUTED


@mpl.rc_context(style.RC)
def draw(clicks: Estimate, flops: Estimate, found: Sequence[Valuation]) -> Figure:
    """Doubly robust clicks with 95 % intervals; ``clicks`` and ``flops`` are those of the policy that served."""
    figure, (axes,) = style.figure(style.WIDE, 4.6)
    known = [(v, v.robust) for v in found if v.robust is not None]
    size, prefix = style.scale(max([flops.value, *(v.flops.value for v, _ in known)]))
    groups = (
        ("fixed chains", EQUAL, "s", [(v, e) for v, e in known if v.price is None]),
        ("price policy", GREEN, "o", [(v, e) for v, e in known if v.price is not None]),
    )
    for label, colour, marker, points in groups:
        for weak in (False, True):
            some = [(v, e) for v, e in points if (v.verdict == "weak") is weak]
            if not some:
                continue
            axes.errorbar(
                [v.flops.value / size for v, _ in some],
                [e.value for _, e in some],
                yerr=[[e.value - e.low for _, e in some], [e.high - e.value for _, e in some]],
                fmt=marker, color=colour, ms=5, lw=1.2, capsize=2, alpha=0.4 if weak else 1.0,
                mfc="none" if weak else colour, label=f"{label}, few requests" if weak else label,
            )  # fmt: skip
    axes.errorbar(
        [flops.value / size], [clicks.value], yerr=[[clicks.value - clicks.low], [clicks.high - clicks.value]],
        fmt="D", color=BUDGET, ms=6, lw=1.4, capsize=3, label="as served",
    )  # fmt: skip
    strong = [e for v, e in known if v.verdict == "identified"] or [clicks]
    low, high = min(e.low for e in (*strong, clicks)), max(e.high for e in (*strong, clicks))
    room = 0.15 * (high - low) or 0.1 * abs(high) or 1.0
    axes.set_ylim(low - room, high + room)  # weak estimates may lie outside: they must not flatten the others
    axes.set_xlabel(f"{prefix}FLOPs per request")
    style.tidy(axes)
    axes.margins(x=0.04)
    style.title(axes, "Clicks per request, doubly robust, 95 % intervals; estimated from the log")
    axes.legend(loc="lower right", fontsize=8.5, labelcolor=MUTED)
    missing = len(found) - len(known)
    if missing:
        axes.annotate(
            f"{missing} of {len(found)} policies are not identifiable from this log", (0.01, 0.97),
            xycoords="axes fraction", va="top", fontsize=9, color=MUTED,
        )  # fmt: skip
    return figure
