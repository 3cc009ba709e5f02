"""Several budgets: all hold, the certificate is honest, and few enough hull edges are lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.several.problem import solve_many
from tests.pricing.problems import problems, realistic


def check(rewards, costs, budgets, found):
    n = len(rewards)
    spent = costs[:, found.chains].sum(axis=1)
    np.testing.assert_allclose(found.costs, spent)
    assert (spent <= budgets * (1 + 1e-12)).all()
    assert found.reward == pytest.approx(rewards[np.arange(n), found.chains].sum(dtype=float), abs=1e-6)
    assert (found.prices >= 0).all()
    value = (rewards - found.prices @ costs).max(axis=1).sum() + found.prices @ budgets
    assert found.bound >= found.reward - 1e-9
    assert found.bound == pytest.approx(max(value, found.reward), rel=1e-6, abs=1e-6)


def pools(width, count, seed):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(1, 16, (count, width)), axis=1) * rng.uniform(0.5, 2, (count, 1)) * 1e8


@pytest.mark.parametrize("count", [1, 3, 8])
def test_all_budgets_hold_and_the_gap_is_small(count):
    rewards, _ = realistic(600, 10)
    costs = pools(10, count, 3)
    budgets = 600 * (costs.min(axis=1) + np.linspace(0.3, 0.7, count) * np.ptp(costs, axis=1))
    found = solve_many(rewards, costs, budgets)
    check(rewards, costs, budgets, found)
    assert found.gap / found.reward < 5e-3


def test_many_requests_are_solved_by_newton_steps():
    rewards, _ = realistic(20_000, 8)
    costs = pools(8, 3, 5)
    budgets = 20_000 * (costs.min(axis=1) + np.array([0.3, 0.5, 0.4]) * np.ptp(costs, axis=1))
    found = solve_many(rewards, costs, budgets)
    check(rewards, costs, budgets, found)
    assert found.gap / found.reward < 1e-4
    assert found.evaluations < 60


def test_one_budget_agrees_with_the_exact_solve():
    rewards, costs = realistic(500)
    budget = 500 * costs.mean()
    one, many = solve(rewards, costs, budget), solve_many(rewards, costs[None], [budget])
    assert many.prices[0] == pytest.approx(one.price, rel=1e-3)
    assert many.reward == pytest.approx(one.reward, rel=1e-4)
    assert many.bound >= one.reward


def test_agreement_with_highs():
    rewards, _ = realistic(60, 6)
    costs = pools(6, 3, 1)
    budgets = 60 * (costs.min(axis=1) + 0.4 * np.ptp(costs, axis=1))
    found = solve_many(rewards, costs, budgets)
    each = np.kron(np.eye(60), np.ones(6))
    limits = np.tile(costs, 60) / 1e8
    optimum = -linprog(-rewards.ravel(), A_ub=limits, b_ub=budgets / 1e8, A_eq=each, b_eq=np.ones(60)).fun
    assert found.bound >= optimum * (1 - 1e-6)
    assert found.bound == pytest.approx(optimum, rel=1e-3)
    assert optimum - found.reward <= 3 * np.ptp(rewards, axis=1).max()


@settings(max_examples=40, deadline=None)
@example((np.array([[0, 0, 0.125]], np.float32), np.array([2.0, 3.0, 0.0])), 7, 0.75)  # one request: rounding is all
@given(problems(max_rows=6, max_chains=5), st.integers(0, 1000), st.floats(0.05, 1.0))
def test_budgets_hold_on_degenerate_problems(problem, seed, share):
    rewards, first = problem
    costs = np.stack([first, np.random.default_rng(seed).permutation(first)])
    budgets = len(rewards) * (costs.min(axis=1) + share * np.ptp(costs, axis=1))
    try:
        found = solve_many(rewards, costs, budgets)
    except InfeasibleBudget:
        # Only where giving everyone the same, most balanced chain does not keep the budgets either.
        worst = (costs * len(rewards) - budgets[:, None]).max(axis=0)
        assert worst.min() > 0
        return
    check(rewards, costs, budgets, found)


def test_budgets_that_no_mix_of_chains_keeps_are_infeasible():
    rewards = np.ones((10, 2), np.float32)
    costs = np.array([[1.0, 10.0], [10.0, 1.0]])
    with pytest.raises(InfeasibleBudget, match="below"):
        solve_many(rewards, costs, [30.0, 30.0])
    with pytest.raises(InfeasibleBudget, match="5 is below 10"):
        solve_many(rewards, costs, [5.0, 100.0])
    check(rewards, costs, np.array([60.0, 60.0]), solve_many(rewards, costs, [60.0, 60.0]))
