"""Fitting recovers what is there to learn, and calibration measures what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from greenflow_ray.config import RewardConfig
from greenflow_ray.reward.calibration import calibrate, field_rce
from greenflow_ray.reward.network.boosted import BoostedRewards
from greenflow_ray.reward.network.fitting import LoggedSamples, RewardSamples, centred_loss, fit, logged_loss
from greenflow_ray.reward.network.model import RewardNet, layout
from greenflow_ray.reward.teaching import distilled
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


# Logs with exploration.


def logged(train: RewardSamples, propensities: np.ndarray, seed: int) -> LoggedSamples:
    """One chain a request, drawn by ``propensities`` ``[n, J]``; only what it earned is known."""
    rng = np.random.default_rng(seed)
    draws = rng.random((len(propensities), 1))
    chain = (propensities.cumsum(axis=1) < draws).sum(axis=1).clip(max=propensities.shape[1] - 1)
    rows = np.arange(len(chain))
    return LoggedSamples(train.features, chain, train.clicks[rows, chain], propensities[rows, chain])


def leaning(train: RewardSamples, strength: float = 1.0) -> np.ndarray:
    """Propensities of a policy that gives deep chains to users who gain little, and the other way round."""
    depth = make_world().space.items[:, 2] / 20
    odds = np.exp(-2 * strength * train.features[:, :1] * depth + 0.5 * depth)
    return odds / odds.sum(axis=1, keepdims=True)


def test_weighted_by_propensity_a_log_has_the_error_of_the_full_grid() -> None:
    """In expectation, whatever policy filled the log: the mean over many logs of one fixed prediction's loss."""
    train = samples(0, 300)
    propensities = leaning(train)
    predicted = torch.from_numpy(np.random.default_rng(2).random(train.clicks.shape).astype(np.float32) * 8)
    y = torch.from_numpy(train.clicks.astype(np.float32))
    whole = float((predicted - y).square().mean())
    logs = [logged(train, propensities, s) for s in range(60)]
    scale = [float(torch.from_numpy(log.clicks.astype(np.float32)).var()) for log in logs]

    def mean_loss(weights: list[np.ndarray]) -> float:
        each = [
            float(
                logged_loss(
                    predicted,
                    torch.from_numpy(log.chain),
                    torch.from_numpy(log.clicks.astype(np.float32)),
                    torch.from_numpy(weight.astype(np.float32)),
                )
            )
            * variance
            for log, weight, variance in zip(logs, weights, scale, strict=True)
        ]
        return float(np.mean(each))

    assert mean_loss([1 / log.propensity for log in logs]) == pytest.approx(whole, rel=0.03)
    naive = mean_loss([np.ones(len(log.chain)) for log in logs])
    assert abs(naive / whole - 1) > 0.05  # the lean shows where nobody corrects for it


def test_a_log_with_uneven_propensities_finds_the_same_users() -> None:
    space = make_world().space
    train, held = samples(0, 3000), samples(1, 400)
    settings = RewardConfig(epochs=25, hidden=16)
    net = fit(layout(space), logged(train, leaning(train), 7), samples(2, 200), settings, seed=0)
    full = fit(layout(space), train, samples(2, 200), settings, seed=0)
    true = 1 / (1 + np.exp(-3 * held.features[:, 0]))

    def gain(of: RewardNet) -> np.ndarray:
        found = of.evaluate(held.features)
        return found[:, space.fullest] - found[:, space.cheapest]

    assert np.corrcoef(gain(net), true)[0, 1] > 0.8
    assert np.corrcoef(gain(net), gain(full))[0, 1] > 0.8
    # Calibrated to what all chains would have earned, not to the chains that the log happens to hold.
    assert net.evaluate(held.features).mean() == pytest.approx(held.clicks.mean(), rel=0.06)


def test_what_the_logging_policy_knew_and_the_model_does_not_is_made_good() -> None:
    """Deep chains went to users who gain little, by a feature that the model is not given: only weights undo that."""
    space = make_world().space
    train, checked = samples(0, 8000), samples(2, 300)
    log = logged(train, leaning(train), 8)
    settings = RewardConfig(epochs=15, hidden=8)
    blind = [replace(s, features=np.zeros_like(s.features)) for s in (log, checked)]
    assert isinstance(blind[0], LoggedSamples)
    assert isinstance(blind[1], RewardSamples)
    wanted = train.clicks.mean(axis=0)
    uplift = wanted[space.fullest] - wanted[space.cheapest]

    def found(propensity: np.ndarray) -> float:
        net = fit(layout(space), replace(blind[0], propensity=propensity), blind[1], settings, seed=0)
        (row,) = net.evaluate(np.zeros((1, 6), dtype=np.float32))
        return float(row[space.fullest] - row[space.cheapest])

    assert found(log.propensity) == pytest.approx(uplift, rel=0.25)
    assert found(np.ones_like(log.propensity)) < 0.65 * uplift


def test_a_rare_chain_cannot_take_over_the_loss() -> None:
    train = samples(0, 256)
    log = logged(train, leaning(train), 3)
    rare = log.propensity.copy()
    rare[0] = 1e-9
    net = fit(layout(make_world().space), replace(log, propensity=rare), samples(1, 50), RewardConfig(epochs=2), seed=0)
    found = net.evaluate(train.features)
    assert np.isfinite(found).all()
    assert 0.2 < found.mean() / train.clicks.mean() < 5


def test_distilled_samples_are_the_teachers_word_on_both() -> None:
    train = samples(0, 120)
    teacher = BoostedRewards.fit(train.features, train.clicks, 0)
    unlabelled = samples(3, 70).features
    found = distilled(teacher, train.features, unlabelled)
    np.testing.assert_array_equal(found.features, np.concatenate([train.features, unlabelled]))
    np.testing.assert_array_equal(found.clicks[:120], teacher.evaluate(train.features))
    np.testing.assert_array_equal(found.clicks[120:], teacher.evaluate(unlabelled))


def test_a_pupil_knows_no_less_than_its_teacher() -> None:
    space = make_world().space
    train, held = samples(0, 800), samples(1, 300)
    teacher = BoostedRewards.fit(train.features, train.clicks, 0)
    lesson = distilled(teacher, train.features, samples(3, 800).features)
    net = fit(layout(space), lesson, samples(2, 200), RewardConfig(epochs=25, hidden=16), seed=0)
    gain = 1 / (1 + np.exp(-3 * held.features[:, :1]))
    true = 3 + 6 * gain * (1 - np.exp(-space.items[:, 2] / 8))

    def error(rewards: np.ndarray) -> float:
        """Of the differences between a user's chains."""
        off = rewards - true
        return float(np.abs(off - off.mean(axis=1, keepdims=True)).mean())

    assert error(net.evaluate(held.features)) < error(teacher.evaluate(held.features)) < error(held.clicks)
    assert net.evaluate(held.features).mean() == pytest.approx(true.mean(), rel=0.05)


@pytest.mark.parametrize("switch", [{"recursive": False}, {"multi_basis": False}, {"monotone": False}])
def test_every_variant_of_the_ablation_learns(switch: dict[str, bool]) -> None:
    space = make_world().space
    train, held = samples(0, 500), samples(1, 200)
    settings = RewardConfig(epochs=20, hidden=16).model_copy(update=switch)
    predicted = fit(layout(space), train, samples(2, 200), settings, seed=0).evaluate(held.features)
    gain = predicted[:, space.fullest] - predicted[:, space.cheapest]
    assert np.corrcoef(gain, held.features[:, 0])[0, 1] > 0.6
