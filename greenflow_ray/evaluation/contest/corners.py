"""One seed at one exposure: which reward models it needs, and all its policies' decisions."""

from __future__ import annotations

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation.contest import learners
from greenflow_ray.evaluation.contest.arena import GREENFLOW, Corner
from greenflow_ray.evaluation.contest.learners import Learner
from greenflow_ray.evaluation.contest.policies import Columns
from greenflow_ray.evaluation.plan import CURVE, EARLY, JUDGED, SAMPLES, SHARES, Plan
from greenflow_ray.evaluation.work import Loaded, run_grid


def wanted_learners(plan: Plan, dataset: Dataset, exposure: int) -> list[Learner]:
    """The reward models of one exposure: all questions at the first, the main ones at the others."""
    chosen = [learners.GREENFLOW, learners.BOOSTED]
    if not plan.full or exposure != plan.exposures[0]:
        return chosen
    chosen += [learners.DIRECT, learners.LOGGED, *learners.ablations(plan.config.reward.monotone).values()]
    reward = len(dataset.users.of(Split.REWARD))
    chosen += [sized(n) for n in SAMPLES if n < reward]
    if len(np.unique(dataset.users.since)) > 1:
        chosen += [aged("older"), aged("newer")]
    if dataset.synthetic:
        chosen.append(learners.FORESEEN)
    return chosen


def sized(users: int) -> Learner:
    """Boosted trees that see so many reward users."""
    return Learner(f"boosted trees, {users} users", "boosted", users=users)


def aged(part: str) -> Learner:
    """Boosted trees that see the older or the newer half of the reward users."""
    return Learner(f"boosted trees, {part} half", "boosted", part=part)


def corner(plan: Plan, dataset: Dataset, seed: int, exposure: int) -> Corner:
    """One seed's policies at one exposure."""
    loaded = Loaded.of(plan.of(seed, 0))
    space, columns = learners.exposed_space(loaded.space, exposure)
    grids = [run_grid(plan, seed, cut, Split.REWARD) for cut in range(plan.cuts)]
    clicks = learners.join(grids).clicks[plan.exposures.index(exposure)][:, columns]
    found = {
        learner.name: learners.predict(plan, seed, exposure, learner)
        for learner in wanted_learners(plan, dataset, exposure)
    }
    ids = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    here = Corner(
        space=space,
        columns=columns,
        clicks=clicks,
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
