"""The claims that an evaluation is held to, each with the figure that decides it, met or missed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from greenflow_ray.evaluation.contest.arena import CRAS, GREENFLOW, Arena
from greenflow_ray.evaluation.contest.pairing import Bootstrap
from greenflow_ray.evaluation.findings.shape import Check, ExposureResult, Interval
from greenflow_ray.evaluation.plan import JUDGED

MIDDLE_BUDGETS = (0.2, 0.3, 0.4)


def checks(result: ExposureResult, arena: Arena, boot: Bootstrap) -> Iterable[Check]:
    """The claims that ``result`` can decide."""
    mine = [p for p in result.policies if p.policy == GREENFLOW and p.budget_share in JUDGED]
    if not mine:
        cheapest = result.cheapest.flops / result.fullest.flops
        yield Check(
            claim="there are budgets from 10 to 50 % of the fullest chain's FLOPs to judge by",
            value=f"none: the cheapest chain takes {cheapest:.0%}",
            met=False,
        )
        return
    worst = min(mine, key=lambda p: p.ratio_to_global.low)
    yield Check(
        claim="clicks ÷ GLOBAL: interval above 1 at each budget from 10 to 50 %",
        value=f"lowest {_told(worst.ratio_to_global)} at {worst.budget_share:.0%}",
        met=worst.ratio_to_global.low > 1,
    )
    worst = min(mine, key=lambda p: p.ratio_to_fixed.value)
    yield Check(
        claim="clicks ÷ best fixed chain: above 1 at each budget from 10 to 50 %",
        value=f"lowest {worst.ratio_to_fixed.value:.4f} at {worst.budget_share:.0%}",
        met=worst.ratio_to_fixed.value > 1,
    )
    shares = [s for s in JUDGED if s in arena.shares_of(CRAS)]
    ratios = {s: boot.ratio(arena.outcome(GREENFLOW, s), arena.outcome(CRAS, s)) for s in shares}
    at, ratio = min(ratios.items(), key=lambda entry: entry[1].value)
    yield Check(
        claim="clicks ÷ tuned CRAS: not below 1 at any budget from 10 to 50 %",
        value=f"lowest {_told(ratio)} at {at:.0%}",
        met=ratio.value >= 1,
    )
    if result.waterfalls:
        saved = result.waterfalls[0].steps[-1].saved
        yield Check(
            claim="FLOPs saved at equal clicks against the arbitrary middle chain: at least 35 %",
            value=_told(saved, ".1%"),
            met=saved.value >= 0.35,
        )
    middle = [p for p in mine if p.budget_share in MIDDLE_BUDGETS]
    known = [(p.saved_against_fixed, p.budget_share) for p in middle if p.saved_against_fixed is not None]
    if known and len(known) == len(middle):
        saved, at = min(known, key=lambda entry: entry[0].value)
        yield Check(
            claim="FLOPs saved at equal clicks against the best fixed chain, budgets 20 to 40 %: at least 15 %",
            value=f"lowest {_told(saved, '.1%')} at {at:.0%}",
            met=saved.value >= 0.15,
        )
    if result.ceilings:
        base, earned, best = (sum(getattr(c, k) for c in result.ceilings) for k in ("global_", "greenflow", "optimum"))
        share = (earned - base) / max(best - base, 1e-12)
        foreseen = [c.foreseeable for c in result.ceilings if c.foreseeable is not None]
        more = ""
        if len(foreseen) == len(result.ceilings) and sum(foreseen) > base:
            more = f"; {(earned - base) / (sum(foreseen) - base):.0%} of what trees fitted to expected clicks gain"
        yield Check(
            claim="share of the true optimum's gain over GLOBAL, 10 to 50 %: at least 70 %",
            value=f"{share:.0%}{more}",
            met=share >= 0.7,
        )
    if result.ablation:
        rows = [a for a in result.ablation if not a.teacher and a.monotone == result.ablation[0].monotone]
        full, neither = rows[0], next(a for a in rows if not (a.recursive or a.multi_basis))
        yield Check(
            claim="both mechanisms better than neither, in clicks and Field-RCE (fitted to clicks, as in the paper)",
            value=f"clicks ÷ GLOBAL {full.revenue.value:.4f} against {neither.revenue.value:.4f}, "
            f"Field-RCE {full.field_rce:.4f} against {neither.field_rce:.4f}",
            met=full.revenue.value > neither.revenue.value and full.field_rce < neither.field_rce,
        )
    used = [p.used for p in mine]
    yield Check(
        claim="spent ÷ budget: never above 1, at least 0.995",
        value=f"{min(used):.5f} to {max(used):.5f}",
        met=max(used) <= 1 + 1e-9 and min(used) >= 0.995,
    )
    serving = next(line for line in result.reward_models if line.serves)
    if serving.flops_per_request is not None:
        share = serving.flops_per_request / float(np.mean([p.budget_flops for p in mine]))
        yield Check(claim="reward model's FLOPs ÷ mean chain's: at most 1 %", value=f"{share:.3%}", met=share <= 0.01)
    yield Check(
        claim="the network earns at least 99.7 % of the boosted trees' clicks",
        value=_told(serving.ratio_to_boosted),
        met=serving.ratio_to_boosted.value >= 0.997,
    )


def _told(of: Interval, form: str = ".4f") -> str:
    return f"{of.value:{form}} ({of.low:{form}} to {of.high:{form}})"
