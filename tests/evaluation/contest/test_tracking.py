"""A day under one budget: the controller holds it, a price solved once does not; demand is as announced."""

import numpy as np
import pytest

from greenflow_ray.evaluation.contest.tracking import MEAN_RATE, TICKS, WINDOW_S, WINDOWS, demand, track
from greenflow_ray.evaluation.findings.shape import Tracking
from tests.worlds import make_world

SPACE = make_world().space


@pytest.fixture(scope="module")
def day() -> Tracking:
    rng = np.random.default_rng(0)
    rise = np.log1p(SPACE.items[:, -1]) + 0.3 * np.log1p(SPACE.items[:, -2])
    rewards = (rng.random((600, 1)) * rise + 0.2 * rng.random((600, len(SPACE)))).astype(np.float32)
    return track(rewards[:300], rewards[300:], SPACE.costs, 0.6, 0)


def test_demand_is_a_day_of_mean_rate_with_two_spikes() -> None:
    rates = demand(np.random.default_rng(0))
    assert rates.shape == (WINDOWS * TICKS,)
    assert WINDOWS * WINDOW_S == 86400
    assert (rates > 0).all()
    assert rates.mean() == pytest.approx(MEAN_RATE, rel=0.01)
    hour = rates.reshape(24, 60).mean(axis=1)
    assert hour[11] > 2.5 * max(hour[10], hour[12])
    half = rates.reshape(48, 30).mean(axis=1)
    assert half[35] > 4 * max(half[34], half[36])
    assert not np.array_equal(rates, demand(np.random.default_rng(1)))


def test_the_day_is_told_in_windows(day: Tracking) -> None:
    assert day.window_s == WINDOW_S
    assert len(day.demand) == len(day.budget) == WINDOWS
    assert set(day.spend) == set(day.utilisation) == set(day.overuse) == {"EQUAL", "price solved once", "GreenFlow"}
    assert all(len(s) == WINDOWS for s in day.spend.values())
    assert len(set(day.budget)) == 1
    assert day.budget[0] == pytest.approx(0.6 * SPACE.costs.max() * MEAN_RATE)
    # EQUAL serves everybody with the fullest chain: its spend is the traffic that came.
    came = np.array(day.spend["EQUAL"]) / SPACE.costs.max()
    assert np.abs(came / np.array(day.demand) - 1).mean() < 0.05


def test_the_controller_holds_the_budget_better_than_one_price(day: Tracking) -> None:
    once, mine = "price solved once", "GreenFlow"
    assert day.overuse[mine] < 0.02 < day.overuse[once] < day.overuse["EQUAL"]
    assert day.utilisation[mine] > day.utilisation[once]
    assert 0 < day.utilisation[mine] <= 1
    # In the spikes too, as far as the cheapest chain lets it.
    floor = np.array(day.demand) * SPACE.costs.min()
    able = floor < 0.9 * day.budget[0]
    assert np.array(day.spend[mine])[able].max() < 1.15 * day.budget[0]


def test_the_price_solved_once_would_hold_at_the_mean(day: Tracking) -> None:
    assert np.mean(day.spend["price solved once"]) == pytest.approx(day.budget[0], rel=0.05)


def test_a_seed_is_a_day() -> None:
    rewards = np.log1p(np.tile(SPACE.items[:, -1], (5, 1))).astype(np.float32)
    one, again, other = (track(rewards, rewards, SPACE.costs, 0.7, s) for s in (3, 3, 4))
    assert one == again
    assert one.demand != other.demand
