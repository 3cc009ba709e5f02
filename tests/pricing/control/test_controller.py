"""The controller over a simulated clock: spikes, caps, drift, missing and stale frontiers, clocks that step back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from greenflow_ray.errors import PricingInputError
from greenflow_ray.pricing.control.controller import ControllerSettings, PriceController
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import choose, request_hashes
from tests.pricing.problems import realistic

REWARDS, COSTS = realistic(3000, 12)
FRONTIER = Frontier.build(REWARDS, COSTS)
RATE = 200.0
BUDGET = RATE * 0.5 * (FRONTIER.floor + FRONTIER.top)


class Plant:
    """A controller, its clock, and users who are served at its price."""

    def __init__(self, *, frontier=FRONTIER, budget=BUDGET, rewards=REWARDS, **settings):
        self.now = 1000.0
        self.rng = np.random.default_rng(7)
        self.rewards = rewards
        self.settings = ControllerSettings(cheapest=int(np.argmin(COSTS)), interval_s=1.0, **settings)
        self.controller = PriceController(self.settings, lambda: self.now)
        self.controller.set_budget(budget)
        if frontier is not None:
            self.controller.set_frontier(frontier, 1)
        self.answer = self.controller.tick(0, 0)

    def second(self, count):
        """Serve ``count`` requests at the present price, then tick; returns what they cost."""
        rows = self.rng.integers(0, len(self.rewards), count)
        hashes = request_hashes(self.rng.integers(0, 1 << 62, count))
        spent = float(COSTS[choose(self.rewards[rows], COSTS, self.answer.directive, hashes)].sum())
        self.now += 1.0
        self.answer = self.controller.tick(count, spent)
        return spent

    def run(self, seconds, rate=RATE):
        return np.array([self.second(int(self.rng.poisson(rate))) for _ in range(seconds)])


def finite(answer):
    numbers = [answer.price, answer.request_rate, answer.correction, answer.directive.price_low]
    numbers += [answer.directive.price_high, answer.directive.high_share]
    return all(math.isfinite(v) and v >= 0 for v in numbers)


def test_spend_follows_the_budget():
    plant = Plant()
    plant.run(20)
    assert plant.run(60).mean() == pytest.approx(BUDGET, rel=0.01)
    assert plant.answer.reason is None
    assert plant.answer.version == 1
    assert finite(plant.answer)


def test_a_new_budget_holds_from_the_next_tick_on():
    plant = Plant()
    plant.run(20)
    plant.controller.set_budget(BUDGET * 0.7)
    plant.run(5)
    assert plant.run(60).mean() == pytest.approx(BUDGET * 0.7, rel=0.015)


def test_a_fivefold_spike_is_answered_in_the_first_tick():
    tight = RATE * (0.8 * FRONTIER.floor + 0.2 * FRONTIER.top)
    plant = Plant(budget=max(tight, 5.5 * RATE * FRONTIER.floor))
    plant.run(30)
    before = plant.answer.price
    plant.second(int(5 * RATE))
    assert plant.answer.request_rate == pytest.approx(5 * RATE, rel=0.05)
    assert plant.answer.price > before
    assert plant.second(int(5 * RATE)) <= 1.1 * plant.controller.state()["budget"]


def test_enough_is_not_exceeded_whatever_the_budget():
    plenty = 2 * RATE * FRONTIER.top
    plant = Plant(budget=plenty, keep=0.95)
    plant.run(20)
    spent = plant.run(60).mean() / RATE
    needed = FRONTIER.needed(0.95 * FRONTIER.reward(FRONTIER.top))
    assert spent == pytest.approx(needed, rel=0.03)
    assert spent < 0.9 * FRONTIER.top
    tight = Plant(keep=0.999999)
    tight.run(20)
    assert tight.run(60).mean() == pytest.approx(BUDGET, rel=0.01), "a budget below enough is kept as before"


def test_enough_holds_without_a_budget_too_and_for_a_given_worth():
    price = FRONTIER.price(0.5 * (FRONTIER.floor + FRONTIER.top))
    for plant in (Plant(budget=None, worth=price), Plant(budget=2 * RATE * FRONTIER.top, worth=price)):
        plant.run(10)
        assert plant.answer.price == price
        assert plant.run(40).mean() / RATE == pytest.approx(FRONTIER.spend(price), rel=0.03)
    assert Plant(budget=None).answer.price == 0.0


def test_savings_are_not_spent_on_what_is_not_worth_it():
    price = FRONTIER.price(0.5 * (FRONTIER.floor + FRONTIER.top))
    plant = Plant(budget=RATE * 0.98 * FRONTIER.spend(price), worth=price)
    plant.run(30)
    assert plant.answer.pace is not None
    assert plant.answer.pace.multiplier(0.0, 5.0) <= max((plant.answer.price / price) ** 4.0, 1.0) + 1e-9


def test_a_budget_below_the_floor_gives_everyone_the_cheapest_chain():
    plant = Plant(budget=RATE * FRONTIER.floor * 0.5)
    spent = plant.run(20)[5:]
    assert spent.mean() == pytest.approx(RATE * COSTS.min(), rel=0.1)
    assert plant.answer.directive.capped
    assert plant.answer.reason == "hard cap"
    assert plant.answer.allowance == 0.0


def test_the_hard_cap_opens_again():
    plant = Plant()
    plant.now += 1.0
    plant.answer = plant.controller.tick(RATE, 4 * BUDGET)
    assert plant.answer.directive.capped
    plant.run(10)
    assert not plant.answer.directive.capped


def test_the_bucket_does_not_save_for_ever():
    plant = Plant()
    plant.run(300, rate=5)
    assert plant.answer.allowance <= (plant.settings.burst_s + plant.settings.interval_s) * BUDGET


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_the_correction_learns_what_the_frontier_got_wrong(factor):
    plant = Plant(rewards=REWARDS * np.float32(factor), gain=0.05)
    plant.run(150)
    assert plant.run(60).mean() == pytest.approx(BUDGET, rel=0.02)
    assert plant.answer.correction == pytest.approx(factor, rel=0.15)


def test_the_correction_stays_in_its_trust_region():
    plant = Plant(rewards=REWARDS * np.float32(50), trust=1.5, gain=0.2)
    plant.run(100)
    assert plant.answer.correction == pytest.approx(1.5)


def test_a_new_frontier_resets_what_was_learned_about_the_old_one():
    plant = Plant(rewards=REWARDS * np.float32(1.7), gain=0.05)
    plant.run(150)
    plant.controller.set_frontier(Frontier.build(plant.rewards, COSTS), 2)
    plant.second(int(RATE))
    assert plant.answer.version == 2
    assert plant.answer.correction == pytest.approx(1.0, abs=0.06)
    assert plant.run(30).mean() == pytest.approx(BUDGET, rel=0.02)


def test_requests_that_all_flip_at_one_price_meet_the_budget():
    rewards = np.tile(np.float32([0.0] * 11 + [1.0]), (100, 1))
    middle = RATE * 0.5 * (COSTS[0] + COSTS[-1])
    plant = Plant(frontier=Frontier.build(rewards, COSTS), rewards=rewards, budget=middle)
    plant.run(20)
    assert plant.run(60).mean() == pytest.approx(middle, rel=0.015)


def test_without_a_frontier_the_safe_chain_is_served_and_a_reason_given():
    plant = Plant(frontier=None, safe=4)
    assert plant.answer.directive.capped
    assert plant.answer.directive.cheapest == 4
    assert plant.answer.reason == "no frontier yet"
    assert plant.answer.version == 0
    plant.controller.set_frontier(FRONTIER, 9)
    plant.second(100)
    assert (plant.answer.version, plant.answer.reason) == (9, None)


def test_an_empty_frontier_is_refused_and_the_old_one_stays():
    plant = Plant()
    with pytest.raises(PricingInputError, match="no requests"):
        plant.controller.set_frontier(Frontier.empty(), 2)
    plant.second(100)
    assert plant.answer.version == 1


def test_without_a_budget_the_price_is_zero():
    plant = Plant(budget=None)
    plant.run(5)
    assert plant.answer.price == plant.answer.directive.price_high == 0.0
    assert plant.answer.budget_rate is plant.answer.allowance is None
    assert not plant.answer.directive.capped


def test_a_stale_frontier_prices_on_with_a_reason_and_an_expired_one_does_not():
    plant = Plant(stale_after_s=10, expire_after_s=40)
    plant.run(20)
    assert plant.answer.reason.startswith("stale frontier")
    assert not plant.answer.directive.capped
    plant.run(30)
    assert plant.answer.reason.startswith("frontier expired")
    assert plant.answer.directive.capped


def test_no_traffic_at_all():
    plant = Plant()
    plant.run(10, rate=0)
    assert plant.answer.request_rate == 0.0
    assert plant.answer.price == 0.0
    assert finite(plant.answer)
    plant.run(10)
    assert plant.run(30).mean() == pytest.approx(BUDGET, rel=0.03)


def test_a_clock_that_steps_back_or_stands_still():
    plant = Plant()
    plant.run(20)
    filled = plant.controller.state()["tokens"]
    plant.now -= 3600.0
    answer = plant.controller.tick(200, 0.5 * BUDGET)
    assert finite(answer)
    assert plant.controller.state()["tokens"] == pytest.approx(filled - 0.5 * BUDGET)
    assert finite(plant.controller.tick(0, 0.0))
    plant.run(20)
    assert plant.run(40).mean() == pytest.approx(BUDGET, rel=0.02)


def test_a_long_pause_fills_the_bucket_once():
    plant = Plant()
    plant.now += 1e6
    assert plant.controller.tick(0, 0.0).allowance <= 2.0 * BUDGET


@pytest.mark.parametrize(("requests", "spend"), [(-1, 0), (np.nan, 0), (1, np.inf), (1, -1.0), (1, "x")])
def test_reports_that_make_no_sense_are_refused_and_change_nothing(requests, spend):
    plant = Plant()
    before = plant.controller.state()
    with pytest.raises(PricingInputError, match=r"requests|spend"):
        plant.controller.tick(requests, spend)
    assert plant.controller.state() == before


@pytest.mark.parametrize("budget", [-1.0, np.nan, np.inf])
def test_bad_budgets_are_refused(budget):
    with pytest.raises(PricingInputError, match="budget"):
        Plant().controller.set_budget(budget)


@pytest.mark.parametrize(
    "wrong", [{"interval_s": 0}, {"burst_s": -1}, {"trust": 0.5}, {"headroom": 1.0}, {"gain": math.nan}, {"keep": 0.0}]
)
def test_bad_settings_are_named(wrong):
    with pytest.raises(PricingInputError, match=next(iter(wrong))):
        ControllerSettings(**wrong)


def test_a_restarted_ledger_goes_on_where_it_was():
    plant = Plant(rewards=REWARDS * np.float32(1.3), gain=0.05)
    plant.run(100)
    saved = json.loads(json.dumps(plant.controller.state(), allow_nan=False))
    fresh = PriceController(plant.settings, lambda: plant.now)
    fresh.restore(saved)
    assert fresh.tick(0, 0.0).reason == "no frontier yet"
    fresh.restore(saved)
    fresh.set_frontier(FRONTIER, 1)
    plant.now += 1.0
    ours, theirs = plant.controller.tick(200, BUDGET), fresh.tick(200, BUDGET)
    assert theirs.price == pytest.approx(ours.price, rel=0.02)
    assert theirs.budget_rate == BUDGET


@pytest.mark.parametrize("state", [{}, {"budget": 1.0}, {"budget": "x"}, None])
def test_a_malformed_state_is_refused(state):
    with pytest.raises(PricingInputError):
        Plant().controller.restore(state)
