"""`greenflow value`: joined samples in, a table, a document and a picture of what policies would have earned out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import altair as alt
import numpy as np

from greenflow_ray.config import CascadeConfig
from greenflow_ray.nearline.learning.dataset import Joined, Manifest, read_joined, read_manifest
from greenflow_ray.nearline.learning.estimators import (
    ENOUGH,
    MOSTLY,
    Estimate,
    Evidence,
    Policy,
    Valuation,
    as_logged,
    at_price,
    fixed_chains,
    value,
    within_budget,
)
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.support.files import whole
from greenflow_ray.support.terminal import Terminal
from greenflow_ray.viz import charts, style
from greenflow_ray.viz.charts import Picture
from greenflow_ray.viz.style import BUDGET, EQUAL, GREEN

STEPS = 8
"""Budgets between the cheapest chain and what price 0 spends, where none are named."""

KINDS = {
    "fixed chains": (EQUAL, "square"), "fixed chains, few requests": ("#c5cbd1", "square"),
    "price policy": (GREEN, "circle"), "price policy, few requests": ("#99d8c7", "circle"),
    "as served": (BUDGET, "diamond"),
}  # fmt: skip


@dataclass(frozen=True)
class Values:
    """What the log tells: its own clicks and FLOPs per request, and every policy's, cheapest first."""

    clicks: Estimate
    flops: Estimate
    policies: tuple[Valuation, ...]
    requests: int
    notes: tuple[str, ...]


def value_run(
    config: CascadeConfig, terminal: Terminal, prices: Sequence[float], budgets: Sequence[float]
) -> dict[str, Any]:
    """Value every fixed chain and the price policy at ``prices`` (clicks per FLOP) and ``budgets`` (FLOPs a request).

    With neither given, at ``STEPS`` budgets. Writes ``value.json`` and ``value.png``. Raises DataError without joined
    samples, InfeasibleBudget, PricingInputError.
    """
    paths = config.paths
    manifest = read_manifest(paths.joined)
    with terminal.progress() as progress:
        progress("reading joined samples", 0.0)
        evidence = Evidence.of(read_joined(paths.joined))
        wanted = policies(evidence.log, prices, budgets)
        found = []
        for done, policy in enumerate(wanted, 1):
            found.append(value(evidence, policy))
            progress("valuing policies", done / len(wanted))
    clicks, flops = as_logged(evidence)
    ordered = tuple(sorted(found, key=lambda v: v.flops.value))
    values = Values(clicks, flops, ordered, len(evidence.log), notes(evidence, manifest, ordered))
    document = asdict(values)
    with whole(paths.value) as part:
        part.write_text(json.dumps(document, indent=2), encoding="utf-8")
    draw(values.clicks, values.flops, values.policies).save_png(paths.value.with_suffix(".png"))
    _show(values, terminal)
    terminal.say(f"written to {paths.value} and .png")
    return document


def policies(log: Joined, prices: Sequence[float], budgets: Sequence[float]) -> list[Policy]:
    """All fixed chains, then the price policies."""
    if not prices and not budgets:
        frontier = Frontier.build(log.rewards, log.costs)
        budgets = np.linspace(frontier.floor, frontier.top, STEPS + 1)[1:].tolist()
    return [
        *fixed_chains(log),
        *(at_price(log, price) for price in prices),
        *(within_budget(log, budget) for budget in budgets),
    ]


def notes(evidence: Evidence, manifest: Manifest, found: Sequence[Valuation]) -> tuple[str, ...]:
    """What a reader must know before believing the figures."""
    join, forced, unusable = manifest.summary, evidence.left_out, evidence.unusable
    weak, unknown = (sum(v.verdict == verdict for v in found) for verdict in ("weak", "not identifiable"))
    alone = f"{1 - evidence.explored:.0%} of requests had but one chain that they could get"
    said = (
        (evidence.explored < MOSTLY, f"{alone}; serve with budget.exploration above 0 to learn what others earn"),
        (forced, f"{forced:,} requests served without a choice (degraded, capped, fixed) are left out"),
        (unusable, f"{unusable:,} samples without finite rewards, a propensity or a known chain are left out"),
        (not join.clicks, "no click was joined: clicks are 0 because none were reported, or their files were gone"),
        (join.open, f"{join.open:,} samples were younger than {join.horizon_s:g} s when joined: clicks may still come"),
        (weak, f"{weak} of {len(found)} policies are weak: their effective sample is below {ENOUGH:g}"),
        (unknown, f"{unknown} of {len(found)} policies are not identifiable from this log"),
    )
    return tuple(note for holds, note in said if holds)


def _show(values: Values, terminal: Terminal) -> None:
    rows: list[tuple[str, ...]] = []
    for v in values.policies:
        doubt = "" if v.verdict == "identified" else v.verdict
        estimates = ("–", "–", "–")
        if v.robust is not None and v.snips is not None and v.ips is not None:
            clicks = f"{v.robust.value:.3f} [{v.robust.low:.3f}, {v.robust.high:.3f}]"
            estimates = (clicks, f"{v.snips.value:.3f}", f"{v.ips.value:.3f}")
        rows.append((v.name, doubt, style.si(v.flops.value), *estimates, f"{v.effective:,.0f}"))
    columns = ("policy", "doubt", "FLOPs", "clicks, doubly robust", "SNIPS", "IPS", "effective sample")
    terminal.table(f"Policies valued on {values.requests:,} logged requests, per request", columns, rows)
    terminal.say(
        f"as served: {values.clicks.value:.3f} [{values.clicks.low:.3f}, {values.clicks.high:.3f}] clicks and "
        f"{style.si(values.flops.value, 'FLOPs')} per request; brackets: 95 %"
    )
    for note in values.notes:
        terminal.say(f"note: {note}")


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
