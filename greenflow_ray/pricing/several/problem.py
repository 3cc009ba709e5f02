"""Several budgets at once: per-stage pools, CPU beside GPU, a carbon cap beside a FLOPs cap (up to eight)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.several import dual
from greenflow_ray.support.jit import kernel

MOST_BUDGETS = 8


@dataclass(frozen=True, eq=False)
class ManySolution:
    """Chains for all requests within every budget.

    Attributes:
        prices: float64 ``[K]``, dual price of each budget, ≥ 0; 0 where a budget does not bind.
        chains: int32 ``[n]``.
        costs: float64 ``[K]``, spent of each budget, all ≤ budgets.
        reward: Σ of the chains' rewards.
        bound: D(λ) = λ·B + Σ max_j (R_ij − Σ_k λ_k c_kj): no assignment within the budgets is worth more.
        gap: ``bound - reward`` ≥ 0.
        evaluations: passes over all rows.
    """

    prices: F64
    chains: npt.NDArray[np.int32]
    costs: F64
    reward: float
    bound: float
    gap: float
    evaluations: int


def _check(rewards: Any, costs: Any, budgets: Any) -> tuple[F32, F64, F64]:
    checked = inputs.rewards_array(rewards)
    width = checked.shape[1]
    pools = np.asarray(costs, dtype=np.float64) if np.asarray(costs).dtype.kind in "fiu" else None
    if pools is None or pools.ndim != 2 or pools.shape[1] != width:
        raise PricingInputError(f"costs: shape {np.shape(costs)} is not [budgets, {width}]; give one row a budget")
    if not 1 <= len(pools) <= MOST_BUDGETS:
        raise PricingInputError(f"costs: {len(pools)} budgets; between 1 and {MOST_BUDGETS} are solved")
    if not np.isfinite(pools).all() or (pools < 0).any():
        raise PricingInputError("costs: holds NaN, infinity or a negative number; give finite costs ≥ 0")
    if np.shape(budgets) != (len(pools),):
        raise PricingInputError(f"budgets: shape {np.shape(budgets)} does not match {len(pools)} rows of costs")
    limits = np.array([inputs.number(f"budgets[{k}]", b) for k, b in enumerate(budgets)])
    if len(checked):
        finite = np.isfinite(checked).all(axis=1)
        inputs.refuse_rows(int(np.argmin(finite)), int((~finite).sum()))
    return checked, np.ascontiguousarray(pools), limits


def _anchor(costs: F64, budgets: F64, n: int) -> npt.NDArray[np.int32]:
    """Chains int32 ``[n]`` that keep every budget with the most room, whatever they earn.

    Raises InfeasibleBudget where no mix of chains, the same for all requests, keeps every budget.
    """
    from scipy.optimize import linprog

    for cost, budget in zip(costs, budgets, strict=True):
        if n * float(cost.min()) > budget:
            raise InfeasibleBudget(float(budget), n * float(cost.min()))
    scale = np.maximum(costs.max(axis=1), 1e-300)
    over = np.concatenate([costs / scale[:, None], -np.ones((len(costs), 1))], axis=1)
    found = linprog(
        np.append(np.zeros(costs.shape[1]), 1.0),
        A_ub=over,
        b_ub=budgets / scale / n,
        A_eq=np.append(np.ones(costs.shape[1]), 0.0)[None],
        b_eq=[1.0],
        bounds=[(0.0, None)] * costs.shape[1] + [(None, None)],
    )
    if found.x is None:
        return np.full(n, int(np.argmin(costs.sum(axis=0))), np.int32)
    if found.x[-1] > 1e-9:
        needed = costs @ found.x[:-1] * n
        k = int(np.argmax(needed / scale / n - budgets / scale / n))
        raise InfeasibleBudget(float(budgets[k]), float(needed[k]))
    ends = np.round(np.cumsum(np.maximum(found.x[:-1], 0.0)) * n)
    chain = np.minimum(np.searchsorted(ends, np.arange(n), side="right"), costs.shape[1] - 1)
    return np.asarray(chain, np.int32)


def solve_many(rewards: Any, costs: Any, budgets: Any, *, workers: int | None = None) -> ManySolution:
    """Maximise Σ R over one chain a request with Σ c_k ≤ B_k for every budget k.

    Args:
        rewards: float32 ``[n, J]``, finite.
        costs: float64 ``[K, J]``, what each chain takes of each budget, ≥ 0; K from 1 to 8.
        budgets: float64 ``[K]``.

    Raises PricingInputError naming what is malformed, InfeasibleBudget if no mix of chains keeps all budgets.

    All requests share the effective costs Σ_k λ_k c_kj, so one evaluation of the dual (equation 9, λ a vector) is one
    argmax pass. A cutting-plane model on a sample finds the neighbourhood; Newton steps on all rows, with a Hessian
    from finite differences, make spend meet budgets a hair tightened; what still exceeds one is moved to cheaper chains
    at the least loss, and what is left over is spent greedily. The rival is coordinate descent on slopes
    (``rivals.online.coordinate_descent``), which takes K hull passes a sweep and gives prices without chains.
    """
    matrix, pools, limits = _check(rewards, costs, budgets)
    n = len(matrix)
    if n == 0:
        k = len(limits)
        return ManySolution(np.zeros(k), np.empty(0, np.int32), np.zeros(k), 0.0, 0.0, 0.0, 0)
    anchor = _anchor(pools, limits, n)
    problem = dual.Dual(matrix, pools, limits, workers)
    if n > 2 * dual.SAMPLE:
        rows = np.arange(0, n, n // dual.SAMPLE)
        small = dual.Dual(matrix[rows], pools, limits * (len(rows) / n), 1)
        prices = dual.cutting_planes(small, tolerance=1e-4, most=80)
    else:
        prices = dual.cutting_planes(problem, tolerance=1e-7, most=300)
    best = dual.newton(problem, prices, tighten=min(2e-5 + 2.0 / n, 0.01))
    chains = _within(matrix, pools, limits, best.prices, best.chains, anchor)
    _upgrade(matrix, pools, limits, best.prices, chains)
    spent = _spend(pools, chains)
    reward = float(matrix[np.arange(n), chains].sum(dtype=np.float64))
    bound = max(problem.lowest, reward)
    return ManySolution(problem.lowest_at, chains, spent, reward, bound, bound - reward, problem.evaluations)


# Feasibility: requests move to cheaper chains at the least loss, then what is left over is spent.


def _spend(costs: F64, chains: npt.NDArray[np.int32]) -> F64:
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


def _within(
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
        broken = _spend(costs, chains) - budgets
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
    spent = _spend(costs, chains)[:, None] + np.cumsum(steps, axis=1)
    held = (spent <= budgets[:, None]).all(axis=0)
    count = int(np.argmax(held)) + 1 if held.any() else len(rows)
    result = chains.copy()
    result[rows[:count]] = anchor[rows[:count]]
    over = _spend(costs, result) - budgets
    if (over > 0).any():
        result = anchor
        over = _spend(costs, result) - budgets
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


def _upgrade(
    rewards: F32, costs: F64, budgets: F64, prices: F64, chains: npt.NDArray[np.int32], most: int = 64
) -> None:
    """Spend what is left: rows whose better chain fits move up in place, those first that gain most."""
    effective = prices @ costs
    gain, move = np.empty(len(chains)), np.empty(len(chains), np.int32)
    for _ in range(2):
        left = budgets - _spend(costs, chains)
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
