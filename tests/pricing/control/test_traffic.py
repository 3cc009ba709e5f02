"""The request rate: steady in Poisson noise, at once right after a spike."""

from __future__ import annotations

import json

import numpy as np
import pytest

from greenflow_ray.pricing.control.traffic import RateEstimator


def settled(rate=100.0, seconds=60, step=1.0, seed=0):
    estimator = RateEstimator()
    for count in np.random.default_rng(seed).poisson(rate * step, int(seconds / step)):
        estimator.observe(float(count), step)
    return estimator


def test_nothing_is_known_at_first():
    assert RateEstimator().rate == 0.0
    assert RateEstimator().observe(12.0, 2.0) == 6.0


def test_noise_is_smoothed():
    assert settled().rate == pytest.approx(100.0, rel=0.06)


@pytest.mark.parametrize(("rate", "step"), [(100.0, 1.0), (12.0, 0.2), (40.0, 0.2)])
def test_a_fivefold_spike_is_believed_within_a_second(rate, step):
    estimator = settled(rate, step=step)
    assert estimator.rate == pytest.approx(rate, rel=0.25)
    for _ in range(round(1.0 / step)):
        estimator.observe(5 * rate * step, step)
    assert estimator.rate == pytest.approx(5 * rate, rel=0.15)


def test_the_first_tick_of_a_spike_is_enough_in_dense_traffic():
    assert settled().observe(500.0, 1.0) == 500.0
    assert settled(500.0).observe(100.0, 1.0) == 100.0


def test_traffic_that_ends_and_comes_back():
    estimator = settled()
    assert estimator.observe(0.0, 1.0) == 0.0
    assert estimator.observe(80.0, 1.0) == 80.0


def test_state_round_trips():
    estimator, back = settled(), RateEstimator()
    back.restore(json.loads(json.dumps(estimator.state())))
    assert back.observe(100.0, 1.0) == estimator.observe(100.0, 1.0)
