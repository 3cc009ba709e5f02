"""Fitting recovers what is there to learn, and calibration measures what it says."""

import numpy as np
import pytest
import torch

from greenflow_ray.config import RewardConfig
from greenflow_ray.reward.calibration import calibrate, field_rce
from greenflow_ray.reward.fitting import RewardSamples, centred_loss, fit
from greenflow_ray.reward.layout import layout
from tests.worlds import make_world


def samples(seed: int, n: int) -> RewardSamples:
    """Users whose gain from more items is set by their first feature."""
    rng = np.random.default_rng(seed)
    space = make_world().space
    x = rng.normal(size=(n, 6)).astype(np.float32)
    gain = 1 / (1 + np.exp(-3 * x[:, :1]))
    depth = 1 - np.exp(-space.items[:, 2] / 8)
    clicks = rng.poisson(3 + 6 * gain * depth)
    return RewardSamples(x, clicks.astype(np.int16))


def test_learns_who_gains_from_more_items() -> None:
    space = make_world().space
    train, held = samples(0, 800), samples(1, 400)
    net = fit(layout(space), train, samples(2, 200), RewardConfig(epochs=30, hidden=16), seed=0)
    predicted = net.evaluate(held.features)
    gain = predicted[:, space.fullest] - predicted[:, space.cheapest]
    assert np.corrcoef(gain, 1 / (1 + np.exp(-3 * held.features[:, 0])))[0, 1] > 0.9
    result = calibrate(held.clicks, predicted, {"sign": (held.features[:, 0] > 0).astype(np.int64)})
    assert result.field_rce < 0.05
    assert result.bias == pytest.approx(1, abs=0.05)
    assert result.spread_correlation > 0.3


def test_same_seed_same_weights() -> None:
    space = make_world().space
    nets = [fit(layout(space), samples(0, 100), samples(1, 50), RewardConfig(epochs=2), seed=4) for _ in range(2)]
    for a, b in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_centred_loss_ignores_levels_when_asked() -> None:
    y = torch.rand(10, 5)
    shifted = y + torch.arange(10.0)[:, None]
    assert centred_loss(shifted, y, 1.0) == pytest.approx(0, abs=1e-9)
    assert centred_loss(shifted, y, 0.0) > 1


def test_field_rce_by_hand() -> None:
    y, p = np.array([1.0, 1.0, 4.0]), np.array([2.0, 1.0, 3.0])
    # field value 0: two users, |sum error| 1 of 2 clicks; value 1: one user, 1 of 4
    assert field_rce(y, p, np.array([0, 0, 1])) == pytest.approx((2 * 0.5 + 1 * 0.25) / 3)
    assert np.isnan(field_rce(np.zeros(2), np.ones(2), np.array([0, 1])))
