"""One budget, exactly: feasibility, certificate, ties, and agreement with a linear-programming solver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import block_diag, csr_matrix

from greenflow_ray.pricing.exact import SAMPLE, solve
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.refinement import Refinement, crossing, unpriced
from tests.pricing.problems import largest_edge, problems, realistic

quick = settings(max_examples=80, deadline=None)


def relaxation(rewards, costs, budget):
    """Optimum of the linear relaxation of equation (3), by HiGHS."""
    n, width = rewards.shape
    rows = np.broadcast_to(costs, rewards.shape)
    one = block_diag([csr_matrix(np.ones((1, width)))] * n)
    result = linprog(
        -rewards.astype(float).ravel(), A_ub=csr_matrix(rows.reshape(1, -1)), b_ub=[budget], A_eq=one, b_eq=np.ones(n)
    )
    assert result.status == 0
    return -result.fun


def check(rewards, costs, budget, found):
    n = len(rewards)
    rows = np.broadcast_to(costs, rewards.shape)
    assert found.cost == pytest.approx(rows[np.arange(n), found.chains].sum())
    assert found.cost <= budget
    assert found.reward == pytest.approx(rewards[np.arange(n), found.chains].sum(dtype=float), abs=1e-6)
    assert found.price >= 0
    assert found.reward <= found.bound
    value = (rewards.astype(float) - found.price * rows).max(axis=1).sum() + found.price * budget
    assert found.bound == pytest.approx(value, rel=1e-6, abs=1e-6)
    assert 0 <= found.gap <= largest_edge(rewards, costs) * (1 + 1e-6) + 1e-6


@quick
@given(problems(), st.floats(0, 1.2))
def test_every_solution_is_feasible_and_within_one_hull_edge(problem, share):
    rewards, costs = problem
    n = len(rewards)
    budget = n * (costs.min() + share * np.ptp(costs))
    check(rewards, costs, budget, solve(rewards, costs, budget))


@quick
@given(problems(), st.floats(0, 1), st.integers(0, 2**32))
def test_costs_per_request(problem, share, seed):
    rewards, shared = problem
    rng = np.random.default_rng(seed)
    costs = rng.permuted(np.tile(shared, (len(rewards), 1)), axis=1)
    low, high = costs.min(axis=1).sum(), costs.max(axis=1).sum()
    budget = low + share * (high - low)
    check(rewards, costs, budget, solve(rewards, costs, budget))


@settings(max_examples=20, deadline=None)
@given(problems(max_rows=8), st.floats(0.01, 1))
def test_the_linear_programme_is_not_worth_more_than_one_edge(problem, share):
    rewards, costs = problem
    budget = len(rewards) * (costs.min() + share * np.ptp(costs))
    found = solve(rewards, costs, budget)
    optimum = relaxation(rewards, costs, budget)
    assert optimum <= found.bound + 1e-6
    assert optimum - found.reward <= largest_edge(rewards, costs) + 1e-6


@pytest.mark.parametrize("seed", [0, 1])
def test_agreement_with_highs_on_a_realistic_problem(seed):
    rewards, costs = realistic(150, 10, seed)
    budget = 150 * 0.5 * (costs.min() + costs.max())
    found = solve(rewards, costs, budget)
    optimum = relaxation(rewards, costs / 1e8, budget / 1e8)
    assert optimum <= found.bound * (1 + 1e-7)
    assert optimum - found.reward <= largest_edge(rewards, costs)
    assert found.bound == pytest.approx(optimum, rel=1e-6)


def test_identical_requests_are_served_differently_to_use_the_budget():
    rewards = np.tile(np.float32([0.0, 1.0]), (10, 1))
    found = solve(rewards, [1.0, 3.0], 10 + 2 * 4 + 1)
    assert sorted(found.chains.tolist()) == [0] * 6 + [1] * 4
    assert found.chains.tolist() == [1] * 4 + [0] * 6, "ties go by row order"
    assert found.gap == pytest.approx(0.5)


def test_constant_rewards_take_the_cheapest_chain_at_price_zero():
    found = solve(np.full((4, 3), 7.0, np.float32), [3.0, 1.0, 2.0], 100.0)
    assert found.price == 0.0
    assert found.chains.tolist() == [1] * 4
    assert found.gap == 0.0


def test_a_budget_for_everything_gives_everyone_the_best_chain():
    rewards, costs = realistic(100)
    found = solve(rewards, costs, 1e12)
    assert found.price == 0.0
    np.testing.assert_array_equal(found.chains, rewards.argmax(axis=1))


def test_exactly_the_minimum_is_feasible():
    rewards, costs = realistic(33)
    found = solve(rewards, costs, 33 * costs.min())
    assert found.cost == 33 * costs.min()


def test_dominated_chains_and_order_change_nothing():
    rewards, costs = realistic(200, 9)
    budget = 200 * costs.mean()
    plain = solve(rewards, costs, budget)
    order = np.random.default_rng(1).permutation(9)
    shuffled = solve(rewards[:, order], costs[order], budget)
    np.testing.assert_array_equal(order[shuffled.chains], plain.chains)
    padded = solve(np.concatenate([rewards, rewards[:, :1] - 1], axis=1), np.append(costs, costs[-1]), budget)
    np.testing.assert_array_equal(padded.chains, plain.chains)


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_the_exact_price_scales(factor):
    rewards, costs = realistic(300)
    budget = 300 * costs.mean()
    price = solve(rewards, costs, budget).price
    assert solve(rewards * np.float32(factor), costs, budget).price == pytest.approx(price * factor)
    assert solve(rewards, costs * factor, budget * factor).price == pytest.approx(price / factor)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_large_problem_is_solved_from_a_sample_and_agrees_with_two_passes(share):
    rewards, costs = realistic(9000, 8)
    frontier = Frontier.build(rewards, costs)
    budget = 9000 * (frontier.floor + share * (frontier.top - frontier.floor))
    sampled = solve(rewards, costs, budget, workers=2)
    exact = Refinement.build(rewards, costs, crossing(frontier, budget)).solve(frontier, budget)
    assert sampled.price == exact.price
    assert exact.cost * (1 - 1e-12) <= sampled.cost <= budget
    assert sampled.bound == pytest.approx(exact.bound, rel=1e-9)
    assert sampled.gap <= sampled.price * np.ptp(costs)


def test_a_sample_that_misleads_costs_a_pass_and_not_the_answer():
    rewards, costs = realistic(9000, 8)
    step = 9000 // SAMPLE if 9000 // SAMPLE > 24 else 24
    rewards[::step] *= np.float32(1000.0)  # the rows that the sample takes are nothing like the others
    budget = 9000 * 0.5 * (costs.min() + costs.max())
    found = solve(rewards, costs, budget)
    frontier = Frontier.build(rewards, costs)
    exact = Refinement.build(rewards, costs, crossing(frontier, budget)).solve(frontier, budget)
    assert found.price == exact.price


def test_refinements_add_up():
    rewards, costs = realistic(500)
    frontier = Frontier.build(rewards, costs)
    budget = 500 * costs.mean()
    bucket = crossing(frontier, budget)
    whole = Refinement.build(rewards, costs, bucket).solve(frontier, budget)
    first, second, third = (Refinement.build(rewards[i::3], costs, bucket) for i in range(3))
    assert (first + second + third).solve(frontier, budget).price == whole.price
    assert whole.cost + whole.spare == pytest.approx(budget)
    assert crossing(frontier, 1e15) is None
    assert unpriced(frontier, 1e15).price == 0.0
