"""`greenflow value`: joined samples in, a table, a document and a picture of what policies would have earned out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

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
from greenflow_ray.nearline.learning.value_chart import draw
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.support.files import whole
from greenflow_ray.support.terminal import Terminal
from greenflow_ray.viz import style

STEPS = 8
"""Budgets between the cheapest chain and what price 0 spends, where none are named."""


@dataclass(frozen=True)
class Values:
    """What the log tells: its own clicks and FLOPs per request, and every policy's, cheapest first."""

    clicks: Estimate
    flops: Estimate
    policies: tuple[Valuation, ...]
    requests: int
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


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
    document = values.as_dict()
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
    out = []
    if evidence.explored < MOSTLY:
        out.append(
            f"{1 - evidence.explored:.0%} of requests had but one chain that they could get; serve with "
            "budget.exploration above 0 to learn what others earn"
        )
    if evidence.left_out:
        out.append(f"{evidence.left_out:,} requests served without a choice (degraded, capped, fixed) are left out")
    if evidence.unusable:
        out.append(f"{evidence.unusable:,} samples without finite rewards, a propensity or a known chain are left out")
    if not manifest.summary.clicks:
        out.append("no click was joined: clicks are 0 because none were reported, or their files were gone")
    if manifest.summary.open:
        out.append(
            f"{manifest.summary.open:,} samples were younger than {manifest.summary.horizon_s:g} s when joined: clicks "
            "may still come"
        )
    weak = sum(v.verdict == "weak" for v in found)
    if weak:
        out.append(f"{weak} of {len(found)} policies are weak: their effective sample is below {ENOUGH:g}")
    unknown = sum(v.verdict == "not identifiable" for v in found)
    if unknown:
        out.append(f"{unknown} of {len(found)} policies are not identifiable from this log")
    return tuple(out)


def _show(values: Values, terminal: Terminal) -> None:
    rows: list[tuple[str, ...]] = []
    for v in values.policies:
        if v.robust is None or v.snips is None or v.ips is None:
            rows.append((v.name, v.verdict, style.si(v.flops.value), "–", "–", "–", f"{v.effective:,.0f}"))
            continue
        clicks = f"{v.robust.value:.3f} [{v.robust.low:.3f}, {v.robust.high:.3f}]"
        others = (f"{v.snips.value:.3f}", f"{v.ips.value:.3f}")
        rows.append(
            (
                v.name,
                "" if v.verdict == "identified" else v.verdict,
                style.si(v.flops.value),
                clicks,
                *others,
                f"{v.effective:,.0f}",
            )
        )
    columns = ("policy", "doubt", "FLOPs", "clicks, doubly robust", "SNIPS", "IPS", "effective sample")
    terminal.table(f"Policies valued on {values.requests:,} logged requests, per request", columns, rows)
    terminal.say(
        f"as served: {values.clicks.value:.3f} [{values.clicks.low:.3f}, {values.clicks.high:.3f}] clicks and "
        f"{style.si(values.flops.value, 'FLOPs')} per request; brackets: 95 %"
    )
    for note in values.notes:
        terminal.say(f"note: {note}")
