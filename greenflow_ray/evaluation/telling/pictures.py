"""The evaluation's pictures, every estimate with its interval."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from greenflow_ray.evaluation.findings import shape
from greenflow_ray.evaluation.findings.shape import ExposureResult, Interval
from greenflow_ray.evaluation.telling import words
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Line, Panel, Picture
from greenflow_ray.viz.style import AMBER, BUDGET, EQUAL, GREEN, INK, MUTED, PRICE, ROSE, SKY, number, percent

_COLOURS = (("equal", EQUAL), ("fixed", BUDGET), ("global", PRICE), ("cras", ROSE), ("dcaf", AMBER))
ROW = 26  # pixels of one row of a waterfall or a forest
_OWN = alt.Color("colour:N", scale=None)
BUDGETS = "budget: share of the fullest chain's FLOPs, and FLOPs a request"


def look(policy: str, main: str | None) -> tuple[str, list[int], float]:
    """Colour, dashes and line width of a policy, the same in all pictures; luck is dotted."""
    name = policy.lower()
    if words.is_luck(policy):
        return MUTED, [1, 2], 1.6
    if name.startswith("greenflow"):
        return (GREEN, [1, 0], 2.6) if policy == main else (GREEN, [4, 2], 1.3)
    return next((c for word, c in _COLOURS if word in name), SKY), [1, 0], 1.6


def waterfall(name: str, result: ExposureResult, falls: shape.Waterfall) -> Picture:
    """FLOPs at equal clicks from the reference chain down to GreenFlow, one bar a step, 95 % intervals as whiskers."""
    main = words.main_policy(result)
    reference = words.chain_name(falls.reference.name, result)
    first = f"100 % · {style.si(falls.reference.flops, 'FLOPs')}"
    rows = [_bar(f"fixed chain {reference}", 0.0, 1.0, EQUAL, first, None)]
    before = 1.0
    for step in falls.steps:
        after, ends = 1 - step.saved.value, (before - step.added.high, before - step.added.low)
        rows.append(_bar(step.step, after, before, look(step.policy, main)[0], words.change(step.added), ends))
        before = after
    if falls.steps:
        last = falls.steps[-1]
        ends = 1 - last.saved.high, 1 - last.saved.low
        text = f"{percent(before)} ({number(100 * ends[0], 1)} to {percent(ends[1])})"
        text += f" · {style.si(last.flops.value, 'FLOPs')}"
        rows.append(_bar(last.policy, 0.0, before, look(last.policy, main)[0], text, ends))
    furthest = max(row["edge"] for row in rows)
    x = alt.X(
        "x:Q",
        scale=alt.Scale(domain=[min(0, *(row["x"] for row in rows)), 1.45 * furthest], nice=False),
        axis=alt.Axis(values=[0, 0.25, 0.5, 0.75, 1], format="%", title=None, grid=True),
    )
    y = _rows_axis([row["label"] for row in rows])
    base = alt.Chart(charts.records(rows))
    bars = base.mark_bar(size=15).encode(
        x=x, x2="x2:Q", y=y, color=_OWN, tooltip=charts.tips(("label:N", "step"), ("text:N", "FLOPs"))
    )
    whiskers = base.transform_filter("datum.low != null").mark_rule(color=INK, strokeWidth=1.5)
    texts = base.mark_text(align="left", dx=7).encode(x="edge:Q", y=y, text="text:N")
    title = "FLOPs a request at equal clicks, the fixed chain = 100 %"
    layers = [bars, whiskers.encode(x="low:Q", x2="high:Q", y=y), texts]
    return Picture(name, f"Waterfall against {reference}", [charts.titled(layers, title, ROW * len(rows))])


def revenue(name: str, result: ExposureResult) -> Picture:
    """The paper's Figure 4: clicks over budget for all policies, and below their ratio to GLOBAL's, paired by user."""
    names = words.policies(result)
    paired = [n for n in names if not words.is_luck(n) and "global" not in n.lower()]
    luck = "; the oracle is left out" if any(map(words.is_luck, names)) else ""
    shares = sorted({p.budget_share for p in result.policies})
    one = alt.Chart(charts.table(y=[1.0])).mark_rule(color=PRICE, strokeWidth=1.4).encode(y="y:Q")
    x, bottom = (_budgets(shares, result.fullest.flops, title) for title in (None, BUDGETS))
    panels = [
        _bands(result, names, "clicks", "Clicks a request, 95 % bands", 250, x),
        _bands(result, paired, "ratio_to_global", f"Clicks ÷ GLOBAL's, paired{luck}", 170, bottom, one),
    ]
    return Picture(name, "Clicks over budget", panels)


def _bands(
    result: ExposureResult, names: Sequence[str], quantity: str, title: str, height: int, x: alt.X, *more: alt.Chart
) -> Panel:
    """Policies over budgets as lines in their bands; GreenFlow is drawn over the others."""
    main = words.main_policy(result)
    order = sorted(names, key=lambda name: name == main)
    looks = {name: look(name, main) for name in order}
    rows = [
        {"x": p.budget_share, "policy": words.policy_name(name), "budget": words.budget(p.budget_share),
         "y": (of := getattr(p, quantity)).value, "low": of.low, "high": of.high,
         "dash": str(looks[name][1]), "width": looks[name][2]}
        for name in order for p in words.points(result, name)
    ]  # fmt: skip
    shown = [words.policy_name(name) for name in order]
    colours = alt.Scale(domain=shown, range=[each[0] for each in looks.values()])
    colour = alt.Color("policy:N", scale=colours, sort=shown, legend=alt.Legend(columns=4, symbolOpacity=1))
    kinds = {str(each[1]): each[1] for each in looks.values()}
    dashes = alt.Scale(domain=list(kinds), range=list(kinds.values()))
    y = alt.Y("y:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=None, tickCount=5))
    base = alt.Chart(charts.records(rows))
    bands = base.mark_area(opacity=0.12).encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=colour)
    lines = base.mark_line().encode(
        x=x,
        y=y,
        color=colour,
        strokeDash=alt.StrokeDash("dash:N", scale=dashes, legend=None),
        strokeWidth=alt.StrokeWidth("width:Q", scale=None, legend=None),
    )
    tips = charts.tips(("policy:N",), ("budget:N",), ("y:Q", title.split(",")[0], ".4f"), *charts.ENDS)
    dots = base.mark_point(filled=True, size=22, opacity=1).encode(x=x, y=y, color=colour, tooltip=tips)
    return charts.titled([bands, *more, lines, dots], title, height)


def reward_models(name: str, rows: Sequence[shape.RewardModelLine]) -> Picture:
    """What each reward model earns; green: the one that serves."""
    return _forest(name, "Reward models", [(row.name, row.revenue, row.serves) for row in rows])


def ablation(name: str, rows: Sequence[shape.Ablation]) -> Picture:
    """What each variant of the network earns; green: the one that earns most."""
    best = max(row.revenue.value for row in rows)
    return _forest(name, "Ablation", [(words.variant(row), row.revenue, row.revenue.value == best) for row in rows])


def _forest(name: str, title: str, rows: Sequence[tuple[str, Interval, bool]]) -> Picture:
    """Estimates under each other: (name, estimate, whether to stress it)."""
    entries = [(label, of, GREEN if stressed else MUTED) for label, of, stressed in rows]
    labels = _rows_axis([label for label, _, _ in rows])
    return Picture(name, title, [_estimates(entries, labels, "Clicks ÷ GLOBAL's, mean over budgets", ROW * len(rows))])


def scales(name: str, of: Sequence[shape.Scale]) -> Picture:
    """One panel a question: clicks ÷ GLOBAL's with whiskers; points are set evenly, each under its label."""
    panels = []
    for scale in of:
        line = sorted(scale.points, key=lambda p: p.x)
        entries = [(textwrap.fill(p.label, 12), p.ratio_to_global, GREEN) for p in line]
        split = "split(datum.label, '\\n')"
        axis = alt.Axis(title=None, labelAngle=0, labelColor=INK, labelExpr=split, labelOverlap=True)
        labels = alt.X("label:N", sort=[label for label, _, _ in entries], axis=axis)
        panels.append(_estimates(entries, labels, f"{words.first_up(scale.name)}: clicks ÷ GLOBAL's", 110))
    return Picture(name, "Questions of scale", panels)


def _estimates(rows: Sequence[tuple[str, Interval, str]], labels: alt.X | alt.Y, title: str, height: int) -> Panel:
    """Clicks ÷ GLOBAL's as dots with whiskers, one a label, (label, estimate, colour) each; a line at 1."""
    along, across = ("x", "y") if isinstance(labels, alt.Y) else ("y", "x")
    axis: Any = alt.X if along == "x" else alt.Y
    at: dict[str, Any] = {across: labels}
    at[along] = axis(f"{along}:Q", scale=alt.Scale(zero=False), axis=alt.Axis(title=None, grid=True))
    ends = {**at, along: axis("low:Q"), f"{along}2": "high:Q"}
    line: dict[str, Any] = {along: f"{along}:Q"}
    tips = charts.tips(("label:N", " "), (f"{along}:Q", "clicks ÷ GLOBAL's", ".4f"), *charts.ENDS)
    one = alt.Chart(charts.table(**{along: [1.0]})).mark_rule(color=PRICE, strokeWidth=1.2).encode(**line)
    data = [
        {"label": label, along: of.value, "low": of.low, "high": of.high, "colour": colour}
        for label, of, colour in rows
    ]
    base = alt.Chart(charts.records(data)).encode(color=_OWN)
    bars = base.mark_rule(strokeWidth=1.6).encode(**ends)
    dots = base.mark_point(filled=True, size=60, opacity=1).encode(**at, tooltip=tips)
    return charts.titled([one, bars, dots], title, height)


def tracking(name: str, of: shape.Tracking) -> Picture:
    """The paper's Figure 5: requests, and what each policy spends against the budget, over a simulated day."""
    hours = of.window_s * len(of.demand) >= 7200
    bounds = np.arange(len(of.demand) + 1) * of.window_s / (3600 if hours else 60)
    end = float(bounds[-1]) or 1.0
    x, bottom = charts.x_axis(0, end), charts.x_axis(0, end, "hours" if hours else "minutes")
    demand = np.array(of.demand)
    stress = next((policy for policy in of.spend if policy.lower().startswith("greenflow")), None)
    most = max([*of.budget, *(v for line in of.spend.values() for v in line)], default=1.0) or 1.0
    size, prefix = style.scale(most)
    lines = [
        Line(policy, look(policy, stress)[0], bounds[: len(line) + 1], np.array(line) / size)
        for policy, line in sorted(of.spend.items(), key=lambda entry: entry[0] == stress)
        if line
    ]
    if of.budget:
        lines.append(Line("budget", INK, bounds[: len(of.budget) + 1], np.array(of.budget) / size, dashed=True))
    traffic = charts.filled(bounds, demand, x, charts.y_axis(1.1 * demand.max(initial=0) or 1, ticks=2), MUTED, 0.35)
    spend = charts.step_lines(lines, bottom, charts.y_axis(1.08 * most / size, ticks=5))
    title = f"Spend, {prefix}FLOP/s (windows of {of.window_s:g} s)"
    panels = [charts.titled([traffic], "Requests a second", 60), charts.titled([spend], title, 220)]
    return Picture(name, "Budget tracking", panels)


def ceiling(name: str, of: Sequence[shape.Ceiling], fullest_flops: float) -> Picture:
    """Share of the true optimum's gain over GLOBAL (synthetic data) that GreenFlow and a foreseeing learner reach."""
    line = sorted(of, key=lambda c: c.budget_share)
    rows = [
        {"x": c.budget_share, "y": c.foreseeable_share, "policy": "foreseeable"}
        for c in line if c.foreseeable_share is not None
    ]  # fmt: skip
    rows += [{"x": c.budget_share, "y": c.share, "policy": "GreenFlow"} for c in line]
    shares = [c.budget_share for c in line]
    for policy, at in (("optimum, all rewards known", 1.0), ("GLOBAL", 0.0)):
        rows += [{"x": share, "y": at, "policy": policy} for share in (shares[0], shares[-1])]
    colours = {"optimum, all rewards known": INK, "GLOBAL": PRICE, "foreseeable": AMBER, "GreenFlow": GREEN}
    x = _budgets(shares, fullest_flops, BUDGETS)
    y = alt.Y("y:Q", axis=alt.Axis(title=None, format="%", tickCount=5))
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    colour = alt.Color("policy:N", scale=scale, legend=alt.Legend(symbolType="stroke", columns=2))
    tips = [*charts.tips(("policy:N",), ("x:Q", "budget", ".0%")), alt.Tooltip("y:Q", format=".1%")]
    marks = alt.Chart(charts.records(rows)).mark_line(point=alt.OverlayMarkDef(size=24))
    marks = marks.encode(x=x, y=y, color=colour, tooltip=tips)
    title = "Share of the optimum's gain over GLOBAL (synthetic data)"
    return Picture(name, "Ceiling", [charts.titled([marks], title, 180)])


def _bar(
    label: str, left: float, right: float, colour: str, text: str, ends: tuple[float, float] | None
) -> dict[str, Any]:
    """One bar's row: where it begins and ends, its whisker, its text and where that stands."""
    low, high = ends or (None, None)
    edge = max(left, right, *(ends or ()))
    return {"label": words.first_up(label), "x": left, "x2": right, "colour": colour, "text": text, "low": low,
            "high": high, "edge": edge}  # fmt: skip


def _rows_axis(labels: Sequence[str]) -> alt.Y:
    """One row a label, in their order."""
    return alt.Y("label:N", sort=list(labels), axis=alt.Axis(title=None, labelColor=INK, labelLimit=240, grid=False))


def _budgets(shares: Sequence[float], fullest: float, title: str | None) -> alt.X:
    """Budgets as shares and, below, in FLOPs; those that would touch are left out."""
    text = f"[format(datum.value, '~%'), format(datum.value * {fullest:.6g}, '.3~s')]"
    axis = alt.Axis(
        title=title, values=list(shares), labelExpr=text, labels=title is not None, labelOverlap=True, grid=False
    )
    low, high = (shares[0], shares[-1]) if shares else (0.0, 1.0)
    pad = 0.01 * (high - low) or 0.01
    return alt.X("x:Q", scale=alt.Scale(domain=[low - pad, high + pad], nice=False), axis=axis)
