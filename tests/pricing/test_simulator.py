"""The simulated day, shortened: reproducible, within its bars, and better than the ways it is compared with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from greenflow_ray.pricing.control.controller import PriceController
from greenflow_ray.pricing.rivals import daily
from greenflow_ray.pricing.simulator import day, simulate, world

SHORT = 2 * 3600


@pytest.fixture(scope="module")
def small():
    return world.build(3, seconds=SHORT, requests_per_second=60.0, users=1024)


@pytest.fixture(scope="module")
def judged(small):
    settings = day.settings_for(small)
    return day.judge(small, day.play(small, lambda clock: PriceController(settings, clock)))


def test_the_budget_is_used_and_kept(judged):
    assert judged["utilisation"] > 0.98
    assert judged["overuse"] < 0.005
    assert judged["spike_first_tick"] <= 1.10
    assert -1e-3 < judged["regret"] < 0.02
    assert judged["regret_day"] >= judged["regret"] - 1e-9


def test_it_beats_a_price_held_for_a_period_and_mirror_descent_alone(small, judged):
    cheapest = int(np.argmin(small.costs))
    for rival in (daily.PeriodicPrice, daily.MirrorPrice):
        other = day.judge(small, day.play(small, lambda clock, rival=rival: rival(clock, cheapest)))
        assert judged["overuse"] < other["overuse"]
        assert judged["spike_first_tick"] < other["spike_first_tick"]


def test_the_world_holds_what_it_promises(small):
    assert len(small.counts) == SHORT
    assert len(small.spikes) == 3
    for spike in small.spikes:
        assert small.rate[spike.start] > 4 * small.rate[spike.start - 1]
    assert len(np.unique(small.budget)) > 10, "the budget follows the grid's carbon intensity"
    assert small.outage[1] > small.outage[0]
    assert world.build(0).outage[1] - world.build(0).outage[0] == 1800


def test_the_same_seed_gives_the_same_day_and_files(tmp_path):
    told = []
    first = simulate(tmp_path / "a", 5, lambda message, share: told.append(share), seconds=1800)
    second = simulate(tmp_path / "b", 5, seconds=1800)
    other = simulate(tmp_path / "c", 6, seconds=1800)
    assert told[-1] == 1.0
    keys = ["utilisation", "overuse", "spike_first_tick", "regret"]
    assert [first[k] for k in keys] == [second[k] for k in keys] != [other[k] for k in keys]
    written = json.loads((tmp_path / "a" / "simulation.json").read_text())
    assert written == first
    assert all(np.isfinite(written[k]) for k in keys)
    assert (tmp_path / "a" / "simulation.png").read_bytes().startswith(b"\x89PNG")
