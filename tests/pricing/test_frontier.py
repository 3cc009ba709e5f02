"""The frontier's mathematics: hulls, look-ups, merging, bytes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing.frontier import Frontier
from tests.pricing.problems import hull_edges, problems, realistic

quick = settings(max_examples=60, deadline=None)


def close(a: Frontier, b: Frontier) -> None:
    np.testing.assert_array_equal(a.buckets, b.buckets)
    np.testing.assert_allclose(a.cost, b.cost, rtol=1e-9)
    np.testing.assert_allclose(a.reward_gain, b.reward_gain, rtol=1e-6, atol=1e-9)
    assert (a.requests, a.base_cost) == pytest.approx((b.requests, b.base_cost))
    assert a.base_reward == pytest.approx(b.base_reward)


@quick
@given(problems())
def test_edges_are_those_of_the_hulls(problem):
    rewards, costs = problem
    frontier = Frontier.build(rewards, costs)
    edges = [e for row in rewards for e in hull_edges(row, costs)]
    assert frontier.cost.sum() == pytest.approx(sum(e[1] for e in edges))
    assert frontier.reward_gain.sum() == pytest.approx(sum(e[2] for e in edges), abs=1e-6)
    assert frontier.base_cost == pytest.approx(len(rewards) * costs.min())
    buckets = {int(np.float32(e[0]).view(np.int32)) >> 16 for e in edges}
    assert set(frontier.buckets.tolist()) == buckets


@quick
@given(problems(), st.randoms(use_true_random=False))
def test_order_of_rows_and_chains_is_irrelevant(problem, random):
    rewards, costs = problem
    rows, columns = list(range(len(rewards))), list(range(len(costs)))
    random.shuffle(rows)
    random.shuffle(columns)
    close(Frontier.build(rewards, costs), Frontier.build(rewards[rows][:, columns], costs[columns]))


@quick
@given(problems(), st.integers(0, 12), st.integers(0, 12))
def test_concatenation_is_addition_in_any_order(problem, first, second):
    rewards, costs = problem
    a, b = sorted((min(first, len(rewards)), min(second, len(rewards))))
    parts = [Frontier.build(r, costs) for r in (rewards[:a], rewards[a:b], rewards[b:])]
    whole = Frontier.build(rewards, costs)
    close(whole, parts[0] + (parts[1] + parts[2]))
    close(whole, sum([parts[2], parts[0], parts[1]], Frontier.empty()))


@quick
@given(problems())
def test_costs_per_request_give_the_same_frontier(problem):
    rewards, costs = problem
    close(Frontier.build(rewards, costs), Frontier.build(rewards, np.broadcast_to(costs, rewards.shape)))


@quick
@given(problems(), st.lists(st.floats(0, 60), min_size=2, max_size=6))
def test_price_spend_and_reward_are_monotone(problem, budgets):
    frontier = Frontier.build(*problem)
    budgets = sorted(budgets)
    prices = [frontier.price(b) for b in budgets]
    assert all(p >= 0 for p in prices)
    assert all(a >= b for a, b in itertools.pairwise(prices))
    spends = [frontier.spend(p) for p in sorted(prices)]
    assert all(a >= b * (1 - 1e-12) for a, b in itertools.pairwise(spends))
    rewards = [frontier.reward(b) for b in budgets if b >= frontier.floor]
    assert all(a <= b + 1e-9 * abs(b) + 1e-12 for a, b in itertools.pairwise(rewards))
    assert all(frontier.marginal(b) >= 0 for b in budgets)


def test_spend_is_the_inverse_of_price():
    frontier = Frontier.build(*realistic())
    for share in (0.1, 0.4, 0.9):
        budget = frontier.floor + share * (frontier.top - frontier.floor)
        assert frontier.spend(frontier.price(budget)) == pytest.approx(budget, rel=1e-6)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_scaling_rewards_scales_the_price_and_scaling_costs_divides_it(factor):
    rewards, costs = realistic(2000)
    frontier = Frontier.build(rewards, costs)
    budget = 0.5 * (frontier.floor + frontier.top)
    price = frontier.price(budget)
    assert Frontier.build(rewards * np.float32(factor), costs).price(budget) == pytest.approx(price * factor, rel=2**-7)
    assert Frontier.build(rewards, costs * factor).price(budget * factor) == pytest.approx(price / factor, rel=2**-7)


def test_dominated_chains_change_nothing():
    rewards, costs = realistic(50)
    worse = np.concatenate([rewards, rewards[:, 3:4] - 1.0], axis=1)
    close(Frontier.build(rewards, costs), Frontier.build(worse, np.append(costs, costs[3])))


def test_constant_rewards_give_price_zero():
    frontier = Frontier.build(np.full((5, 4), 2.5, np.float32), [4.0, 1.0, 2.0, 3.0])
    assert frontier.price(1.0) == 0.0
    assert frontier.price(100.0) == 0.0
    assert frontier.top == frontier.floor == 1.0
    assert frontier.reward(1.0) == 2.5


def test_mixing_two_prices_meets_the_budget_where_all_requests_flip_at_once():
    frontier = Frontier.build(np.tile(np.float32([0.0, 1.0]), (100, 1)), [1.0, 3.0])
    mix = frontier.mix(1.5)  # a quarter of the requests can have the dearer chain
    assert frontier.spend(mix.low) == 3.0
    assert frontier.spend(mix.high) == 1.0
    assert mix.high_share == pytest.approx(0.75)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_mixing_meets_the_budget_in_expectation(share):
    frontier = Frontier.build(*realistic())
    budget = frontier.floor + share * (frontier.top - frontier.floor)
    mix = frontier.mix(budget)
    expected = mix.high_share * frontier.spend(mix.high) + (1 - mix.high_share) * frontier.spend(mix.low)
    assert expected == pytest.approx(budget, rel=1e-5)
    assert mix.low <= frontier.price(budget) <= mix.high


def test_beyond_its_ends_the_frontier_saturates():
    frontier = Frontier.build(*realistic())
    assert frontier.price(frontier.top * 2) == 0.0
    assert frontier.spend(frontier.ceiling) == pytest.approx(frontier.floor)
    assert frontier.price(frontier.floor / 2) == frontier.ceiling
    assert frontier.mix(frontier.floor / 2).low == frontier.ceiling
    with pytest.raises(InfeasibleBudget, match="cheapest chain"):
        frontier.reward(frontier.floor / 2)


@quick
@given(problems(), st.floats(0, 1))
def test_what_a_reward_needs_is_the_inverse_of_what_a_budget_buys(problem, share):
    frontier = Frontier.build(*problem)
    low, high = frontier.reward(frontier.floor), frontier.reward(frontier.top)
    wanted = low + share * (high - low)
    if wanted < 0:
        return
    needed = frontier.needed(wanted)
    assert frontier.floor <= needed <= frontier.top * (1 + 1e-12)
    assert frontier.reward(needed) == pytest.approx(wanted, rel=1e-6, abs=1e-6)
    assert frontier.needed(abs(high) * 2 + 1) == frontier.top


def test_decay_fades_weights_and_leaves_prices():
    frontier = Frontier.build(*realistic())
    faded = frontier.decay(0.25)
    assert faded.requests == frontier.requests / 4
    assert faded.price(6e8) == pytest.approx(frontier.price(6e8))
    assert frontier.decay(0.0).requests == 0
    with pytest.raises(PricingInputError, match="factor"):
        frontier.decay(1.5)


@quick
@given(problems())
def test_bytes_round_trip(problem):
    frontier = Frontier.build(*problem)
    back = Frontier.from_bytes(frontier.to_bytes())
    close(frontier, back)
    assert back.to_bytes() == frontier.to_bytes()


def test_a_real_frontier_is_small():
    assert len(Frontier.build(*realistic(20_000, 32)).to_bytes()) < 256 * 1024


def test_threads_change_nothing():
    rewards, costs = realistic(40_000, 16)
    close(Frontier.build(rewards, costs, workers=1), Frontier.build(rewards, costs, workers=3))
