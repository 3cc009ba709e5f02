"""One seed at one exposure: all its policies' decisions, from what its reward models predict."""

from __future__ import annotations

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation.contest import learners
from greenflow_ray.evaluation.contest.arena import GREENFLOW, Corner
from greenflow_ray.evaluation.contest.policies import Columns
from greenflow_ray.evaluation.plan import CURVE, EARLY, JUDGED, SHARES, Plan
from greenflow_ray.evaluation.work import Loaded


def corner(plan: Plan, dataset: Dataset, seed: int, exposure: int) -> Corner:
    """One seed's policies at one exposure."""
    loaded = Loaded.of(plan.of(seed, 0))
    space, columns = learners.exposed_space(loaded.space, exposure)
    wanted = learners.wanted(plan, dataset, exposure)
    found = {learner.name: learners.predict(plan, seed, exposure, learner) for learner in wanted}
    ids = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    here = Corner(
        space=space,
        columns=columns,
        clicks=learners.all_cuts(plan, seed, Split.REWARD).clicks[plan.exposures.index(exposure)][:, columns],
        fitting=found[GREENFLOW].fitting,
        predicted={name: p.final for name, p in found.items()},
        user_ids=np.tile(ids, plan.cuts),
        quality={name: (p.calibration, p.flops) for name, p in found.items()},
    )
    here.compete(EARLY, SHARES, CURVE)
    if plan.full:
        for name, part in ranker_pools(space).items():
            here.restrict(name, SHARES, part)
        for name, part in chain_parts(space).items():
            here.restrict(f"GreenFlow, {name}", JUDGED, part)
    return here


def ranker_pools(space: ChainSpace) -> dict[str, Columns]:
    """Columns with one ranker only, by the policy's name."""
    last = space.stages[-1]
    if len(last.pool) < 2:
        return {}
    return {f"GreenFlow, only {m.name}": np.flatnonzero(space.models[:, -1] == i) for i, m in enumerate(last.pool)}


def chain_parts(space: ChainSpace) -> dict[str, Columns]:
    """Coarser chain spaces: every 2nd, 4th, 8th item scale of the last two stages, the widest always among them."""
    parts = {}
    for step in (8, 4, 2):
        kept = np.ones(len(space), dtype=bool)
        for k in (-2, -1):
            scales = np.array(sorted(space.stages[k].scales))
            kept &= np.isin(space.items[:, k], scales[::-1][::step]) | (space.items[:, k] == scales[0])
        parts[f"{int(kept.sum())} chains"] = np.flatnonzero(kept)
    return {name: part for name, part in parts.items() if 1 < len(part) < len(space)}
