"""Policies held against each other; all but the fixed chains decide by :func:`greenflow_ray.pricing.exact.solve`, so
that each keeps the budget exactly and differs in one thing only: what it believes a chain is worth to a request."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.inputs import F32, F64

Chosen = npt.NDArray[np.int32]
Columns = npt.NDArray[np.int64]

SPLITS = tuple(i / 20 for i in range(1, 20))  # shares of a budget that CRAS may give to its early stages


def fixed(clicks: F64, costs: F64, budget: float, columns: Columns | None = None) -> int:
    """EQUAL, well tuned: of all chains (or ``columns``) within ``budget`` the one with most clicks on fitting users.

    ``clicks`` is their mean, float64 ``[J]``. Raises InfeasibleBudget if no chain is within the budget.
    """
    allowed = np.arange(len(costs)) if columns is None else columns
    within = allowed[costs[allowed] <= budget]
    if not len(within):
        raise InfeasibleBudget(budget, float(costs[allowed].min()))
    return int(within[np.argmax(clicks[within])])


def paper_like(space: ChainSpace, early: int) -> Columns:
    """Chains of the paper's EQUAL: its one pre-ranking scale (the nearest to ``early``), its first ranker."""
    scales = np.unique(space.items[:, -2])
    near = scales[np.argmin(np.abs(scales - early))]
    return np.flatnonzero((space.items[:, -2] == near) & (space.models[:, -1] == 0))


def greenflow(rewards: F32, costs: F64, budget: float, columns: Columns | None = None) -> Chosen:
    """The best chains, by their ``rewards`` ``[n, J]``, whose costs stay within ``budget`` a request; int32 ``[n]``.

    Paper, equation 3; ``columns`` restricts the choice. Raises InfeasibleBudget below the cheapest chain.
    """
    if columns is None:
        return solve(rewards, costs, budget * len(rewards)).chains
    chosen = solve(np.ascontiguousarray(rewards[:, columns]), costs[columns], budget * len(rewards)).chains
    return columns[chosen].astype(np.int32)


def global_mix(
    clicks: F64, costs: F64, budget: float, order: npt.NDArray[np.int64], columns: Columns | None = None
) -> Chosen:
    """GLOBAL: the same price mechanism without personalisation: every request is taken for the mean one.

    At the breakpoint requests are shared between two chains, in ``order``, a permutation drawn beforehand.
    """
    rows = np.repeat(clicks[None].astype(np.float32), len(order), axis=0)
    chosen = greenflow(rows, costs, budget, columns)
    out = np.empty_like(chosen)
    out[order] = chosen
    return out


class Cras:
    """CRAS (arXiv 2103.02259): every stage allocates by itself, within its own share of the budget, one ranker.

    Early stages share one problem and the ranker has the other. A stage's revenue is the reward averaged over what the
    other stage may do, as if they were independent.
    """

    def __init__(self, space: ChainSpace, ranker: int) -> None:
        columns = np.flatnonzero(space.models[:, -1] == ranker)
        beginnings = np.concatenate([space.models[columns, :-1], space.items[columns, :-1]], axis=1)
        early, before = np.unique(beginnings, axis=0, return_inverse=True)
        scales, late = np.unique(space.items[columns, -1], return_inverse=True)
        # Chain of every beginning and every scale of the ranker; -1: more items than the stage before keeps.
        self._table = np.full((len(early), len(scales)), -1)
        self._table[before.ravel(), late.ravel()] = columns
        self.costs = space.costs
        self.floor = float(space.costs[columns].min())
        # A chain's cost is the sum of its stages': each stage's part is read off chains that differ in it alone.
        narrowest, widest = self._table[:, 0], self._table[np.argmax((self._table >= 0).sum(axis=1))]
        self._early_costs = space.costs[narrowest] - space.costs[narrowest].min()
        self._late_costs = space.costs[widest] - space.costs[widest[0]]

    def revenues(self, rewards: F32) -> tuple[F32, F32]:
        """Each problem's revenues from predicted ``rewards`` ``[n, J]``: ``[n, beginnings]`` and ``[n, scales]``."""
        early = [rewards[:, row[row >= 0]].mean(axis=1) for row in self._table]
        late = [rewards[:, column[column >= 0]].mean(axis=1) for column in self._table.T]
        return np.stack(early, axis=1), np.stack(late, axis=1)

    def decide(self, revenues: tuple[F32, F32], budget: float, share: float) -> Chosen:
        """Chains, int32 ``[n]``; the early stages have ``share`` of what ``budget`` leaves above the cheapest chain."""
        spare = budget - self.floor
        early = greenflow(revenues[0], self._early_costs, share * spare)
        late = greenflow(revenues[1], self._late_costs, (1 - share) * spare)
        chosen = self._table[early, late]
        # Stages that decide apart may ask for more items than the stage before keeps: the ranker takes what there is.
        while (lost := chosen < 0).any():
            late[lost] -= 1
            chosen[lost] = self._table[early[lost], late[lost]]
        return chosen.astype(np.int32)


@dataclass(frozen=True)
class TunedCras:
    """CRAS with the ranker and the shares that earned most from fitting users."""

    space: ChainSpace
    rewards: F32
    clicks: npt.NDArray[np.integer]

    @cached_property
    def _problems(self) -> list[tuple[Cras, tuple[F32, F32]]]:
        rankers = [Cras(self.space, int(r)) for r in np.unique(self.space.models[:, -1])]
        return [(cras, cras.revenues(self.rewards)) for cras in rankers]

    def decide(self, rewards: F32, budget: float) -> Chosen:
        """Chains of requests with predicted ``rewards`` ``[n, J]``, int32 ``[n]``."""
        rows = np.arange(len(self.rewards))
        options = [(c, revenues, share) for c, revenues in self._problems if budget >= c.floor for share in SPLITS]
        if not options:
            raise InfeasibleBudget(budget, float(self.space.costs.min()))
        cras, _, share = max(options, key=lambda o: float(self.clicks[rows, o[0].decide(o[1], budget, o[2])].mean()))
        return cras.decide(cras.revenues(rewards), budget, share)


def single_stage(space: ChainSpace, rewards: F32, clicks: npt.NDArray[np.integer], budget: float) -> Columns:
    """DCAF's chains (arXiv 2006.09684): one stage is allocated, the ranker's items; all before it is fixed.

    Which fixed beginning and which ranker earned most, at ``budget``, from fitting users; int64, columns of the space.
    """
    rows = np.arange(len(rewards))
    beginnings = np.concatenate([space.models, space.items[:, :-1]], axis=1)
    groups = [np.flatnonzero((beginnings == beginning).all(axis=1)) for beginning in np.unique(beginnings, axis=0)]
    within = [columns for columns in groups if space.costs[columns].min() <= budget]
    if not within:
        raise InfeasibleBudget(budget, float(space.costs.min()))
    costs = space.costs
    return max(within, key=lambda c: float(clicks[rows, greenflow(rewards, costs, budget, c)].mean()))
