"""Which chains answered: chains in groups from cheap to dear, and their shares as panels for every picture of them."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import numpy.typing as npt

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import edges, sums
from greenflow_ray.viz import charts, style

_STEPS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
SHOWN_CHAINS = 8
_DARK = "#10161c"
"""Words on light colours; not the ink of the style, which turns light in a dark page."""


def bin_width(duration_s: float) -> float:
    """Width of a bin, seconds, that gives at most about 75 of them."""
    return next((step for step in _STEPS if duration_s / step <= 75), _STEPS[-1])


def chain_groups(arms: Sequence[ArmResult]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Group of every chain and each group's label, cheapest first: the chains served most, and the others in one band.

    ``arms`` were served from one list of chains. The group array has one entry more than there are chains, so that
    chain -1 (no receipt) has an entry too.
    """
    last = arms[-1]
    counts = np.zeros(len(last.chains))
    for arm in arms:
        served = arm.requests.chain[arm.requests.chain >= 0]
        counts += np.bincount(served, minlength=len(counts)) / max(len(arm.requests), 1)
    cost = np.array(last.chain_flops, dtype=np.float64)
    found = [j for j in np.argsort(-counts, kind="stable").tolist() if counts[j] > 0]
    shown = sorted(found[: SHOWN_CHAINS - 1 if len(found) > SHOWN_CHAINS else SHOWN_CHAINS], key=lambda j: cost[j])
    rest = [j for j in found if j not in shown]
    names = short_names([last.chains[j] for j in shown])
    labels = [f"{name} · {style.si(cost[j], 'FLOPs')}" for j, name in zip(shown, names, strict=True)]
    order: list[list[int]] = [[j] for j in shown]
    if rest:
        # The others are one band, set where their mean cost belongs, so that colours still run from cheap to dear.
        mean = float(np.average(cost[rest], weights=counts[rest]))
        place = sum(cost[j] <= mean for j in shown)
        order.insert(place, rest)
        labels.insert(place, f"{len(rest)} others · {style.si(mean, 'FLOPs')} on average")
    groups = np.full(len(counts) + 1, -1, dtype=np.int64)
    for g, members in enumerate(order):
        groups[members] = g
    return groups, labels


def short_names(chains: Sequence[str]) -> list[str]:
    """Names of chains without the stages in which they do not differ."""
    parts = [chain.split(">") for chain in chains]
    if len({len(p) for p in parts}) != 1:
        return list(chains)
    vary = [k for k in range(len(parts[0])) if len({p[k] for p in parts}) > 1] or list(range(len(parts[0])))
    return [" › ".join(p[k].replace(":", " ") for k in vary) for p in parts]


def colours(labels: Sequence[str], *, legend: bool) -> alt.Color:
    """Darker is dearer, distinguishable without seeing hue; the legend names the dearest first."""
    scale = alt.Scale(domain=list(labels), scheme=alt.SchemeParams(name="viridis", extent=[1.0, 0.12]))
    shown = alt.Legend(orient="bottom", columns=1, values=list(labels)[::-1], title="chain, dearest first")
    return alt.Color("chain:N", scale=scale, sort=list(labels), legend=shown if legend else None)


def parts_of(
    arm: ArmResult, groups: npt.NDArray[np.int64], labels: Sequence[str], bounds: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Each group's share of each window's answers, float64 ``[groups, windows]``; 0 where nothing was answered."""
    mine = np.where(arm.ok, groups[arm.requests.chain], -1)
    counts = np.array([sums(arm, bounds, mine == g) for g in range(len(labels))]).reshape(-1, len(bounds) - 1)
    return np.divide(counts, counts.sum(0), out=np.zeros_like(counts), where=counts.sum(0) > 0)


def shares(arms: Sequence[tuple[str, ArmResult]], height: int = 34) -> alt.LayerChart:
    """Each arm's shares of answers by chain, as one bar an arm."""
    groups, labels = chain_groups([arm for _, arm in arms])
    rows = []
    for name, arm in arms:
        parts = parts_of(arm, groups, labels, np.array([0.0, arm.duration_s]))[:, 0]
        rows += [
            {"arm": name, "chain": label, "x": float(end - part), "x2": float(end), "share": float(part),
             "middle": float(end - part / 2), "ink": "white" if 2 * g >= len(labels) else _DARK,
             "text": f"{100 * part:.0f} %" if part >= 0.1 else ""}
            for g, (label, part, end) in enumerate(zip(labels, parts, np.cumsum(parts), strict=True)) if part
        ]  # fmt: skip
    y = alt.Y("arm:N", sort=[name for name, _ in arms], axis=alt.Axis(title=None, labelColor=style.INK, labelLimit=90))
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, 1]), axis=None)
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("chain:N"), alt.Tooltip("share:Q", format=".1%")]
    base = alt.Chart(charts.records(rows))
    bars = base.mark_bar(stroke="white", strokeWidth=0.6).encode(
        y=y, x=x, x2="x2:Q", color=colours(labels, legend=False), tooltip=tips
    )
    texts = base.mark_text().encode(y=y, x="middle:Q", text="text:N", color=alt.Color("ink:N", scale=None, legend=None))
    layers = alt.layer(bars, texts).resolve_scale(color="independent")
    return charts.titled([layers], "Share of answers by chain", height * len(arms))


def over_time(arms: Sequence[ArmResult], x: alt.X, *, legend: bool = True) -> list[alt.Chart]:
    """The last arm's shares of each window's answers by chain, stacked from cheap to dear; windows of two bins."""
    groups, labels = chain_groups(arms)
    arm = arms[-1]
    bounds = edges(arm.duration_s, 2 * bin_width(arm.duration_s))
    parts = parts_of(arm, groups, labels, bounds)
    data = charts.table(
        x=np.tile(bounds, len(labels)), share=np.append(parts, parts[:, -1:], axis=1).ravel(),
        chain=np.repeat(labels, len(bounds)), rank=np.repeat(np.arange(len(labels)), len(bounds)),
    )  # fmt: skip
    axis = alt.Axis(title=None, labelExpr=charts.PERCENT, tickCount=4)
    area = alt.Chart(data).mark_area(interpolate="step-after").encode(
        x=x,
        y=alt.Y("share:Q", stack="zero", scale=alt.Scale(domain=[0, 1]), axis=axis),
        color=colours(labels, legend=legend),
        order="rank:Q",
    )  # fmt: skip
    said = charts.steps(bounds, **{f"part{g}": part for g, part in enumerate(parts)})
    tips = [alt.Tooltip(f"part{g}:Q", title=label, format=".0%") for g, label in enumerate(labels)][::-1]
    return [area, charts.hover("mix", said, x, [alt.Tooltip("x:Q", title="from second"), *tips])]
