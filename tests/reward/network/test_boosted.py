"""Boosted trees over components of reward rows: they learn differences and levels, and repeat themselves."""

from collections.abc import Iterator

import numpy as np
import pytest

from greenflow_ray.reward.network import boosted
from greenflow_ray.reward.network.boosted import COMPONENTS, BoostedRewards
from tests.reward.network.test_fitting import samples
from tests.worlds import make_world

SPACE = make_world().space


@pytest.fixture(autouse=True)
def fewer_trees() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(boosted.TREES, "max_iter", 60)
        yield


def test_learns_who_gains_from_more_items() -> None:
    train, held = samples(0, 1500), samples(1, 400)
    found = BoostedRewards.fit(train.features, train.clicks, 0).evaluate(held.features)
    assert found.shape == held.clicks.shape
    assert found.dtype == np.float32
    true = 1 / (1 + np.exp(-3 * held.features[:, 0]))
    gain = found[:, SPACE.fullest] - found[:, SPACE.cheapest]
    assert np.corrcoef(gain, true)[0, 1] > 0.9
    assert found.mean() == pytest.approx(held.clicks.mean(), rel=0.05)
    # Chains of like scales are worth alike, whatever noise a column had.
    expected = 3 + 6 * true[:, None] * (1 - np.exp(-SPACE.items[:, 2] / 8))
    assert np.abs(found - expected).mean() < 0.3 * np.abs(held.clicks - expected).mean()


def test_same_seed_same_rewards() -> None:
    train = samples(0, 200)
    one, two = (BoostedRewards.fit(train.features, train.clicks, 3).evaluate(train.features) for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("users", "chains", "wanted"), [(200, 15, COMPONENTS), (200, 3, 3), (5, 15, 5)])
def test_no_more_components_than_there_can_be(users: int, chains: int, wanted: int) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(users, 4)).astype(np.float32)
    told: list[tuple[int, int]] = []
    found = BoostedRewards.fit(features, rng.poisson(3, (users, chains)), 0, progress=lambda i, n: told.append((i, n)))
    assert found.directions.shape == (wanted, chains)
    np.testing.assert_allclose(found.directions @ found.directions.T, np.eye(wanted), atol=1e-9)
    assert len(found.trees) == wanted + 1  # and one for the level
    assert told == [(i + 1, wanted + 1) for i in range(wanted + 1)]


def test_components_are_of_differences_not_of_levels() -> None:
    """Users' levels differ a hundred times more than their chains do: the first direction is the chains'."""
    rng = np.random.default_rng(0)
    level, lean = rng.normal(0, 100, 300), rng.normal(0, 1, 300)
    shape = np.array([-1.0, 0.0, 1.0]) / np.sqrt(2)
    found = BoostedRewards.fit(np.zeros((300, 1), np.float32), level[:, None] + lean[:, None] * shape, 0)
    assert np.abs(found.directions[0] @ shape) == pytest.approx(1, abs=1e-6)


def test_a_constant_reward_is_predicted_as_it_is() -> None:
    features = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    np.testing.assert_allclose(BoostedRewards.fit(features, np.full((100, 6), 4), 0).evaluate(features), 4, atol=1e-6)
    by_chain = np.tile(np.arange(6), (100, 1))
    np.testing.assert_allclose(BoostedRewards.fit(features, by_chain, 0).evaluate(features), by_chain, atol=1e-6)


def test_a_single_chain_and_few_users_are_no_trouble() -> None:
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    found = BoostedRewards.fit(features, np.array([[1], [2], [3]]), 0).evaluate(features)
    np.testing.assert_allclose(found, 2, atol=1e-6)  # too few to tell apart
