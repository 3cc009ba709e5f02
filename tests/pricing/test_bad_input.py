"""Bad input: a named error that says which argument and why, or a documented result."""

from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective, choose, request_hashes
from greenflow_ray.pricing.refinement import Refinement
from greenflow_ray.pricing.several.problem import solve_many
from tests.pricing.problems import realistic

GOOD = np.float32([[0.0, 1.0, 1.5], [0.5, 0.75, 2.0]])
COSTS = np.array([1.0, 2.0, 4.0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rewards_that_are_not_finite_are_refused_by_row(value):
    rewards = np.tile(GOOD, (3, 1))
    rewards[4, 1] = value
    for work in (lambda: Frontier.build(rewards, COSTS), lambda: solve(rewards, COSTS, 100.0)):
        with pytest.raises(PricingInputError, match=r"rewards: 1 row\(s\).*first is row 4"):
            work()
    with pytest.raises(PricingInputError, match="row 4"):
        solve_many(rewards, COSTS[None], [100.0])
    assert Frontier.build(rewards, COSTS, skip_bad=True).requests == 5


def test_bad_rows_are_found_in_any_thread():
    rewards, costs = realistic(60_000, 16)
    rewards[55_000, 3] = np.nan
    with pytest.raises(PricingInputError, match="row 55000"):
        Frontier.build(rewards, costs, workers=4)


@pytest.mark.parametrize(
    ("costs", "why"),
    [
        ([1.0, np.nan, 2.0], "NaN"),
        ([1.0, np.inf, 2.0], "infinity"),
        ([1.0, -2.0, 2.0], "negative"),
        ([1.0, 2.0], "shape"),
        (np.ones((3, 3)), "shape"),
        (["a", "b", "c"], "dtype"),
    ],
)
def test_bad_costs_are_refused(costs, why):
    with pytest.raises(PricingInputError, match=f"costs: .*{why}"):
        Frontier.build(GOOD, costs)


@pytest.mark.parametrize(
    ("rewards", "why"),
    [(GOOD[0], "shape"), (np.empty((3, 0)), "no chains"), (np.array([["a"]]), "dtype"), (GOOD + 1j, "dtype")],
)
def test_bad_rewards_are_refused(rewards, why):
    with pytest.raises(PricingInputError, match=f"rewards: .*{why}"):
        Frontier.build(rewards, COSTS)


@pytest.mark.parametrize("budget", [-1.0, np.nan, np.inf, "much", None])
def test_bad_budgets_are_refused(budget):
    with pytest.raises(PricingInputError, match="budget"):
        solve(GOOD, COSTS, budget)
    with pytest.raises(PricingInputError, match="budget"):
        Frontier.build(GOOD, COSTS).price(budget)


def test_a_budget_below_the_cheapest_chains_names_both_numbers():
    with pytest.raises(InfeasibleBudget, match=r"1\.5 is below 2\b") as caught:
        solve(GOOD, COSTS, 1.5)
    assert (caught.value.budget, caught.value.minimum) == (1.5, 2.0)


def test_zero_cost_chains_and_a_budget_of_nothing():
    found = solve(GOOD, [0.0, 2.0, 4.0], 0.0)
    assert found.chains.tolist() == [0, 0]
    assert found.cost == 0.0


def test_one_chain_only():
    found = solve(GOOD[:, :1], [3.0], 6.0)
    assert found.chains.tolist() == [0, 0]
    assert (found.price, found.gap) == (0.0, 0.0)
    assert Frontier.build(GOOD[:, :1], [3.0]).price(4.0) == 0.0


def test_no_requests():
    nothing = np.empty((0, 3), np.float32)
    assert solve(nothing, COSTS, 0.0).chains.shape == (0,)
    assert solve_many(nothing, COSTS[None], [0.0]).chains.shape == (0,)
    empty = Frontier.build(nothing, COSTS)
    assert empty.requests == 0
    assert (empty + Frontier.build(GOOD, COSTS)).requests == 2
    assert Frontier.build(nothing, np.empty((0, 3))).requests == 0
    with pytest.raises(PricingInputError, match="no requests"):
        empty.price(1.0)
    assert Frontier.from_bytes(empty.to_bytes()).requests == 0


@pytest.mark.parametrize("convert", [np.float16, np.float64])
def test_other_float_types_are_converted(convert):
    assert solve(GOOD.astype(convert), COSTS, 5.0).chains.tolist() == solve(GOOD, COSTS, 5.0).chains.tolist()


def test_float64_beyond_float32_is_refused():
    with pytest.raises(PricingInputError, match="infinity"):
        Frontier.build(GOOD.astype(np.float64) * 1e60, COSTS)


def test_read_only_and_scattered_arrays_are_taken():
    expected = solve(GOOD, COSTS, 5.0).chains.tolist()
    frozen = GOOD.copy()
    frozen.flags.writeable = False
    assert solve(frozen, COSTS, 5.0).chains.tolist() == expected
    assert solve(np.asfortranarray(GOOD), COSTS, 5.0).chains.tolist() == expected
    assert solve(np.repeat(GOOD, 2, axis=1)[:, ::2], COSTS, 5.0).chains.tolist() == expected


def test_extreme_slopes_stay_finite():
    rewards = np.float32([[0.0, 3e38], [0.0, 1e-38]])
    frontier = Frontier.build(rewards, [0.0, 1e-300])
    assert np.isfinite(frontier.ceiling)
    tiny = Frontier.build(rewards, [0.0, 1e300])
    assert tiny.reward_gain.sum() == pytest.approx(3e38)
    assert solve(rewards, [0.0, 1e300], 1e300).chains.tolist() == [1, 0]


@pytest.mark.parametrize("damage", ["cut", "flip", "foreign", "version", "empty", "padded"])
def test_damaged_blobs_are_refused(damage):
    blob = bytearray(Frontier.build(GOOD, COSTS).to_bytes())
    if damage == "cut":
        blob = blob[:-5]
    elif damage == "flip":
        blob[40] ^= 1
    elif damage == "foreign":
        blob = bytearray(b"PAR1") + blob
    elif damage == "version":
        blob[4] = 9
    elif damage == "empty":
        blob = bytearray()
    else:
        blob += b"\0"
    with pytest.raises(PricingInputError, match="frontier blob"):
        Frontier.from_bytes(bytes(blob))


def test_a_frontier_that_is_not_finite_cannot_pass_a_check():
    good = Frontier.build(GOOD, COSTS)
    bad = Frontier(good.requests, np.nan, good.base_reward, good.buckets, good.cost, good.reward_gain)
    with pytest.raises(PricingInputError, match="NaN"):
        Frontier.from_bytes(bad.to_bytes())


def test_refinements_of_other_buckets_do_not_mix():
    with pytest.raises(PricingInputError, match="bucket"):
        Refinement.build(GOOD, COSTS, 100) + Refinement.build(GOOD, COSTS, 101)
    with pytest.raises(PricingInputError, match="bucket"):
        Refinement.build(GOOD, COSTS, -1)


@pytest.mark.parametrize(
    ("costs", "budgets", "why"),
    [
        (COSTS, [1.0], "shape"),
        (COSTS[None], [1.0, 2.0], "budgets: shape"),
        (np.tile(COSTS, (9, 1)), [9.0] * 9, "9 budgets"),
        (-COSTS[None], [9.0], "negative"),
        (COSTS[None], [np.nan], r"budgets\[0\]"),
    ],
)
def test_bad_pools_are_refused(costs, budgets, why):
    with pytest.raises(PricingInputError, match=why):
        solve_many(GOOD, costs, budgets)


def test_the_hot_path_refuses_what_does_not_fit():
    hashes = request_hashes(np.arange(2))
    good = PriceDirective(0.1, 0.1, 0.0, 1, False, 0)
    with pytest.raises(PricingInputError, match="costs"):
        choose(GOOD, COSTS[:2], good, hashes)
    with pytest.raises(PricingInputError, match="hashes"):
        choose(GOOD, COSTS, good, hashes[:1])
    with pytest.raises(PricingInputError, match="cheapest"):
        choose(GOOD, COSTS, PriceDirective(0.1, 0.1, 0.0, 1, False, 3), hashes)
    with pytest.raises(PricingInputError, match="finite"):
        choose(GOOD, COSTS, PriceDirective(np.nan, 0.1, 0.0, 1, False, 0), hashes)
