"""What the frontier is measured against: the paper's gradient steps, DCAF's bisection, and two online algorithms.

``tests/benchmarks/price.py`` times them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.inputs import F32, F64
from greenflow_ray.pricing.several.dual import Dual
from greenflow_ray.support.jit import kernel


@dataclass(frozen=True, eq=False)
class BaselineResult:
    """What a baseline arrived at: last ``price``, ``chains`` int32 ``[n]``, their cost and reward, and passes over the
    rows.

    Gradient steps give no guarantee that ``cost`` keeps the budget.
    """

    price: float
    chains: npt.NDArray[np.int32]
    cost: float
    reward: float
    passes: int


def _prepare(rewards: Any, costs: Any, budget: float) -> tuple[F32, F64, float]:
    matrix = inputs.rewards_array(rewards)
    prices = inputs.costs_array(costs, matrix.shape[1:])
    budget = inputs.number("budget", budget)
    if len(matrix) * prices.min() > budget:
        raise InfeasibleBudget(budget, len(matrix) * float(prices.min()))
    return matrix, prices, budget


def _result(rewards: F32, costs: F64, price: float, chains: npt.NDArray[np.int32], passes: int) -> BaselineResult:
    reward = float(rewards[np.arange(len(chains)), chains].sum(dtype=np.float64))
    return BaselineResult(price, chains, float(costs[chains].sum()), reward, passes)


def gradient_descent(
    rewards: Any, costs: Any, budget: float, *, steps: int = 300, rate: float = 1.0, workers: int | None = None
) -> BaselineResult:
    """Algorithm 1 of the paper: ``λ ← max(0, λ − α_t (C − Σ x_ij c_j))``, one pass over all requests a step.

    Rewards ``[n, J]`` and costs ``[J]`` as for ``solve``. α is not printed there: here it is scaled to mean reward and
    cost and falls as 1/√t, times ``rate``.
    """
    matrix, prices, budget = _prepare(rewards, costs, budget)
    dual = Dual(matrix, prices[None], np.array([budget]), workers)
    mean = float(np.abs(matrix[:: max(1, len(matrix) // 4096)]).mean())
    alpha = rate * mean / max(float(prices.mean()) * budget, 1e-300)
    price, seen = 0.0, dual.at(np.zeros(1))
    for step in range(1, steps + 1):
        price = max(0.0, price - alpha / step**0.5 * float(seen.gradient[0]))
        seen = dual.at(np.array([price]))
    return _result(matrix, prices, price, seen.chains, dual.evaluations)


def bisection(
    rewards: Any, costs: Any, budget: float, *, tolerance: float = 1e-6, workers: int | None = None
) -> BaselineResult:
    """DCAF's search (arXiv 2006.09684): cost falls with λ, so halve the interval until cost is within ``tolerance``
    below budget.

    Where many requests flip at one price it ends at float resolution, with budget unused.
    """
    matrix, prices, budget = _prepare(rewards, costs, budget)
    dual = Dual(matrix, prices[None], np.array([budget]), workers)
    low, high = 0.0, 1e-9 * float(np.ptp(matrix) or 1.0) / max(float(prices.max()), 1e-300)
    best = dual.at(np.array([low]))
    if best.gradient[0] >= 0:
        return _result(matrix, prices, low, best.chains, dual.evaluations)
    while (best := dual.at(np.array([high]))).gradient[0] < 0 and high < 1e300:
        low, high = high, 4.0 * high
    while best.gradient[0] > tolerance * budget and high - low > 1e-15 * high:
        middle = 0.5 * (low + high)
        seen = dual.at(np.array([middle]))
        if seen.gradient[0] >= 0:
            best, high = seen, middle
        else:
            low = middle
    return _result(matrix, prices, high, best.chains, dual.evaluations)


@kernel
def _online(rewards: Any, costs: Any, budget: float, price: float, step: float, mirror: bool, chains: Any) -> float:
    n, width = rewards.shape
    least = costs.min()
    pace = budget / n
    left = budget
    for i in range(n):
        most = left - (n - i - 1) * least  # what may go without leaving a later request unserved
        best = -np.inf
        chosen = 0
        for j in range(width):
            value = rewards[i, j] - price * costs[j]
            if costs[j] <= most * (1.0 + 1e-12) and value > best:
                best = value
                chosen = j
        chains[i] = chosen
        left -= costs[chosen]
        if mirror:
            price *= np.exp(step * (costs[chosen] / pace - 1.0))
        else:
            price = max(0.0, price + step * (costs[chosen] - pace))
    return price


def mirror_descent(rewards: Any, costs: Any, budget: float, *, rate: float = 1.0) -> BaselineResult:
    """Online dual mirror descent with the entropy map (Balseiro, Lu and Mirrokni, arXiv 2002.10421, algorithm 1).

    Requests in row order, each decided before the next is seen: ``λ ← λ exp(η (c/ρ − 1))``, ρ = budget/n, η = rate/√n.
    The budget always holds.
    """
    return _in_order(rewards, costs, budget, rate, mirror=True)


def one_pass(rewards: Any, costs: Any, budget: float, *, rate: float = 1.0) -> BaselineResult:
    """The simple online algorithm of Li, Sun and Ye (arXiv 2003.02513): ``λ ← max(0, λ + γ (c − ρ))``, γ = O(1/√n),
    from λ = 0.

    Requests in row order; γ is scaled to mean reward and cost, times ``rate``. The budget always holds.
    """
    return _in_order(rewards, costs, budget, rate, mirror=False)


def _in_order(rewards: Any, costs: Any, budget: float, rate: float, *, mirror: bool) -> BaselineResult:
    """``_online`` with its start and step from the scale of the first rows' rewards and of the costs."""
    matrix, prices, budget = _prepare(rewards, costs, budget)
    n = len(matrix)
    chains = np.empty(n, np.int32)
    mean, cost = float(np.abs(matrix[: max(1, n // 100)]).mean()) if n else 0.0, float(prices.mean())
    scale = 1.0 if mirror else mean / max(cost**2, 1e-300)
    start = max(mean / max(cost, 1e-300), 1e-300) if mirror else 0.0
    step = rate * scale / max(n, 1) ** 0.5
    price = _online(matrix, prices, budget, start, step, mirror, chains)
    return _result(matrix, prices, price, chains, 1)


def coordinate_descent(
    rewards: Any, costs: Any, budgets: Any, *, sweeps: int = 10, workers: int | None = None
) -> tuple[F64, float, int]:
    """Several budgets by cyclic coordinate descent on slopes (after arXiv 2002.00352, section 4): prices, bound and
    passes.

    Each step prices one budget exactly to a bucket while the others' prices are charged to the rewards.
    """
    matrix = inputs.rewards_array(rewards)
    pools = np.ascontiguousarray(costs, np.float64)
    limits = np.asarray(budgets, np.float64)
    dual = Dual(matrix, pools, limits, workers)
    prices = np.zeros(len(limits))
    for _ in range(sweeps):
        for k in range(len(limits)):
            others = prices.copy()
            others[k] = 0.0
            charged = matrix - (others @ pools).astype(np.float32)
            prices[k] = Frontier.build(charged, pools[k], workers=workers).price(limits[k] / len(matrix))
    dual.at(prices)
    return prices, dual.lowest, sweeps * len(limits) + 1
