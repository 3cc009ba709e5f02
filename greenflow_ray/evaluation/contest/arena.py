"""One exposure's contest: every seed's policies decide for the final users, and are scored when all have decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.evaluation.contest import learners, policies
from greenflow_ray.evaluation.contest.pairing import Outcome
from greenflow_ray.evaluation.contest.policies import Chosen, Columns, TunedCras
from greenflow_ray.evaluation.plan import CURVE, EARLY, JUDGED, SHARES, Plan
from greenflow_ray.evaluation.work import Loaded
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.kernels.choice import request_hashes

Key = tuple[str, float]  # a policy's name, and a budget as a share of the fullest chain's FLOPs
FIXED, GLOBAL, GREENFLOW, CRAS, DCAF = "best fixed chain", "GLOBAL", "GreenFlow", "CRAS", "DCAF"
ORACLE = "hindsight oracle"


@dataclass
class Corner:
    """One seed at one exposure: what its policies may know, and what they decided."""

    space: ChainSpace  # of this exposure
    columns: Columns  # its chains' columns in the grids
    clicks: npt.NDArray[np.int16]  # reward users' realised clicks [m, J]
    fitting: F32  # reward users' predicted rewards [m, J]
    predicted: dict[str, F32]  # final users' predicted rewards [n, J], by reward model
    user_ids: npt.NDArray[np.int64]  # outside ids of the final requests' users [n]: they and the cut order ties
    quality: dict[str, tuple[F64, int]] = field(default_factory=dict)  # calibration and FLOPs, as in learners.Predicted
    decided: dict[Key, Chosen] = field(default_factory=dict)  # chains, int32 [n], by policy and budget

    @classmethod
    def of(cls, plan: Plan, dataset: Dataset, seed: int, exposure: int) -> Corner:
        """All policies' decisions from what the seed's reward models predict."""
        space, columns = learners.exposed_space(Loaded.of(plan.of(seed, 0)).space, exposure)
        wanted = learners.wanted(plan, dataset, exposure)
        found = {learner.name: learners.predict(plan, seed, exposure, learner) for learner in wanted}
        here = cls(
            space=space,
            columns=columns,
            clicks=learners.all_cuts(plan, seed, Split.REWARD).clicks[plan.exposures.index(exposure)][:, columns],
            fitting=found[GREENFLOW].fitting,
            predicted={name: p.final for name, p in found.items()},
            user_ids=np.tile(dataset.users.user_ids[dataset.users.of(Split.FINAL)], plan.cuts),
            quality={name: (p.calibration, p.flops) for name, p in found.items()},
        )
        here.compete(EARLY, SHARES, CURVE)
        if plan.full:
            rankers = space.stages[-1].pool if len(space.stages[-1].pool) > 1 else ()
            for i, model in enumerate(rankers):
                here.restrict(f"GreenFlow, only {model.name}", SHARES, np.flatnonzero(space.models[:, -1] == i))
            for part in coarser(space):
                here.restrict(f"GreenFlow, {len(part)} chains", JUDGED, part)
        return here

    def decide(self, name: str, shares: Iterable[float], policy: Callable[[float], Chosen]) -> None:
        """Ask ``policy`` for chains at every budget that it can keep."""
        for share in shares:
            try:
                chosen = policy(share * float(self.space.costs.max()))
            except InfeasibleBudget:
                continue  # nobody can be served for so little: the table has no such row
            self.decided[name, share] = np.asarray(chosen, dtype=np.int32)

    def compete(self, early: int, shares: tuple[float, ...], curve: tuple[float, ...]) -> None:
        """Let all policies decide at ``shares``; those of the waterfall along the whole ``curve`` too."""
        space, costs, n = self.space, self.space.costs, len(self.user_ids)
        mean = self.clicks.mean(axis=0, dtype=np.float64)
        rewards = self.predicted[GREENFLOW]
        order = np.argsort(request_hashes(self.user_ids * 8 + np.arange(n) % 8), kind="stable")
        dense = tuple(sorted({*shares, *curve}))
        paper = policies.paper_like(space, early)
        equal = f"EQUAL, {int(space.items[paper[0], -2])} items pre-ranked"
        cras = TunedCras(space, self.fitting, self.clicks)

        def dcaf(budget: float) -> Chosen:
            columns = policies.single_stage(space, self.fitting, self.clicks, budget)
            return policies.greenflow(rewards, costs, budget, columns)

        self.decide(equal, shares, lambda b: np.full(n, policies.fixed(mean, costs, b, paper)))
        self.decide(FIXED, dense, lambda b: np.full(n, policies.fixed(mean, costs, b)))
        self.decide(GLOBAL, dense, lambda b: policies.global_mix(mean, costs, b, order))
        self.decide(GREENFLOW, dense, lambda b: policies.greenflow(rewards, costs, b))
        self.decide(CRAS, shares, lambda b: cras.decide(rewards, b))
        self.decide(DCAF, shares, dcaf)
        for name, other in self.predicted.items():
            if name != GREENFLOW:
                self.decide(name, shares, lambda b, other=other: policies.greenflow(other, costs, b))  # type: ignore[misc]

    def restrict(self, name: str, shares: Iterable[float], columns: Columns) -> None:
        """GreenFlow over some chains only; budgets stay shares of the whole space's fullest."""
        rewards = self.predicted[GREENFLOW]
        self.decide(name, shares, lambda b: policies.greenflow(rewards, self.space.costs, b, columns))


def coarser(space: ChainSpace) -> list[Columns]:
    """Columns with every 8th, 4th, 2nd item scale of the last two stages, the widest always among them."""
    parts = {}
    for step in (8, 4, 2):
        kept = np.ones(len(space), dtype=bool)
        for k in (-2, -1):
            scales = np.array(sorted(space.stages[k].scales))
            kept &= np.isin(space.items[:, k], scales[::-1][::step]) | (space.items[:, k] == scales[0])
        parts[int(kept.sum())] = np.flatnonzero(kept)
    return [part for part in parts.values() if 1 < len(part) < len(space)]


class Arena:
    """All seeds' corners at one exposure."""

    def __init__(self, exposure: int, corners: list[Corner]) -> None:
        self.exposure = exposure
        self.corners = corners
        self.space = corners[0].space
        self.cuts = len(corners[0].user_ids) // len(np.unique(corners[0].user_ids))
        self._realised: list[npt.NDArray[np.generic]] = []
        self.user: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._cache: dict[Key, Outcome] = {}

    def reveal(self, realised: list[npt.NDArray[np.generic]], user: npt.NDArray[np.int64]) -> None:
        """All have decided: hand over the final users' clicks ``[n, J]``, one array a seed, and each request's user."""
        self._realised, self.user = realised, user
        self._cache.clear()

    def decisions(self) -> list[Key]:
        """Policies and budgets that every seed has decided."""
        return [key for key in self.corners[0].decided if all(key in c.decided for c in self.corners)]

    def shares_of(self, policy: str) -> list[float]:
        """Budgets at which ``policy`` has decided, increasing."""
        return sorted(share for name, share in self.decisions() if name == policy)

    def outcome(self, policy: str, share: float) -> Outcome:
        """A policy at a budget, all seeds together."""
        key = policy, share
        if key not in self._cache:
            rows, users = np.arange(len(self.user)), int(self.user.max()) + 1
            parts = []
            for corner, realised in zip(self.corners, self._realised, strict=True):
                chosen = corner.decided[key]
                clicks = realised[rows, chosen].astype(np.float64)
                parts.append(Outcome.of(self.user, users, clicks, self.space.costs[chosen]))
            self._cache[key] = sum(parts[1:], parts[0])
        return self._cache[key]

    def curve(self, policy: str) -> list[Outcome]:
        """A policy along its budgets."""
        return [self.outcome(policy, share) for share in self.shares_of(policy)]

    def chain(self, index: int) -> Outcome:
        """One chain for everybody."""
        key = f"chain {index}", 1.0
        for corner in self.corners:
            corner.decided.setdefault(key, np.full(len(corner.user_ids), index, dtype=np.int32))
        return self.outcome(*key)

    def add_oracle(self, shares: Iterable[float]) -> None:
        """What hindsight would have chosen, knowing every click: mostly luck, and no target."""
        for corner, realised in zip(self.corners, self._realised, strict=True):
            rewards = np.ascontiguousarray(realised, dtype=np.float32)
            corner.decide(ORACLE, shares, lambda b, r=rewards: policies.greenflow(r, self.space.costs, b))  # type: ignore[misc]

    def used(self, policy: str, share: float) -> float:
        """Spent ÷ budget, the largest of all seeds."""
        costs = self.space.costs
        return max(float(costs[c.decided[policy, share]].mean() / (share * costs.max())) for c in self.corners)
