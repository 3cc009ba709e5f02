"""Feasibility of several budgets: move requests to cheaper chains at the least loss, then spend what is left over."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.support.jit import kernel


def spend(costs: F64, chains: npt.NDArray[np.int32]) -> F64:
    """Computation taken of each budget, ``[K]``; exact where costs are integers."""
    return np.asarray(costs @ np.bincount(chains, minlength=costs.shape[1]).astype(float), np.float64)


@kernel
def _cheapest_moves(rewards: Any, weights: Any, values: Any, allowed: Any, chains: Any, ratio: Any, move: Any) -> None:
    """Each row's move with the least loss of value for each unit of ``weights`` ``[J]`` it frees."""
    for i in range(rewards.shape[0]):
        a = chains[i]
        ratio[i] = np.inf
        move[i] = a
        for j in range(rewards.shape[1]):
            freed = weights[a] - weights[j]
            if allowed[a, j] and freed > 0:
                loss = (rewards[i, a] - values[a]) - (rewards[i, j] - values[j])
                if max(loss, 0.0) / freed < ratio[i]:
                    ratio[i] = max(loss, 0.0) / freed
                    move[i] = j


def within(
    rewards: F32, costs: F64, budgets: F64, prices: F64, chains: npt.NDArray[np.int32], anchor: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Chains that keep every budget: rows move to chains that cost no more of any budget, least loss first.

    Where that does not suffice, rows go to ``anchor``, chains that keep all budgets, those first that lose least by it.
    Raises InfeasibleBudget if the anchor breaks one and so does every chain given to all rows alike, which takes
    budgets within a few requests of the least possible.
    """
    chains = chains.copy()
    effective = prices @ costs
    never_dearer = (costs[:, :, None] >= costs[:, None, :]).all(axis=0)
    ratio, move = np.empty(len(chains)), np.empty(len(chains), np.int32)
    scale = np.maximum(budgets, 1e-300)
    for _ in range(8):
        broken = spend(costs, chains) - budgets
        if (broken <= 0).all():
            return chains
        weights = (costs[broken > 0] / scale[broken > 0, None]).sum(axis=0)
        _cheapest_moves(rewards, weights, effective, never_dearer, chains, ratio, move)
        rows = np.argsort(ratio, kind="stable")[: int(np.isfinite(ratio).sum())]
        freed = costs[:, chains[rows]] - costs[:, move[rows]]
        held = (np.cumsum(freed, axis=1)[broken > 0] >= broken[broken > 0, None]).all(axis=0)
        count = int(np.argmax(held)) + 1 if held.any() else len(rows)
        if count == 0:
            break
        chains[rows[:count]] = move[rows[:count]]
    return _towards(rewards, costs, budgets, chains, anchor)


def _towards(
    rewards: F32, costs: F64, budgets: F64, chains: npt.NDArray[np.int32], anchor: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """The fewest rows, least loss first, that must take their chain of ``anchor`` until every budget holds."""
    every = np.arange(len(chains))
    rows = np.argsort(rewards[every, chains] - rewards[every, anchor], kind="stable")
    steps = costs[:, anchor[rows]] - costs[:, chains[rows]]
    spent = spend(costs, chains)[:, None] + np.cumsum(steps, axis=1)
    held = (spent <= budgets[:, None]).all(axis=0)
    count = int(np.argmax(held)) + 1 if held.any() else len(rows)
    result = chains.copy()
    result[rows[:count]] = anchor[rows[:count]]
    over = spend(costs, result) - budgets
    if (over > 0).any():
        result = anchor
        over = spend(costs, result) - budgets
    if (over > 0).any():
        # The anchor is the relaxation's rounding, and rounding may break a budget that one chain for everybody keeps.
        shared = np.flatnonzero((len(chains) * costs <= budgets[:, None]).all(axis=0))
        if len(shared):
            best = shared[np.argmax(rewards[:, shared].sum(axis=0, dtype=np.float64))]
            return _towards(rewards, costs, budgets, chains, np.full(len(chains), best, np.int32))
        k = int(np.argmax(over))
        raise InfeasibleBudget(float(budgets[k]), float(budgets[k] + over[k]))
    return result.copy()


@kernel
def _best_upgrades(rewards: Any, values: Any, fits: Any, chains: Any, gain: Any, move: Any) -> None:
    for i in range(rewards.shape[0]):
        a = chains[i]
        gain[i] = -np.inf
        move[i] = a
        for j in range(rewards.shape[1]):
            if fits[a, j] and rewards[i, j] > rewards[i, a]:
                value = (rewards[i, j] - values[j]) - (rewards[i, a] - values[a])
                if value > gain[i]:
                    gain[i] = value
                    move[i] = j


def upgrade(rewards: F32, costs: F64, budgets: F64, prices: F64, chains: npt.NDArray[np.int32], most: int = 64) -> None:
    """Spend what is left: rows whose better chain fits move up in place, those first that gain most."""
    effective = prices @ costs
    gain, move = np.empty(len(chains)), np.empty(len(chains), np.int32)
    for _ in range(2):
        left = budgets - spend(costs, chains)
        fits = (costs[:, None, :] - costs[:, :, None] <= left[:, None, None]).all(axis=0)
        _best_upgrades(rewards, effective, fits, chains, gain, move)
        candidates = np.flatnonzero(np.isfinite(gain))
        if len(candidates) > most:
            candidates = candidates[np.argpartition(-gain[candidates], most)[:most]]
        for row in candidates[np.argsort(-gain[candidates], kind="stable")]:
            step = costs[:, move[row]] - costs[:, chains[row]]
            if (step <= left).all():
                left -= step
                chains[row] = move[row]
