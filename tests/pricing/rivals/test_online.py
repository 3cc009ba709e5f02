"""The baselines do what their papers say, so that beating them means something."""

from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.rivals import online
from greenflow_ray.pricing.several.problem import solve_many
from tests.pricing.problems import realistic

N = 3000


@pytest.fixture(scope="module")
def problem():
    rewards, costs = realistic(N, 10)
    return rewards, costs, N * costs.mean()


@pytest.mark.parametrize("name", ["gradient_descent", "bisection", "mirror_descent", "one_pass"])
def test_they_come_near_the_optimum_and_never_beat_the_bound(name, problem):
    rewards, costs, budget = problem
    found, ours = getattr(online, name)(rewards, costs, budget), solve(rewards, costs, budget)
    assert found.cost == pytest.approx(costs[found.chains].sum())
    assert found.cost <= budget * (1.02 if name == "gradient_descent" else 1 + 1e-12)
    if found.cost <= budget:
        assert found.reward <= ours.bound
    assert found.reward >= 0.97 * ours.reward


@pytest.mark.parametrize("name", ["gradient_descent", "bisection"])
def test_searches_find_the_price(name, problem):
    rewards, costs, budget = problem
    found = getattr(online, name)(rewards, costs, budget)
    assert found.price == pytest.approx(solve(rewards, costs, budget).price, rel=0.02)
    assert found.passes > 10


def test_online_algorithms_serve_everyone_even_at_the_least_budget(problem):
    rewards, costs, _ = problem
    for work in (online.mirror_descent, online.one_pass):
        found = work(rewards, costs, N * costs.min())
        assert found.cost == pytest.approx(N * costs.min())
        with pytest.raises(InfeasibleBudget):
            work(rewards, costs, N * costs.min() * 0.99)


def test_bisection_leaves_budget_unused_where_all_requests_flip_at_one_price():
    rewards = np.tile(np.float32([0.0, 1.0]), (100, 1))
    assert online.bisection(rewards, [1.0, 3.0], 200.0).cost == 100.0
    assert solve(rewards, [1.0, 3.0], 200.0).cost == 200.0


def test_price_zero_where_the_budget_is_ample(problem):
    rewards, costs, _ = problem
    assert online.bisection(rewards, costs, 1e15).price == 0.0
    assert online.gradient_descent(rewards, costs, 1e15, steps=3).price == 0.0


def test_coordinate_descent_goes_down_to_the_same_bound(problem):
    rewards, costs, _ = problem
    both = np.stack([costs, costs[::-1]])
    budgets = N * both.mean(axis=1)
    _, bound, _ = online.coordinate_descent(rewards, both, budgets)
    ours = solve_many(rewards, both, budgets)
    assert bound >= ours.reward
    assert bound == pytest.approx(ours.bound, rel=0.02)
