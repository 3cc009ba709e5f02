"""From decisions that have been scored to the tables: the paper's questions, the waterfall, what FLOPs are saved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from greenflow_ray.evaluation.contest.arena import FIXED, GLOBAL, GREENFLOW, Arena
from greenflow_ray.evaluation.contest.pairing import Bootstrap, interval
from greenflow_ray.evaluation.findings import shape
from greenflow_ray.evaluation.findings.shape import Interval
from greenflow_ray.evaluation.plan import EARLY, JUDGED, LATE

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
) -> list[shape.PolicyPoint]:
    """Figure 4: every policy at every budget, beside GLOBAL and the best fixed chain of the same budget."""
    fullest = float(arena.space.costs.max())
    points = []
    for name, share in ((n, s) for n in names for s in arena.shares_of(n) if s in shares):
        mine, fixed = arena.outcome(name, share), arena.outcome(FIXED, share)
        saved = None
        if name in (GREENFLOW, GLOBAL):
            flops = boot.flops_at(arena.curve(name), fixed)
            saved = interval(1 - flops / boot.see(fixed).flops) if np.isfinite(flops[0]) else None
        points.append(
            shape.PolicyPoint(
                policy=name,
                budget_share=share,
                budget_flops=share * fullest,
                clicks=boot.clicks(mine),
                used=arena.used(name, share),
                ratio_to_global=boot.ratio(mine, arena.outcome(GLOBAL, share)),
                ratio_to_fixed=boot.ratio(mine, fixed),
                saved_against_fixed=saved,
            )
        )
    return points


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
