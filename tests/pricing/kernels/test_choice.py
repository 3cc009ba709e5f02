"""The hot path: argmax at a price, ties, mixing by hash, and rows that cannot be priced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective, choose, request_hashes, within_allowance
from tests.pricing.problems import problems, realistic


def at(price, **changes):
    fields = {"price_low": price, "price_high": price, "high_share": 0.0, "version": 1, "capped": False, "cheapest": 0}
    return PriceDirective(**{**fields, **changes})


def hashes(n, seed=0):
    return request_hashes(np.arange(n) + seed)


@settings(max_examples=80, deadline=None)
@given(problems(), st.sampled_from([0.0, 0.05, 0.25, 1.0, 10.0]))
def test_choice_is_the_argmax_and_ties_go_to_the_cheaper(problem, price):
    rewards, costs = problem
    chosen = choose(rewards, costs, at(price), hashes(len(rewards)))
    values = rewards.astype(float) - price * costs
    best = values.max(axis=1)
    rows = np.arange(len(rewards))
    np.testing.assert_array_equal(values[rows, chosen], best)
    cheapest = np.where(values == best[:, None], costs, np.inf).min(axis=1)
    np.testing.assert_array_equal(costs[chosen], cheapest)


@settings(max_examples=40, deadline=None)
@given(problems(), st.lists(st.floats(0, 20), min_size=2, max_size=5))
def test_spend_falls_with_the_price(problem, prices):
    rewards, costs = problem
    spent = [costs[choose(rewards, costs, at(p), hashes(len(rewards)))].sum() for p in sorted(prices)]
    assert spent == sorted(spent, reverse=True)


def test_rows_that_are_not_finite_get_the_safe_chain():
    rewards, costs = realistic(5)
    rewards[1, 0], rewards[3, -1] = np.nan, np.inf
    chosen = choose(rewards, costs, at(0.0, cheapest=2), hashes(5))
    assert chosen[1] == chosen[3] == 2
    np.testing.assert_array_equal(chosen[[0, 2, 4]], rewards[[0, 2, 4]].argmax(axis=1))


def test_capped_means_the_cheapest_for_everyone():
    rewards, costs = realistic(5)
    assert choose(rewards, costs, at(np.nan, capped=True, cheapest=3), hashes(5)).tolist() == [3] * 5


def test_the_dearer_price_is_paid_by_its_share_and_always_by_the_same_requests():
    rewards = np.tile(np.float32([0.0, 1.0]), (20_000, 1))
    directive = at(0.1, price_high=9.0, high_share=0.3)
    chosen = choose(rewards, np.array([0.0, 1.0]), directive, hashes(20_000))
    assert np.mean(chosen == 0) == pytest.approx(0.3, abs=0.015)
    again = choose(rewards[:100], np.array([0.0, 1.0]), directive, hashes(100))
    np.testing.assert_array_equal(again, chosen[:100])
    everyone = choose(rewards, np.array([0.0, 1.0]), at(0.1, price_high=9.0, high_share=1.0), hashes(20_000))
    assert (everyone == 0).all()


def test_a_mixed_directive_spends_what_the_frontier_promised():
    rewards, costs = realistic(5000)
    frontier = Frontier.build(rewards, costs)
    budget = 0.4 * frontier.floor + 0.6 * frontier.top
    mix = frontier.mix(budget)
    directive = at(mix.low, price_high=mix.high, high_share=mix.high_share)
    assert costs[choose(rewards, costs, directive, hashes(5000))].mean() == pytest.approx(budget, rel=2e-3)


def test_splitmix64_matches_its_reference():
    # First outputs of the generator seeded with 0 (Vigna's splitmix64.c): its state after k steps is k * 0x9E37…
    state = (np.arange(3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert request_hashes(state).tolist() == expected
    assert request_hashes(np.array([-1, 5])).dtype == np.uint64


def test_an_empty_batch():
    assert choose(np.empty((0, 3), np.float32), np.ones(3), at(1.0), hashes(0)).shape == (0,)


def test_beyond_an_allowance_everybody_gets_the_cheapest_chain():
    costs = np.array([1.0, 10.0, 20.0])
    chosen = np.array([1, 2, 1, 0, 2], dtype=np.int32)
    directive = PriceDirective(0.0, 0.0, 0.0, 0, False, cheapest=0)
    for allowance, wanted in ((None, [1, 2, 1, 0, 2]), (40.0, [1, 2, 1, 0, 0]), (15.0, [1] + [0] * 4), (0.0, [0] * 5)):
        assert within_allowance(chosen, costs, directive, allowance).tolist() == wanted
