"""Pictures over the GreenFlow arm's time: traffic, spend against the budget, the price, and replicas."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import edges, spend, sums
from greenflow_ray.report.charts.arms import bin_width
from greenflow_ray.report.contents import Moment, Report
from greenflow_ray.report.course import LIMITS, intensity_changes, limit_of, replica_states, replicas_moved
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import AMBER, BUDGET, EQUAL, GREEN, INK, MUTED, NARROW, PRICE, ROSE, SKY, WIDE

Array = npt.NDArray[np.float64]

_LIMIT_COLOURS = {"flops": BUDGET, "watts": AMBER, "kwh": SKY, "grams": ROSE}
MOST_MARKS = 6
"""Changes of the carbon intensity that are marked one by one."""


def mark_spike(axes: Axes, report: Report, label: str = "") -> None:
    """Shade the seconds in which traffic was multiplied."""
    spike = report.budget.spike
    if spike is None:
        return
    axes.axvspan(spike.begin, spike.end, color=AMBER, alpha=0.13, lw=0, zorder=0)
    if label:
        axes.annotate(
            label, (spike.end, 1.0), xycoords=("data", "axes fraction"), xytext=(4, 1), textcoords="offset points",
            va="top", ha="left", fontsize=8.5, color=AMBER,
        )  # fmt: skip


@mpl.rc_context(style.RC)
def spend_and_price(
    report: Report, equal: ArmResult, greenflow: ArmResult, course: Sequence[Moment], *, narrow: bool = False
) -> Figure:
    """Requests, spend against the budget, which limit binds if that changed, and the price, over the same time."""
    bound = [m.bound_by for m in course]
    strip = len({limit_of(b) for b in bound if b}) > 1
    rows = (0.8, 3.2, *((0.28,) if strip else ()), 1.3)
    figure, panels = style.figure(NARROW if narrow else WIDE, (5.4 if narrow else 5.6) + 0.4 * strip, rows=rows)
    traffic, main, price = panels[0], panels[1], panels[-1]
    end = greenflow.duration_s
    bounds = edges(end, bin_width(end))
    spans = np.diff(bounds)

    asked = sums(equal, bounds, np.ones(len(equal.requests))) / spans
    traffic.stairs(asked, bounds, fill=True, color=MUTED, alpha=0.35, lw=0)
    style.title(traffic, "Requests due, per second")
    _spend(main, report, equal, greenflow, bounds, narrow)
    changes = intensity_changes(course, end)
    for t, before, after in changes if len(changes) <= MOST_MARKS else ():
        for axes in (main, price):
            axes.axvline(t, color=ROSE, lw=1.1, ls=(0, (1, 2)))
        fits = t < (0.6 if narrow else 0.8) * end
        unit = "g/kWh" if narrow else "gCO2e/kWh"
        main.annotate(
            f"{before:.0f} → {after:.0f} {unit}", (t, 1.0), xycoords=("data", "axes fraction"),
            xytext=(4 if fits else -4, -19 if narrow else -3), textcoords="offset points", va="top",
            ha="left" if fits else "right", fontsize=8.5, color=ROSE,
        )  # fmt: skip
    if strip:
        _strip(panels[2], course, end, narrow)
    _price(price, course, end, narrow)
    price.set_xlabel("seconds from the start")
    for axes in panels:
        if axes in (traffic, main, price):
            mark_spike(axes, report, "spike" if axes is traffic else "")
        style.tidy(axes)
        axes.set_xlim(0, end)
    for axes, n in ((traffic, 2), (main, 5)):
        axes.yaxis.set_major_locator(style.ticks(n))
    return figure


def _spend(axes: Axes, report: Report, equal: ArmResult, greenflow: ArmResult, bounds: Array, narrow: bool) -> None:
    """Both arms' FLOP/s and the budget; the EQUAL arm may leave the picture, or nothing else could be seen."""
    end, spans = float(bounds[-1]), np.diff(bounds)
    full, spent = spend(equal, bounds) / spans, spend(greenflow, bounds) / spans
    budget = report.budget
    if budget.course:
        times = np.array([max(t, 0.0) for t, _ in budget.course] + [end])
        times[0] = 0.0
        limit = np.array([np.nan if rate is None else rate for _, rate in budget.course])
    else:
        times = np.array([0.0, end])
        limit = np.array([np.nan if budget.flops_per_second is None else budget.flops_per_second])
    highest = max(float(spent.max(initial=0)), float(np.nanmax(limit, initial=0)))
    usual = max(3 * float(np.nanmax(limit, initial=0)), 1.3 * float(np.quantile(full, 0.8)))
    top = max(highest * 1.12, min(float(full.max(initial=0)) * 1.06, usual)) or 1.0
    size, prefix = style.scale(top)
    axes.stairs(full / size, bounds, color=EQUAL, lw=1.4)
    axes.stairs(spent / size, bounds, fill=True, color=GREEN, alpha=0.25, lw=0)
    axes.stairs(spent / size, bounds, color=GREEN, lw=1.8)
    labels = [(_tail(full / size), "EQUAL", EQUAL), (_tail(spent / size), "GreenFlow", GREEN)]
    if np.isfinite(limit).any():
        axes.stairs(limit / size, times, baseline=None, color=BUDGET, lw=1.8, ls=(0, (4, 1.5)))
        last = limit[np.isfinite(limit)][-1]
        labels.append((float(last) / size, "budget", BUDGET))
    # Room above for the legend and for the marks of changes.
    axes.set_ylim(0, top / size * (1.12 if narrow else 1.06))
    if full.max(initial=0) > axes.get_ylim()[1] * size:
        axes.annotate(
            f"EQUAL up to {style.si(float(full.max()), 'FLOP/s')}", (1.0, 1.0), xycoords="axes fraction",
            xytext=(0, 3), textcoords="offset points", va="bottom", ha="right", fontsize=8.5, color=EQUAL,
        )  # fmt: skip
    style.title(axes, f"Spend, {prefix}FLOP/s" + ("" if narrow else f" ({spans[0]:g} s bins)"))
    if narrow:
        axes.legend(
            handles=[Patch(color=colour, label=text) for _, text, colour in labels], ncols=3, loc="upper left",
            fontsize=8.5, handlelength=0.9, columnspacing=1.0, borderaxespad=0.1, labelcolor=INK,
        )  # fmt: skip
    else:
        style.end_labels(axes, end, labels)


def _strip(axes: Axes, course: Sequence[Moment], end: float, narrow: bool) -> None:
    """A band that names the limit that binds."""
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)
    style.title(axes, "Limit that binds")
    spots = [(m.t, limit_of(m.bound_by) if m.bound_by else "") for m in course if m.t < end]
    runs = [next(group) for _, group in itertools.groupby(spots, key=lambda spot: spot[1])]
    for (begin, name), after in zip(runs, [t for t, _ in runs[1:]] + [end], strict=True):
        if not name:
            continue
        axes.axvspan(begin, after, color=_LIMIT_COLOURS.get(name, MUTED), alpha=0.45, lw=0)
        if after - begin > (0.16 if narrow else 0.07) * end:
            axes.text(
                (begin + after) / 2, 0.46, LIMITS.get(name, name), ha="center", va="center", fontsize=8.5, color=INK
            )


def _price(axes: Axes, course: Sequence[Moment], end: float, narrow: bool) -> None:
    """The price that holds until the next moment, and when a new version came."""
    points = [m for m in course if m.t < end]
    if not points:
        style.title(axes, "Price: none was reported")
        return
    values = np.array([m.price for m in points])
    unit, letter = _per_flop(float(values.max()))
    at = np.array([*(m.t for m in points), end])
    axes.stairs(values * unit, at, color=PRICE, lw=1.6, baseline=None)
    versions = [b.t for a, b in itertools.pairwise(points) if b.version != a.version and b.t > 0]
    for moment in versions if len(versions) <= 40 else ():
        axes.axvline(moment, color=PRICE, lw=0.8, alpha=0.3)
    scaled = values * unit
    usual, most = (float(f(scaled[scaled > 0])) if (scaled > 0).any() else 1.0 for f in (np.median, np.max))
    axes.set_ylim(0, 1.15 * most)
    if most > 8 * usual:  # a cap's price, which would press all others flat
        axes.set_yscale("symlog", linthresh=usual, linscale=0.7)
        axes.set_ylim(0, 1.6 * most)
        round_ = max(step * 10.0**e for e in range(-9, 10) for step in (1, 2, 5) if step * 10.0**e <= most)
        axes.yaxis.set_major_locator(FixedLocator([0.0, usual, round_]))
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:.2g}")
        axes.minorticks_off()
    else:
        axes.yaxis.set_major_locator(style.ticks(3))
    log = ", log scale" if most > 8 * usual else ""
    lines = "; a vertical line: a new version" if versions and len(versions) <= 40 and not narrow else ""
    style.title(axes, f"Price, clicks per {letter}FLOP{log}{lines}")


@mpl.rc_context(style.RC)
def replicas(report: Report, course: Sequence[Moment], end: float, *, narrow: bool = False) -> Figure:
    """A row for each deployment whose number of replicas changed, over the same time."""
    states, times = replica_states(course, end)
    moved = replicas_moved(course, end)
    figure, panels = style.figure(NARROW if narrow else WIDE, 0.75 + 0.68 * len(moved), rows=(1,) * len(moved))
    for axes, name in zip(panels, moved, strict=True):
        numbers = np.array(states[name], dtype=np.float64)
        bounds = np.append(times, max(end, float(times[-1]) + 1e-9))
        axes.stairs(numbers, bounds, fill=True, color=PRICE, alpha=0.25, lw=0)
        axes.stairs(numbers, bounds, color=PRICE, lw=1.6)
        axes.set_ylim(0, 1.15 * numbers.max())
        axes.set_yticks(sorted({0.0, float(numbers.min()), float(numbers.max())}))
        axes.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
        style.title(axes, name)
        mark_spike(axes, report)
        style.tidy(axes)
        axes.set_xlim(0, end)
    panels[-1].set_xlabel("seconds from the start")
    return figure


def _tail(values: Array) -> float:
    """Where a line's label belongs: the mean of its last bins, which wanders less than the very last."""
    return float(values[-4:].mean()) if len(values) else 0.0


def _per_flop(largest: float) -> tuple[float, str]:
    """Factor and prefix that make a price per FLOP readable: clicks per M, G or T FLOP."""
    return next(((f, p) for f, p in ((1e6, "M"), (1e9, "G"), (1e12, "T")) if largest * f >= 0.1), (1e9, "G"))
