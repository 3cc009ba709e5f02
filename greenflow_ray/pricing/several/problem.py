"""Several budgets at once: per-stage pools, CPU beside GPU, a carbon cap beside a FLOPs cap (up to eight)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.several import dual, repair
from greenflow_ray.pricing.several.dual import Response

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
    for cost, budget in zip(costs, budgets, strict=True):
        if n * float(cost.min()) > budget:
            raise InfeasibleBudget(float(budget), n * float(cost.min()))
    from scipy.optimize import linprog

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
    (``baselines.coordinate_descent``), which takes K hull passes a sweep and gives prices without chains.
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
    chains = repair.within(matrix, pools, limits, best.prices, best.chains, anchor)
    repair.upgrade(matrix, pools, limits, best.prices, chains)
    spent = repair.spend(pools, chains)
    reward = float(matrix[np.arange(n), chains].sum(dtype=np.float64))
    bound = max(problem.lowest, reward)
    return ManySolution(problem.lowest_at, chains, spent, reward, bound, bound - reward, problem.evaluations)


__all__ = ["MOST_BUDGETS", "ManySolution", "Response", "solve_many"]
