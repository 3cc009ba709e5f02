"""What scored decisions say: the paper's questions, the waterfall, what FLOPs are saved, claims met or missed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from greenflow_ray.evaluation.contest.arena import CRAS, FIXED, GLOBAL, GREENFLOW, Arena
from greenflow_ray.evaluation.contest.pairing import Bootstrap, interval
from greenflow_ray.evaluation.findings import shape
from greenflow_ray.evaluation.findings.shape import Interval
from greenflow_ray.evaluation.plan import EARLY, JUDGED, LATE

MIDDLE_BUDGETS = (0.2, 0.3, 0.4)
STEPS = (("re-tuning", FIXED, False), ("price mixing", GLOBAL, True), ("personalisation", GREENFLOW, True))
PLATEAU = 0.99
"""The fullest chain stands on a plateau: what it takes to reach this share of its clicks is asked instead."""


def chain_line(arena: Arena, boot: Bootstrap, index: int) -> shape.ChainLine:
    """One chain as tables print it."""
    cost = float(arena.space.costs[index])
    return shape.ChainLine(name=arena.space.names[index], flops=cost, clicks=boot.clicks(arena.chain(index)))


def middle_chain(arena: Arena) -> int:
    """The arbitrary middle chain of the paper: its scales (the nearest there are), the first ranker."""
    items, models = arena.space.items, arena.space.models
    own = (models == 0).all(axis=1)
    return int(np.lexsort((np.abs(items[:, -1] - LATE), np.abs(items[:, -2] - EARLY), ~own))[0])


def policy_points(
    arena: Arena, boot: Bootstrap, shares: Sequence[float], names: Sequence[str]
) -> Iterable[shape.PolicyPoint]:
    """Figure 4: every policy at every budget, beside GLOBAL and the best fixed chain of the same budget."""
    for name, share in ((n, s) for n in names for s in arena.shares_of(n) if s in shares):
        mine, fixed = arena.outcome(name, share), arena.outcome(FIXED, share)
        saved = None
        if name in (GREENFLOW, GLOBAL):
            flops = boot.flops_at(arena.curve(name), fixed)
            saved = interval(1 - flops / boot.see(fixed).flops) if np.isfinite(flops[0]) else None
        yield shape.PolicyPoint(
            policy=name,
            budget_share=share,
            budget_flops=share * float(arena.space.costs.max()),
            clicks=boot.clicks(mine),
            used=arena.used(name, share),
            ratio_to_global=boot.ratio(mine, arena.outcome(GLOBAL, share)),
            ratio_to_fixed=boot.ratio(mine, fixed),
            saved_against_fixed=saved,
        )


def waterfall(arena: Arena, boot: Bootstrap, index: int, why: str, *, level: float = 1.0) -> shape.Waterfall | None:
    """FLOPs saved at (``level`` of) the clicks of chain ``index``, part by part; None if some step never earns them."""
    reference, line = arena.chain(index), chain_line(arena, boot, index)
    steps = []
    before = np.zeros_like(boot.see(reference).flops)
    for step, policy, mixed in STEPS:
        flops = boot.flops_at(arena.curve(policy), reference, level=level, mixed=mixed)
        if not np.isfinite(flops[0]):
            return None
        saved = 1 - flops / line.flops
        parts = {"flops": interval(flops), "saved": interval(saved), "added": interval(saved - before)}
        steps.append(shape.WaterfallStep(step=step, policy=policy, **parts))
        before = saved
    return shape.Waterfall(reference=line, why=why, steps=tuple(steps))


def waterfalls(arena: Arena, boot: Bootstrap) -> tuple[shape.Waterfall, ...]:
    """Against the arbitrary middle chain, and against the fullest chain at 99 % of its clicks."""
    middle = waterfall(arena, boot, middle_chain(arena), "an arbitrary middle chain, the paper's scales")
    why = f"the fullest chain, at {PLATEAU:.0%} of its clicks"
    return tuple(w for w in (middle, waterfall(arena, boot, arena.space.fullest, why, level=PLATEAU)) if w is not None)


def ranker_rows(arena: Arena, boot: Bootstrap, pools: dict[str, tuple[str, ...]]) -> list[shape.RankerRow]:
    """Table 3: policies restricted to some rankers; ``pools`` gives each policy's."""
    return [
        shape.RankerRow(rankers=rankers, budget_share=share, clicks=boot.clicks(arena.outcome(name, share)))
        for name, rankers in pools.items()
        for share in arena.shares_of(name)
    ]


def over_budgets(
    arena: Arena, boot: Bootstrap, policy: str, other: str = GLOBAL, shares: Sequence[float] = JUDGED
) -> Interval:
    """Clicks of ``policy`` ÷ clicks of ``other``, the mean over the judged budgets at which both can serve.

    Where the cheapest chain costs more than any of these, the mean over all budgets at which both can.
    """
    common = [s for s in arena.shares_of(policy) if s in arena.shares_of(other)]
    both = [s for s in shares if s in common] or common
    return boot.mean_ratio([arena.outcome(policy, s) for s in both], [arena.outcome(other, s) for s in both])


def saved_against_middle(arena: Arena, boot: Bootstrap, policy: str) -> Interval | None:
    """FLOPs saved at the middle chain's clicks along ``policy``'s curve."""
    index = middle_chain(arena)
    flops = boot.flops_at(arena.curve(policy), arena.chain(index))
    return interval(1 - flops / float(arena.space.costs[index])) if np.isfinite(flops[0]) else None


def checks(result: shape.ExposureResult, arena: Arena, boot: Bootstrap) -> Iterable[shape.Check]:
    """The claims that ``result`` can decide."""
    mine = [p for p in result.policies if p.policy == GREENFLOW and p.budget_share in JUDGED]
    if not mine:
        cheapest = result.cheapest.flops / result.fullest.flops
        yield shape.Check(
            claim="there are budgets from 10 to 50 % of the fullest chain's FLOPs to judge by",
            value=f"none: the cheapest chain takes {cheapest:.0%}",
            met=False,
        )
        return
    worst = min(mine, key=lambda p: p.ratio_to_global.low)
    yield shape.Check(
        claim="clicks ÷ GLOBAL: interval above 1 at each budget from 10 to 50 %",
        value=f"lowest {_told(worst.ratio_to_global)} at {worst.budget_share:.0%}",
        met=worst.ratio_to_global.low > 1,
    )
    worst = min(mine, key=lambda p: p.ratio_to_fixed.value)
    yield shape.Check(
        claim="clicks ÷ best fixed chain: above 1 at each budget from 10 to 50 %",
        value=f"lowest {worst.ratio_to_fixed.value:.4f} at {worst.budget_share:.0%}",
        met=worst.ratio_to_fixed.value > 1,
    )
    shares = [s for s in JUDGED if s in arena.shares_of(CRAS)]
    ratios = {s: boot.ratio(arena.outcome(GREENFLOW, s), arena.outcome(CRAS, s)) for s in shares}
    at, ratio = min(ratios.items(), key=lambda entry: entry[1].value)
    yield shape.Check(
        claim="clicks ÷ tuned CRAS: not below 1 at any budget from 10 to 50 %",
        value=f"lowest {_told(ratio)} at {at:.0%}",
        met=ratio.value >= 1,
    )
    if result.waterfalls:
        saved = result.waterfalls[0].steps[-1].saved
        yield shape.Check(
            claim="FLOPs saved at equal clicks against the arbitrary middle chain: at least 35 %",
            value=_told(saved, ".1%"),
            met=saved.value >= 0.35,
        )
    middle = [p for p in mine if p.budget_share in MIDDLE_BUDGETS]
    known = [(p.saved_against_fixed, p.budget_share) for p in middle if p.saved_against_fixed is not None]
    if known and len(known) == len(middle):
        saved, at = min(known, key=lambda entry: entry[0].value)
        yield shape.Check(
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
        yield shape.Check(
            claim="share of the true optimum's gain over GLOBAL, 10 to 50 %: at least 70 %",
            value=f"{share:.0%}{more}",
            met=share >= 0.7,
        )
    if result.ablation:
        rows = [a for a in result.ablation if not a.teacher and a.monotone == result.ablation[0].monotone]
        full, neither = rows[0], next(a for a in rows if not (a.recursive or a.multi_basis))
        yield shape.Check(
            claim="both mechanisms better than neither, in clicks and Field-RCE (fitted to clicks, as in the paper)",
            value=f"clicks ÷ GLOBAL {full.revenue.value:.4f} against {neither.revenue.value:.4f}, "
            f"Field-RCE {full.field_rce:.4f} against {neither.field_rce:.4f}",
            met=full.revenue.value > neither.revenue.value and full.field_rce < neither.field_rce,
        )
    used = [p.used for p in mine]
    yield shape.Check(
        claim="spent ÷ budget: never above 1, at least 0.995",
        value=f"{min(used):.5f} to {max(used):.5f}",
        met=max(used) <= 1 + 1e-9 and min(used) >= 0.995,
    )
    serving = next(line for line in result.reward_models if line.serves)
    if serving.flops_per_request is not None:
        share = serving.flops_per_request / float(np.mean([p.budget_flops for p in mine]))
        yield shape.Check(
            claim="reward model's FLOPs ÷ mean chain's: at most 1 %", value=f"{share:.3%}", met=share <= 0.01
        )
    yield shape.Check(
        claim="the network earns at least 99.7 % of the boosted trees' clicks",
        value=_told(serving.ratio_to_boosted),
        met=serving.ratio_to_boosted.value >= 0.997,
    )


def _told(of: Interval, form: str = ".4f") -> str:
    return f"{of.value:{form}} ({of.low:{form}} to {of.high:{form}})"
