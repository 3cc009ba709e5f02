"""Pictures of the arms' rows: chains, outcomes, latency; each comes wide for a desk and narrow for a phone."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import edges, sums
from greenflow_ray.report.contents import Report
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import EQUAL, GREEN, INK, NARROW, WIDE

_STEPS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
SHOWN_CHAINS = 8


def bin_width(duration_s: float) -> float:
    """Width of a bin, seconds, that gives at most about 75 of them."""
    return next((step for step in _STEPS if duration_s / step <= 75), _STEPS[-1])


@mpl.rc_context(style.RC)
def chain_mix(equal: ArmResult, greenflow: ArmResult, *, narrow: bool = False) -> Figure:
    """Both arms' shares of chains as stacked bars, then GreenFlow's over time; dearer chains are darker."""
    figure, (bars, time) = style.figure(NARROW if narrow else WIDE, 6.0 if narrow else 5.0, rows=(1, 2.1), share=False)
    groups, labels = chain_groups(equal, greenflow)
    colours = _ramp(len(labels))
    for row, arm in enumerate((greenflow, equal)):
        group = groups[arm.requests.chain[arm.ok & (arm.requests.chain >= 0)]]
        left, total = 0.0, max(len(group), 1)
        for g, colour in enumerate(colours):
            part = np.count_nonzero(group == g) / total
            bars.barh(row, part, left=left, height=0.62, color=colour, edgecolor="white", lw=0.6)
            if part >= (0.12 if narrow else 0.06):
                tone = "white" if _dark(colour) else "#17212c"
                bars.text(
                    left + part / 2, row, f"{100 * part:.0f} %", ha="center", va="center", color=tone, fontsize=8.5
                )
            left += part
    bars.set_yticks([0, 1], ["GreenFlow", "EQUAL"], color=INK)
    bars.grid(False)
    style.tidy(bars)
    bars.set_xlim(0, 1)
    bars.tick_params(labelbottom=False)
    bars.spines["bottom"].set_visible(False)
    style.title(bars, "Share of answers by chain")

    bounds = edges(greenflow.duration_s, 2 * bin_width(greenflow.duration_s))
    chain = greenflow.requests.chain
    counts = np.zeros((len(labels), len(bounds) - 1))
    for g in range(len(labels)):
        counts[g] = sums(greenflow, bounds, (groups[chain] == g).astype(float))
    shares = np.divide(counts, counts.sum(0), out=np.zeros_like(counts), where=counts.sum(0) > 0)
    base = np.zeros(shares.shape[1])
    for share, colour in zip(shares, colours, strict=True):
        time.stairs(base + share, bounds, baseline=base, fill=True, color=colour, lw=0)
        base = base + share
    style.tidy(time)
    time.grid(False)
    time.set_ylim(0, 1)
    style.percent_axis(time)
    time.set_xlabel("seconds from the start")
    style.title(time, "GreenFlow's mix over time")
    time.set_xlim(0, greenflow.duration_s)
    handles = [Patch(color=c, label=text) for c, text in zip(colours, labels, strict=True)][::-1]
    if not handles:
        return figure
    figure.legend(
        handles=handles, loc="outside lower left" if narrow else "outside right center", fontsize=8.5,
        title="chain, dearest first", title_fontsize=8.5, alignment="left", labelcolor=INK, handlelength=1.0,
    )  # fmt: skip
    return figure


@mpl.rc_context(style.RC)
def outcomes(report: Report, *, narrow: bool = False) -> Figure:
    """Clicks and FLOPs of both arms as bars from 0."""
    arms = report.arms
    entries = [
        ("Clicks", arms.equal.clicks, arms.greenflow.clicks, report.saving.clicks),
        ("FLOPs", arms.equal.flops, arms.greenflow.flops, report.saving.flops),
    ]
    figure, panels = style.figure(
        NARROW if narrow else WIDE,
        3.4 if narrow else 1.9,
        rows=(1, 1) if narrow else (1,),
        columns=1 if narrow else 2,
        share=False,
    )
    for axes, (name, a, b, saving) in zip(panels, entries, strict=True):
        largest = max(a, b, 1)
        axes.barh([1, 0], [a / largest, b / largest], height=0.62, color=[EQUAL, GREEN])
        for row, value in ((1, a), (0, b)):
            shown = style.si(value, "FLOPs") if name == "FLOPs" else f"{value:,}"
            axes.text(value / largest + 0.015, row, shown, va="center", color=INK, fontsize=9.5)
        axes.set_yticks([1, 0], ["EQUAL", "GreenFlow"])
        axes.grid(False)
        style.tidy(axes)
        axes.set_xlim(0, 1.3)
        axes.tick_params(labelbottom=False, labelcolor=INK)
        axes.spines["bottom"].set_visible(False)
        change = style.signed_percent(None if saving is None else -saving)
        style.title(axes, f"{name}: {change}")
    return figure


@mpl.rc_context(style.RC)
def latency(equal: ArmResult, greenflow: ArmResult, *, narrow: bool = False) -> Figure:
    """Share of answers slower than x, both arms, both axes logarithmic: the tail is what the eye must see."""
    figure, (axes,) = style.figure(NARROW if narrow else WIDE, 3.4)
    floor = 1.0
    for arm, colour, label, width in ((equal, EQUAL, "EQUAL", 1.8), (greenflow, GREEN, "GreenFlow", 2.2)):
        values = np.sort(arm.requests.latency[arm.ok]) * 1000
        if not len(values):
            continue
        slower = 1 - np.arange(len(values)) / len(values)
        floor = min(floor, 1 / len(values))
        axes.plot(values, slower, color=colour, lw=width, drawstyle="steps-post", label=label)
        for quantile in (0.5, 0.95, 0.99):
            axes.plot(np.quantile(values, quantile), 1 - quantile, "o", color=colour, ms=5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(max(floor, 1e-4), 1.15)
    style.tidy(axes)
    axes.margins(x=0.02)
    axes.minorticks_off()
    axes.set_yticks([t for t in (1, 0.5, 0.05, 0.01, 0.001) if t >= floor])
    style.percent_axis(axes)
    low, high = axes.get_xlim()
    ticks = [t * 10.0**e for e in range(-1, 7) for t in (1, 2, 5) if low <= t * 10.0**e <= high]
    axes.set_xticks(ticks if len(ticks) <= (6 if narrow else 10) else [t for t in ticks if np.log10(t) % 1 == 0])
    axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    axes.set_xlabel("latency, milliseconds (log scale)")
    style.title(axes, "Share of answers slower than this" + ("" if narrow else " (dots: p50, p95, p99)"))
    if axes.get_lines():
        axes.legend(loc="lower left", fontsize=9, labelcolor="linecolor", handlelength=1.2)
    return figure


def chain_groups(equal: ArmResult, greenflow: ArmResult) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Group of every chain and each group's label, cheapest first: the chains served most, and the others in bands.

    The group array has one entry more than there are chains, so that chain -1 (no receipt) has an entry too.
    """
    n = len(greenflow.chains)
    counts = np.zeros(n)
    for arm in (equal, greenflow):
        counts += np.bincount(arm.requests.chain[arm.requests.chain >= 0], minlength=n) / max(len(arm.requests), 1)
    cost = np.array(greenflow.chain_flops, dtype=np.float64)
    served = [j for j in np.argsort(-counts, kind="stable").tolist() if counts[j] > 0]
    shown = sorted(served[: SHOWN_CHAINS - 1 if len(served) > SHOWN_CHAINS else SHOWN_CHAINS], key=lambda j: cost[j])
    rest = [j for j in served if j not in shown]
    labels = [
        f"{name} · {style.si(cost[j], 'FLOPs')}" for j, name in zip(shown, short_names(greenflow, shown), strict=True)
    ]
    groups = np.full(n + 1, -1, dtype=np.int64)
    if rest:
        # The others are one band, set where their mean cost belongs, so that colours still run from cheap to dear.
        mean = float(np.average(cost[rest], weights=counts[rest]))
        place = sum(cost[j] <= mean for j in shown)
        order: list[list[int]] = [[j] for j in shown]
        order.insert(place, rest)
        labels.insert(place, f"{len(rest)} others · {style.si(mean, 'FLOPs')} on average")
    else:
        order = [[j] for j in shown]
    for g, members in enumerate(order):
        groups[members] = g
    return groups, labels


def short_names(arm: ArmResult, chains: Sequence[int]) -> list[str]:
    """Names of chains without the stages in which they do not differ."""
    parts = [arm.chains[j].split(">") for j in chains]
    if len({len(p) for p in parts}) != 1:
        return [arm.chains[j] for j in chains]
    vary = [k for k in range(len(parts[0])) if len({p[k] for p in parts}) > 1] or list(range(len(parts[0])))
    return [" › ".join(p[k].replace(":", " ") for k in vary) for p in parts]


def _ramp(n: int) -> list[str]:
    """Colours from light (cheap) to dark (dear), distinguishable without seeing hue."""
    return [to_hex(colormaps["viridis_r"](x)) for x in np.linspace(0.06, 0.9, max(n, 1))][:n]


def _dark(colour: str) -> bool:
    r, g, b = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * r + 0.587 * g + 0.114 * b < 140
