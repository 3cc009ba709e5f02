"""A load test at a glance: outcomes, latency and chains over time, and latencies and chains of the whole."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from greenflow_ray.loadtest.histogram import histogram
from greenflow_ray.loadtest.result import SHED, ArmResult
from greenflow_ray.loadtest.windows import edges, spend, sums
from greenflow_ray.report.charts import arms
from greenflow_ray.support.files import whole
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import AMBER, BUDGET, GREEN, INK, MUTED, PRICE, ROSE

Array = npt.NDArray[np.float64]


def save_png(result: ArmResult, path: Path | str, *, dpi: int = 150) -> None:
    """Write the picture to ``path``, on white, atomically."""
    with mpl.rc_context(style.RC), whole(path) as part:
        draw(result).savefig(part, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})


@mpl.rc_context(style.RC)
def draw(result: ArmResult) -> Figure:
    """Three panels over time, where a request counts in the window in which it was due, and two of the whole."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    grid = figure.add_gridspec(3, 2, width_ratios=(1.7, 1), height_ratios=(1, 1.1, 1.1))
    traffic = figure.add_subplot(grid[0, 0])
    latency = figure.add_subplot(grid[1, 0], sharex=traffic)
    mix = figure.add_subplot(grid[2, 0], sharex=traffic)
    width = arms.bin_width(result.duration_s)
    bounds = edges(result.duration_s, width)
    _traffic(traffic, result, bounds)
    _latency(latency, result, bounds)
    _mix(mix, figure.add_subplot(grid[2, 1]), result, edges(result.duration_s, 2 * width))
    _histogram(figure.add_subplot(grid[:2, 1]), result)
    for axes in (traffic, latency, mix):
        style.tidy(axes)
        axes.set_xlim(0, result.duration_s)
        axes.tick_params(labelbottom=axes is mix)
    mix.set_xlabel(f"seconds from the start, windows of {width:g} s; chains: {2 * width:g} s")
    figure.suptitle(headline(result), x=0.008, ha="left", color=INK, fontsize=12.5, weight="bold")
    late = style.seconds(result.send_delay_s["p99"])
    figure.supxlabel(
        f"The client used {result.client_cpu_share:.0%} of a core, {result.client_cpu_peak:.0%} in its busiest second, "
        f"and sent requests up to {late} late (p99); latencies count from the instant at which a request was due.",
        x=0.008, ha="left", fontsize=9, color=BUDGET if result.client_was_slow else MUTED,
    )  # fmt: skip
    return figure


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


def _traffic(axes: Axes, result: ArmResult, bounds: Array) -> None:
    """Requests due per second, stacked by what became of them."""
    degraded, shed = result.requests.degraded, result.requests.status == SHED
    base = np.zeros(len(bounds) - 1)
    for label, rows, colour in (
        ("answered", result.ok & ~degraded, GREEN),
        ("degraded", result.ok & degraded, AMBER),
        ("shed", shed, ROSE),
        ("error", ~result.ok & ~shed, BUDGET),
    ):
        rate = sums(result, bounds, rows.astype(np.float64)) / np.diff(bounds)
        if rows.any():
            axes.stairs(base + rate, bounds, baseline=base, fill=True, color=colour, alpha=0.75, lw=0, label=label)
        base = base + rate
    axes.stairs(base, bounds, color=INK, lw=1.2)
    axes.set_ylim(0, 1.15 * base.max(initial=0) or 1)
    axes.yaxis.set_major_locator(style.ticks(4))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    style.title(axes, "Requests due, per second, by what became of them")
    if len(result.requests):
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=4, fontsize=8.5, handlelength=0.9)


def _latency(axes: Axes, result: ArmResult, bounds: Array) -> None:
    """p50 and p99 of each window's answers on a log scale."""
    style.title(axes, "Latency of answers, milliseconds: p50 and p99 of each window")
    window = np.digitize(result.requests.scheduled, bounds[1:-1])
    p50, p99 = np.full(len(bounds) - 1, np.nan), np.full(len(bounds) - 1, np.nan)
    for i in range(len(p50)):
        found = 1e3 * result.requests.latency[result.ok & (window == i)]
        if len(found):
            p50[i], p99[i] = np.quantile(found, (0.5, 0.99))
    if np.isnan(p50).all():
        _nothing(axes)
        return
    axes.stairs(p99, bounds, baseline=p50, fill=True, color=PRICE, alpha=0.18, lw=0)
    for values, colour, text, side in ((p99, PRICE, "p99", "bottom"), (p50, INK, "p50", "top")):
        axes.stairs(values, bounds, baseline=None, color=colour, lw=1.6)
        last = float(np.median(values[np.isfinite(values)][-5:]))
        axes.annotate(
            text, (result.duration_s, last), xytext=(6, 0), textcoords="offset points", va=side, color=colour,
            fontsize=9, annotation_clip=False,
        )  # fmt: skip
    _log(axes, "y", 0.7 * float(np.nanmin(p50)), 1.4 * float(np.nanmax(p99)))


def _mix(time: Axes, bars: Axes, result: ArmResult, bounds: Array) -> None:
    """Chains' shares of each window's answers under the FLOP/s spent, and of the whole, which names the colours."""
    groups, labels = arms.chain_groups(result, result)
    colours = [to_hex(colormaps["viridis_r"](x)) for x in np.linspace(0.06, 0.9, max(len(labels), 1))]
    mine = groups[result.requests.chain]
    counts = np.array([sums(result, bounds, (mine == g).astype(np.float64)) for g in range(len(labels))])
    answers = counts.sum(axis=0) if len(labels) else np.zeros(len(bounds) - 1)
    base = np.zeros(len(bounds) - 1)
    for row, colour in zip(counts, colours, strict=False):
        top = base + np.divide(row, answers, out=np.zeros_like(row), where=answers > 0)
        time.stairs(top, bounds, baseline=base, fill=True, color=colour, lw=0)
        base = top
    time.grid(False)
    time.set_ylim(0, 1)
    style.percent_axis(time)
    spent = spend(result, bounds) / np.diff(bounds)
    size, prefix = style.scale(spent.max(initial=0.0))
    right = time.twinx()
    outline = [patheffects.Stroke(linewidth=4, foreground="white"), patheffects.Normal()]
    right.stairs(spent / size, bounds, baseline=None, color=BUDGET, lw=1.8, path_effects=outline)
    right.set_ylim(0, 1.08 * spent.max(initial=0.0) / size or 1)
    right.grid(False)
    style.tidy(right)
    right.tick_params(labelcolor=BUDGET)
    style.title(time, f"Chains' shares of answers; line: {prefix}FLOP/s, scale on the right")

    style.tidy(bars)
    bars.grid(False)
    style.title(bars, "Share of all answers · chain · its FLOPs")
    bars.tick_params(labelbottom=False, labelleft=False)
    bars.spines["bottom"].set_visible(False)
    shares = counts.sum(axis=1) / max(float(answers.sum()), 1.0) if len(labels) else np.empty(0)
    bars.barh(np.arange(len(labels)), shares, height=0.7, color=colours[: len(labels)])
    room = 2.4 * shares.max(initial=0.0) or 1.0  # for the names, on the right of the bars
    for row, (share, label) in enumerate(zip(shares, labels, strict=True)):
        text = f"{100 * share:.0f} %   {label}"
        bars.text(share + 0.015 * room, row, text, va="center", color=INK, fontsize=8.5)
    bars.set_xlim(0, room)


def _histogram(axes: Axes, result: ArmResult) -> None:
    """Latencies of all answers over a log axis, with the quantiles that people ask for."""
    style.title(axes, "Answers by latency, milliseconds (log scale)")
    style.tidy(axes)
    found = histogram(result.requests.latency[result.ok])
    if not len(found.counts):
        _nothing(axes)
        return
    axes.stairs(found.counts, 1e3 * found.edges, fill=True, color=PRICE, alpha=0.45, lw=0)
    axes.stairs(found.counts, 1e3 * found.edges, color=PRICE, lw=1.2)
    top = float(found.counts.max())
    axes.set_ylim(0, 1.3 * top)
    for step, (name, value) in enumerate(result.latency_seconds().items()):
        height = top * (1.24 - 0.055 * step)  # stepped, for p99 and p99.9 may lie close together
        axes.vlines(1e3 * value, 0, height, color=INK, lw=0.9, ls=(0, (3, 2)))
        axes.annotate(
            f"{name}  {style.seconds(value)}", (1e3 * value, height), xytext=(-4, 0), textcoords="offset points",
            ha="right", va="center", fontsize=9, color=INK,
            path_effects=[patheffects.withStroke(linewidth=3, foreground="white")],
        )  # fmt: skip
    axes.yaxis.set_major_locator(style.ticks(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    # Room on the left for the names of quantiles.
    _log(axes, "x", 1e3 * float(found.edges[0]) / 2.5, 1.1e3 * float(found.edges[-1]))


def _nothing(axes: Axes) -> None:
    axes.set_yticks([])
    axes.text(0.5, 0.5, "nothing was answered", transform=axes.transAxes, ha="center", va="center", color=MUTED)


def _log(axes: Axes, which: str, low: float, high: float) -> None:
    """A log axis with a few plain numbers on it."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axes.minorticks_off()
    marks = [step * 10.0**e for e in range(-2, 7) for step in (1, 2, 5) if low <= step * 10.0**e <= high]
    axis.set_ticks(marks if len(marks) <= 8 else [mark for mark in marks if np.log10(mark) % 1 == 0])
    axis.set_major_formatter(lambda value, _: f"{value:,g}")
    if which == "x":
        axes.set_xlim(low, high)
    else:
        axes.set_ylim(low, high)
