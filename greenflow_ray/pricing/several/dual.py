"""The dual of several budgets: its evaluation in one pass, and two ways down to its minimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.kernels import parallel
from greenflow_ray.support.jit import kernel

SAMPLE = 4096
"""Rows of the sample on which the neighbourhood of the optimum is found."""


@kernel
def _respond(rewards: Any, effective: Any, chains: Any, counts: Any) -> float:
    """Best chain of every row at effective costs ``[J]``; returns Σ max_j (R_ij − e_j). Ties go to the first column."""
    total = 0.0
    for i in range(rewards.shape[0]):
        best = rewards[i, 0] - effective[0]
        chosen = 0
        for j in range(1, rewards.shape[1]):
            value = rewards[i, j] - effective[j]
            if value > best:
                best = value
                chosen = j
        total += best
        chains[i] = chosen
        counts[chosen] += 1.0
    return total


@dataclass(frozen=True, eq=False)
class Response:
    """What requests choose at ``prices`` ``[K]``: the dual's value, its gradient ``B − spend`` and the chains."""

    prices: F64
    value: float
    gradient: F64
    chains: npt.NDArray[np.int32]


class Dual:
    """D(λ) = λ·B + Σ_i max_j (R_ij − Σ_k λ_k c_kj), convex; remembers the lowest value seen, which is the bound."""

    def __init__(self, rewards: F32, costs: F64, budgets: F64, workers: int | None) -> None:
        self.rewards, self.costs, self.budgets = rewards, costs, budgets
        self._workers = workers
        self.evaluations = 0
        self.lowest = np.inf
        self.lowest_at = np.zeros(len(budgets))

    def at(self, prices: F64) -> Response:
        """Evaluate at ``prices`` ≥ 0: one pass over all rows."""
        n, width = self.rewards.shape
        effective = prices @ self.costs
        chains = np.empty(n, np.int32)

        def block(start: int, stop: int) -> tuple[float, F64]:
            counts = np.zeros(width)
            return _respond(self.rewards[start:stop], effective, chains[start:stop], counts), counts

        parts = parallel.over_rows(block, n, width, self._workers)
        value = sum(p[0] for p in parts) + float(prices @ self.budgets)
        counts = np.sum([p[1] for p in parts], axis=0)
        self.evaluations += 1
        if value < self.lowest:
            self.lowest, self.lowest_at = value, prices.copy()
        return Response(prices, value, self.budgets - self.costs @ counts, chains)


def _scales(problem: Dual) -> F64:
    """A price for each budget beyond which spending on it cannot pay, to bound the search."""
    spread = np.ptp(problem.rewards.astype(np.float64), axis=1).mean()
    width = problem.costs.max(axis=1) - problem.costs.min(axis=1)
    return np.asarray(10.0 * max(spread, 1e-30) / np.maximum(width, 1e-30))


def cutting_planes(problem: Dual, *, tolerance: float, most: int) -> F64:
    """Prices within ``tolerance`` (relative) of the dual's minimum, by Kelley's model in a shrinking, centred box.

    Every evaluation is a plane below D; the next point minimises their maximum (a linear programme of K + 1 variables)
    near the best point so far. The box halves when a step fails and grows when the optimum lies on its rim.
    """
    from scipy.optimize import linprog

    scale = _scales(problem)
    count = len(scale)
    box = np.full(count, 0.5)
    best = problem.at(np.zeros(count))
    planes = [best]
    for _ in range(most):
        centre = best.prices / scale
        slopes = np.array([p.gradient * scale for p in planes])
        heights = np.array([p.value - float(p.gradient @ p.prices) for p in planes])
        size = max(abs(best.value), 1e-30)
        found = linprog(
            np.append(np.zeros(count), 1.0),
            A_ub=np.concatenate([slopes / size, -np.ones((len(planes), 1))], axis=1),
            b_ub=-(heights - best.value) / size,
            bounds=[(max(c - b, 0.0), c + b) for c, b in zip(centre, box, strict=True)] + [(None, None)],
            method="highs",
        )
        if found.x is None:
            break
        promised = -float(found.x[-1])
        step = found.x[:-1]
        inside = bool((np.abs(step - centre) < box * 0.999).all())
        if promised < tolerance and (inside or box.max() < 1e-7):
            break
        seen = problem.at(np.maximum(step, 0.0) * scale)
        planes.append(seen)
        if len(planes) > 60:
            planes.pop(0)
        gained = (best.value - seen.value) / size
        if gained > 0.5 * promised and not inside:
            box *= 2.0
        elif gained < 0.1 * promised:
            box *= 0.6
        if gained > 0:
            best = seen
    return best.prices


def newton(problem: Dual, prices: F64, *, tighten: float, rounds: int = 6, steps: int = 4) -> Response:
    """From nearby ``prices`` to where spend meets the budgets less ``tighten``, by projected Newton steps.

    With many requests D is all but smooth. The Hessian comes from one more evaluation a budget; each step minimises the
    quadratic model over prices ≥ 0 as non-negative least squares. Returns the response that breaks budgets least.
    """
    from scipy.optimize import nnls

    budgets = np.maximum(problem.budgets, 1e-300)
    floor = 1e-4 * _scales(problem)
    aim = problem.budgets * tighten

    def breach(r: Response) -> float:
        excess = (aim - r.gradient) / budgets
        return float(np.where(r.prices > 0, np.abs(excess), np.maximum(excess, 0.0)).max())

    now = best = problem.at(prices)
    count = len(prices)
    for _ in range(rounds):
        if breach(best) <= 0.5 * tighten:
            break
        now = best
        hessian = np.zeros((count, count))
        for k in range(count):
            step = max(0.01 * now.prices[k], floor[k])
            moved = now.prices.copy()
            moved[k] += step
            hessian[k] = (problem.at(moved).gradient - now.gradient) / step
        hessian = 0.5 * (hessian + hessian.T)
        values, vectors = np.linalg.eigh(hessian * np.outer(1 / budgets, 1 / budgets))
        values = np.maximum(values, 1e-6 * max(values.max(), 1e-300))
        root = (vectors * np.sqrt(values)).T  # root.T @ root is the Hessian in units of budgets
        for _ in range(steps):
            units = now.prices * budgets
            pull = (now.gradient - aim) / budgets
            target = root @ units - np.linalg.solve(root.T, pull)
            wanted, _ = nnls(root, target)
            seen = problem.at(wanted / budgets)
            for share in (0.5, 0.2):  # the model holds nearby only
                if breach(seen) <= breach(now):
                    break
                seen = problem.at(now.prices + share * (wanted / budgets - now.prices))
            if breach(seen) < breach(best):
                best = seen
            if breach(seen) > 0.5 * breach(now):
                break
            now = seen
            if breach(best) <= 0.5 * tighten:
                break
    return best
