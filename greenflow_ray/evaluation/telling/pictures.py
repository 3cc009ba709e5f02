"""The evaluation's pictures; each comes wide for a desk and narrow for a phone, every estimate with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greenflow_ray.evaluation.findings.shape import (
    Ceiling,
    ExposureResult,
    Interval,
    PolicyPoint,
    Scale,
    Tracking,
    Waterfall,
)
from greenflow_ray.evaluation.telling import words
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import AMBER, BUDGET, EQUAL, GREEN, INK, MUTED, NARROW, PRICE, ROSE, SKY, WIDE

Dash = tuple[int, tuple[int, ...]]
SOLID: Dash = (0, ())
_COLOURS = (("equal", EQUAL), ("fixed", BUDGET), ("global", PRICE), ("cras", ROSE), ("dcaf", AMBER))


def look(policy: str, main: str | None) -> tuple[str, Dash, float]:
    """Colour, dashes and line width of a policy, the same in all pictures; luck is dotted."""
    name = policy.lower()
    if words.is_luck(policy):
        return MUTED, (0, (1, 2)), 1.6
    if name.startswith("greenflow"):
        return (GREEN, SOLID, 2.6) if policy == main else (GREEN, (0, (3, 2)), 1.3)
    colour = next((c for word, c in _COLOURS if word in name), SKY)
    return colour, SOLID, 1.6


@mpl.rc_context(style.RC)
def waterfall(result: ExposureResult, falls: Waterfall, *, narrow: bool = False) -> Figure:
    """FLOPs at equal clicks from the reference chain down to GreenFlow, one bar a step, 95 % intervals as whiskers."""
    main = words.main_policy(result)
    steps = falls.steps
    count = len(steps) + 2
    figure, (axes,) = style.figure(NARROW if narrow else WIDE, (0.62 if narrow else 0.5) * count + 0.5)
    reference = words.chain_name(falls.reference.name, result)
    labels = [f"fixed chain {reference}"]
    _bar(axes, 0, 0.0, 1.0, EQUAL, f"100 % · {style.si(falls.reference.flops, 'FLOPs')}")
    before = 1.0
    for row, step in enumerate(steps, start=1):
        after = 1 - step.saved.value
        colour = look(step.policy, main)[0]
        ends = before - step.added.high, before - step.added.low
        _bar(axes, row, after, before, colour, words.change(step.added), ends)
        axes.plot([before, before], [row - 1 + 0.28, row - 0.28], color=MUTED, lw=0.8)
        labels.append(step.step)
        before = after
    if steps:
        last = steps[-1]
        axes.plot([before, before], [count - 2 + 0.28, count - 1 - 0.28], color=MUTED, lw=0.8)
        ends = 1 - last.saved.high, 1 - last.saved.low
        text = f"{words.percent(before)} ({words.number(100 * ends[0], 1)} to {words.percent(ends[1])})"
        text += f" · {style.si(last.flops.value, 'FLOPs')}"
        _bar(axes, count - 1, 0.0, before, look(last.policy, main)[0], text, ends)
        labels.append(last.policy)
    axes.set_ylim(count - 0.5, -0.75 if narrow else -0.5)
    furthest = max([1.0, *(1 - step.saved.low for step in steps)])
    axes.set_xlim(0, furthest + (0.62 if narrow else 0.3))
    axes.set_yticks([] if narrow else range(len(labels)), [] if narrow else [_first_up(text) for text in labels])
    if narrow:
        for row, text in enumerate(labels):
            axes.text(0, row - 0.31, _first_up(text), color=INK, fontsize=8.5, va="bottom")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    style.percent_axis(axes, "x")
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.tick_params(length=0)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    style.title(axes, "FLOPs a request at equal clicks" + ("" if narrow else ", the fixed chain = 100 %"))
    return figure


@mpl.rc_context(style.RC)
def revenue(result: ExposureResult, *, narrow: bool = False) -> Figure:
    """The paper's Figure 4: clicks over budget for all policies, and below their ratio to GLOBAL's, paired by user."""
    figure, (level, ratio) = style.figure(NARROW if narrow else WIDE, 6.4 if narrow else 6.2, rows=(1.5, 1))
    main = words.main_policy(result)
    names = sorted(words.policies(result), key=lambda name: name == main)  # GreenFlow is drawn over the others
    ends: list[tuple[float, str, str]] = []
    tails: list[tuple[float, str, str]] = []
    for name in names:
        line = words.points(result, name)
        colour = look(name, main)[0]
        _line(level, line, [p.clicks for p in line], name, main)
        ends.append((line[-1].clicks.value, words.policy_name(name), colour))
        if not words.is_luck(name) and "global" not in name.lower():
            _line(ratio, line, [p.ratio_to_global for p in line], name, main)
            tails.append((line[-1].ratio_to_global.value, name, colour))
    ratio.axhline(1, color=PRICE, lw=1.4)
    tails.append((1.0, "GLOBAL", PRICE))
    style.title(level, "Clicks a request, 95 % bands")
    luck = any(map(words.is_luck, names))
    style.title(ratio, "Clicks ÷ GLOBAL's, paired" + ("; the oracle is left out" if luck else ""))
    shares = sorted({p.budget_share for p in result.policies})
    _budget_ticks(ratio, shares, result.fullest.flops, narrow)
    for axes in (level, ratio):
        style.tidy(axes)
        axes.margins(x=0.01)
        axes.yaxis.set_major_locator(style.ticks(5))
    if narrow:
        figure.legend(
            *level.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=8, labelcolor=INK,
            handlelength=1.6, columnspacing=1.0,
        )  # fmt: skip
    elif shares:
        style.end_labels(level, shares[-1], ends, gap=0.06)
        style.end_labels(ratio, shares[-1], tails, gap=0.09)
    return figure


@mpl.rc_context(style.RC)
def forest(rows: Sequence[tuple[str, Interval, bool]], title: str, *, narrow: bool = False) -> Figure:
    """Estimates under each other, (name, estimate, whether to stress it), with whiskers; a line at 1."""
    figure, (axes,) = style.figure(NARROW if narrow else WIDE, (0.5 if narrow else 0.32) * len(rows) + 0.7)
    if narrow:  # the line leaves room for the names, which stand above their rows
        axes.vlines([1] * len(rows), [r - 0.12 for r in range(len(rows))], [r + 0.42 for r in range(len(rows))], PRICE)
    else:
        axes.axvline(1, color=PRICE, lw=1.2)
    for row, (name, of, stressed) in enumerate(rows):
        colour = GREEN if stressed else MUTED
        axes.plot([of.low, of.high], [row, row], color=colour, lw=1.6)
        axes.plot(of.value, row, "o", color=colour, ms=6)
        if narrow:
            axes.text(0, row - 0.2, name, color=INK, fontsize=8.5, va="bottom", transform=axes.get_yaxis_transform())
    axes.set_ylim(len(rows) - 0.5, -0.8 if narrow else -0.5)
    axes.set_yticks([] if narrow else range(len(rows)), [] if narrow else [name for name, _, _ in rows])
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    style.tidy(axes)
    axes.margins(x=0.05)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.xaxis.set_major_locator(style.ticks(4 if narrow else 7))
    style.title(axes, title)
    return figure


@mpl.rc_context(style.RC)
def scales(of: Sequence[Scale], *, narrow: bool = False) -> Figure:
    """One panel a question: clicks ÷ GLOBAL's with whiskers; points are set evenly, each under its label."""
    columns = 1 if narrow or len(of) == 1 else 2
    rows = -(-len(of) // columns)
    figure, panels = style.figure(
        NARROW if narrow else WIDE, 2.0 * rows, rows=(1,) * rows, columns=columns, share=False
    )
    for axes in panels[len(of) :]:
        axes.set_visible(False)
    for axes, scale in zip(panels, of, strict=False):
        line = sorted(scale.points, key=lambda p: p.x)
        _whiskers(axes, [p.ratio_to_global for p in line], GREEN)
        axes.axhline(1, color=PRICE, lw=1.2)
        labels = [textwrap.fill(p.label, 12) for p in line]
        every = -(-len(labels) // (6 if narrow or columns == 2 else 12))
        axes.set_xticks(range(len(labels)), [t if i % every == 0 else "" for i, t in enumerate(labels)], color=INK)
        style.tidy(axes)
        axes.set_xlim(-0.4, len(labels) - 0.6)
        axes.yaxis.set_major_locator(style.ticks(4))
        style.title(axes, f"{_first_up(scale.name)}: clicks ÷ GLOBAL's")
    return figure


@mpl.rc_context(style.RC)
def tracking(of: Tracking, *, narrow: bool = False) -> Figure:
    """The paper's Figure 5: requests, and what each policy spends against the budget, over a simulated day."""
    figure, (traffic, main) = style.figure(NARROW if narrow else WIDE, 4.6, rows=(0.7, 3))
    hours = of.window_s * len(of.demand) >= 7200
    bounds = np.arange(len(of.demand) + 1) * of.window_s / (3600 if hours else 60)
    traffic.stairs(of.demand, bounds, fill=True, color=MUTED, alpha=0.35, lw=0)
    style.title(traffic, "Requests a second")
    stress = next((name for name in of.spend if name.lower().startswith("greenflow")), None)
    size, prefix = style.scale(max([*of.budget, *(x for line in of.spend.values() for x in line)], default=1.0))
    ends: list[tuple[float, str, str]] = []
    for name, line in sorted(of.spend.items(), key=lambda entry: entry[0] == stress):
        colour, dashes, width = look(name, stress)
        values = np.array(line) / size
        main.stairs(values, bounds[: len(values) + 1], color=colour, lw=width, ls=dashes, label=name, baseline=None)
        ends.append((float(values[-max(1, len(values) // 20) :].mean()) if len(values) else 0.0, name, colour))
    limit = np.array(of.budget) / size
    main.stairs(limit, bounds[: len(limit) + 1], color=INK, lw=1.4, ls=(0, (4, 2)), label="budget", baseline=None)
    if len(limit):
        ends.append((float(limit[-1]), "budget", INK))
    main.set_ylim(0)
    style.title(main, f"Spend, {prefix}FLOP/s (windows of {of.window_s:g} s)")
    main.set_xlabel("hours" if hours else "minutes")
    for axes, n in ((traffic, 2), (main, 5)):
        style.tidy(axes)
        axes.yaxis.set_major_locator(style.ticks(n))
    if narrow:
        figure.legend(*main.get_legend_handles_labels(), loc="outside lower left", ncols=2, fontsize=8, labelcolor=INK)
    elif len(bounds):
        style.end_labels(main, float(bounds[-1]), ends)
    return figure


@mpl.rc_context(style.RC)
def ceiling(of: Sequence[Ceiling], fullest_flops: float, *, narrow: bool = False) -> Figure:
    """Share of the true optimum's gain over GLOBAL (synthetic data) that GreenFlow and a foreseeing learner reach."""
    figure, (axes,) = style.figure(NARROW if narrow else WIDE, 2.8)
    line = sorted(of, key=lambda c: c.budget_share)
    shares = [c.budget_share for c in line]
    told = [(c.budget_share, (c.foreseeable - c.global_) / (c.optimum - c.global_)) for c in line
            if c.foreseeable is not None and c.optimum > c.global_]  # fmt: skip
    axes.axhline(1, color=INK, lw=1.2, ls=(0, (4, 2)), label="optimum, all rewards known")
    axes.axhline(0, color=PRICE, lw=1.2, label="GLOBAL")
    if told:
        axes.plot([x for x, _ in told], [y for _, y in told], "o-", color=AMBER, ms=4, lw=1.6, label="foreseeable")
    axes.plot(shares, [c.share for c in line], "o-", color=GREEN, ms=4.5, lw=2.4, label="GreenFlow")
    style.tidy(axes)
    axes.margins(x=0.02)
    style.percent_axis(axes)
    _budget_ticks(axes, shares, fullest_flops, narrow)
    style.title(axes, "Share of the optimum's gain over GLOBAL (synthetic data)")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower left", ncols=2 if narrow else 4, fontsize=8.5,
        labelcolor=INK,
    )  # fmt: skip
    return figure


def _bar(
    axes: Axes, row: int, left: float, right: float, colour: str, text: str, ends: tuple[float, float] | None = None
) -> None:
    """One bar with its whisker and, to its right, its text."""
    axes.barh(row, right - left, left=left, height=0.56, color=colour, lw=0)
    edge = max(left, right)
    if ends is not None:
        axes.plot(ends, [row, row], color=INK, lw=1.5, marker="|", ms=8, mew=1.5)
        edge = max(edge, *ends)
    axes.text(edge + 0.018, row, text, va="center", color=INK, fontsize=9)


def _line(axes: Axes, line: Sequence[PolicyPoint], of: Sequence[Interval], name: str, main: str | None) -> None:
    colour, dashes, width = look(name, main)
    x = [p.budget_share for p in line]
    axes.fill_between(
        x, [i.low for i in of], [i.high for i in of], color=colour, lw=0, alpha=0.2 if name == main else 0.09
    )
    axes.plot(
        x, [i.value for i in of], color=colour, ls=dashes, lw=width, marker="o", ms=3, label=words.policy_name(name)
    )  # fmt: skip


def _whiskers(axes: Axes, of: Sequence[Interval], colour: str) -> None:
    for x, i in enumerate(of):
        axes.plot([x, x], [i.low, i.high], color=colour, lw=1.6)
    axes.plot(range(len(of)), [i.value for i in of], "o-", color=colour, ms=5, lw=1.0)


def _budget_ticks(axes: Axes, shares: Sequence[float], fullest: float, narrow: bool) -> None:
    """Budgets as shares and, below, in FLOPs; those that would touch are left out."""
    kept: list[float] = []
    least = (0.13 if narrow else 0.05) * (max(shares) - min(shares) if shares else 1)
    for share in shares:
        if not kept or share - kept[-1] >= least:
            kept.append(share)
    size, prefix = style.scale(max(shares, default=1.0) * fullest)
    axes.set_xticks(kept, [f"{words.budget(s)}\n{s * fullest / size:.3g}" for s in kept])
    axes.set_xlabel(
        f"budget: % of the fullest chain,\n{prefix}FLOPs a request" if narrow
        else f"budget: share of the fullest chain's FLOPs, and {prefix}FLOPs a request"
    )  # fmt: skip


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]
