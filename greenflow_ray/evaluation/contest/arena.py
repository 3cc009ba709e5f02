"""One exposure's contest: every seed's policies decide for the final users, and are scored when all have decided."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.evaluation.contest import policies
from greenflow_ray.evaluation.contest.pairing import Outcome
from greenflow_ray.evaluation.contest.policies import Chosen, Columns, TunedCras
from greenflow_ray.pricing.kernels.choice import request_hashes

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

Key = tuple[str, float]
"""A policy's name, and a budget as a share of the fullest chain's FLOPs."""

FIXED, GLOBAL, GREENFLOW, CRAS, DCAF = "best fixed chain", "GLOBAL", "GreenFlow", "CRAS", "DCAF"
ORACLE = "hindsight oracle"


@dataclass
class Corner:
    """One seed at one exposure: what its policies may know, and what they decided.

    Attributes:
        space: chains of this exposure.
        columns: their columns in the grids.
        clicks: reward users' realised clicks, int16 ``[m, J]``.
        fitting: reward users' predicted rewards, float32 ``[m, J]``.
        predicted: final users' predicted rewards by reward model, float32 ``[n, J]``.
        user_ids: outside ids of the final requests' users, int64 ``[n]``: they and the cut order ties.
        quality: calibration and FLOPs of every reward model (see ``learners.Predicted``).
        decided: chains, int32 ``[n]``, by policy and budget.
    """

    space: ChainSpace
    columns: Columns
    clicks: npt.NDArray[np.int16]
    fitting: F32
    predicted: dict[str, F32]
    user_ids: npt.NDArray[np.int64]
    quality: dict[str, tuple[F64, int]] = field(default_factory=dict)
    decided: dict[Key, Chosen] = field(default_factory=dict)

    @property
    def costs(self) -> F64:
        """FLOPs of every chain."""
        return self.space.costs

    @property
    def requests(self) -> int:
        """Number of final requests, n."""
        return len(self.user_ids)

    def decide(self, name: str, shares: Iterable[float], policy: Callable[[float], Chosen]) -> None:
        """Ask ``policy`` for chains at every budget that it can keep."""
        for share in shares:
            try:
                chosen = policy(share * float(self.costs.max()))
            except InfeasibleBudget:
                continue  # nobody can be served for so little: the table has no such row
            self.decided[name, share] = np.asarray(chosen, dtype=np.int32)

    def compete(self, early: int, shares: tuple[float, ...], curve: tuple[float, ...]) -> None:
        """Let all policies decide at ``shares``; those of the waterfall along the whole ``curve`` too."""
        costs, n = self.costs, self.requests
        mean = self.clicks.mean(axis=0, dtype=np.float64)
        rewards = self.predicted[GREENFLOW]
        order = np.argsort(request_hashes(self.user_ids * 8 + np.arange(n) % 8), kind="stable")
        dense = tuple(sorted({*shares, *curve}))
        paper = policies.paper_like(self.space, early)
        self.decide(
            f"EQUAL, {int(self.space.items[paper[0], -2])} items pre-ranked",
            shares,
            lambda b: np.full(n, policies.fixed(mean, costs, b, paper), dtype=np.int32),
        )
        self.decide(FIXED, dense, lambda b: np.full(n, policies.fixed(mean, costs, b), dtype=np.int32))
        self.decide(GLOBAL, dense, lambda b: policies.global_mix(mean, costs, b, order))
        self.decide(GREENFLOW, dense, lambda b: policies.greenflow(rewards, costs, b))
        cras = TunedCras(self.space, self.fitting, self.clicks)
        self.decide(CRAS, shares, lambda b: cras.decide(rewards, b))
        self.decide(
            DCAF,
            shares,
            lambda b: policies.greenflow(
                rewards, costs, b, policies.single_stage(self.space, self.fitting, self.clicks, b)
            ),
        )
        for name, other in self.predicted.items():
            if name != GREENFLOW:
                self.decide(name, shares, lambda b, other=other: policies.greenflow(other, costs, b))  # type: ignore[misc]

    def restrict(self, name: str, shares: Iterable[float], columns: Columns) -> None:
        """GreenFlow over some chains only; budgets stay shares of the whole space's fullest."""
        rewards = self.predicted[GREENFLOW]
        self.decide(name, shares, lambda b: policies.greenflow(rewards, self.costs, b, columns))

    def outcome(self, key: Key, realised: npt.NDArray[np.generic], user: npt.NDArray[np.int64], users: int) -> Outcome:
        """Score a decision by ``realised`` clicks ``[n, J]``, summed by ``user``, an index below ``users``."""
        chosen = self.decided[key]
        rows = np.arange(len(chosen))
        return Outcome.of(user, users, realised[rows, chosen].astype(np.float64), self.costs[chosen])


class Arena:
    """All seeds' corners at one exposure."""

    def __init__(self, exposure: int, corners: list[Corner]) -> None:
        self.exposure = exposure
        self.corners = corners
        self.space = corners[0].space
        self.cuts = corners[0].requests // len(np.unique(corners[0].user_ids))
        self._realised: list[npt.NDArray[np.generic]] = []
        self._user: npt.NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._users = 0
        self._cache: dict[Key, Outcome] = {}

    def reveal(self, realised: list[npt.NDArray[np.generic]], user: npt.NDArray[np.int64]) -> None:
        """Hand over the final users' clicks ``[n, J]``, one array a seed, now that all have decided."""
        self._realised = realised
        self._users = int(user.max()) + 1
        self._user = user
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
            parts = [
                corner.outcome(key, realised, self._user, self._users)
                for corner, realised in zip(self.corners, self._realised, strict=True)
            ]
            self._cache[key] = sum(parts[1:], parts[0])
        return self._cache[key]

    def curve(self, policy: str) -> list[Outcome]:
        """A policy along its budgets."""
        return [self.outcome(policy, share) for share in self.shares_of(policy)]

    def chain(self, index: int) -> Outcome:
        """One chain for everybody."""
        key = f"chain {index}", 1.0
        for corner in self.corners:
            corner.decided.setdefault(key, np.full(corner.requests, index, dtype=np.int32))
        return self.outcome(*key)

    def add_oracle(self, shares: Iterable[float]) -> None:
        """What hindsight would have chosen, knowing every click: mostly luck, and no target."""
        for corner, realised in zip(self.corners, self._realised, strict=True):
            rewards = np.ascontiguousarray(realised, dtype=np.float32)
            corner.decide(ORACLE, shares, lambda b, r=rewards, c=corner: policies.greenflow(r, c.costs, b))  # type: ignore[misc]

    def used(self, policy: str, share: float) -> float:
        """Spent ÷ budget, the largest of all seeds."""
        return max(float(c.costs[c.decided[policy, share]].mean() / (share * c.costs.max())) for c in self.corners)
