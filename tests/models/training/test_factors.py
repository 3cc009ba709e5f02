"""Item vectors: what is clicked together lies together; rank, repeats and silence are taken as they come."""

import numpy as np
import pytest

from greenflow_ray.datasets.schema import Clicks, Split
from greenflow_ray.models.training.factors import click_factors, item_factors
from greenflow_ray.ragged import Ragged
from tests.models.worlds import small
from tests.worlds import make_world


def two_tastes(users: int = 60, items: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Even users click even items, odd users odd ones."""
    rng = np.random.default_rng(1)
    pairs = [(u, 2 * i + u % 2) for u in range(users) for i in rng.choice(items // 2, 6, replace=False)]
    rows, columns = np.array(pairs, dtype=np.int64).T
    return rows, columns


def test_items_clicked_together_have_like_vectors() -> None:
    rows, items = two_tastes()
    factors = item_factors(rows, items, (60, 20), 2)
    unit = factors / np.linalg.norm(factors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    same = np.add.outer(np.arange(20), np.arange(20)) % 2 == 0
    assert cosine[same].min() > 0.8
    assert np.abs(cosine[~same]).max() < 0.5


def test_they_are_the_leading_singular_vectors() -> None:
    rows, items = two_tastes()
    factors = item_factors(rows, items, (60, 20), 4).astype(np.float64)
    dense = np.zeros((60, 20))
    dense[rows, items] = 1 / np.sqrt(np.bincount(items)[items] + 10.0)
    _, strength, right = np.linalg.svd(dense)
    wanted = (right[:4].T * strength[:4]) @ right[:4]  # free of signs and of rotations
    got = factors @ factors.T
    np.testing.assert_allclose(got / np.trace(got), wanted / np.trace(wanted), atol=1e-3)
    assert factors.std() == pytest.approx(0.1, rel=1e-4)


def test_columns_beyond_the_rank_are_zero() -> None:
    factors = item_factors(np.array([0, 0, 1]), np.array([0, 1, 2]), (2, 5), 4)
    assert factors.shape == (5, 4)
    assert (factors[:, 2:] == 0).all()
    assert (np.abs(factors[:3, :2]).max(axis=1) > 0).all()
    np.testing.assert_allclose(factors[3:], 0, atol=1e-6)  # nobody clicked these


def test_without_a_single_click_all_are_zero() -> None:
    empty = np.empty(0, dtype=np.int64)
    assert (item_factors(empty, empty, (3, 4), 2) == 0).all()


def test_history_and_clicks_count_once_and_nobody_else() -> None:
    world = make_world()
    some = Clicks(np.array([0, 4, 8]), world.clicks.items.take(np.array([0, 4, 8])))
    factors = click_factors(world.dataset, some, 3)
    doubled = Clicks(some.users, Ragged.from_rows([[*some.items.row(i), *some.items.row(i)] for i in range(3)]))
    np.testing.assert_array_equal(factors, click_factors(world.dataset, doubled, 3))
    history = world.dataset.users.history
    seen = np.unique(np.concatenate([some.items.values, *(history.row(u) for u in some.users)]))
    unseen = np.setdiff1d(np.arange(60), seen)
    np.testing.assert_allclose(factors[unseen], 0, atol=1e-6)
    assert (np.abs(factors[seen]).max(axis=1) > 1e-4).mean() > 0.9


def test_more_columns_than_training_users_are_zero_and_the_same_each_time() -> None:
    dataset, clicks = small()
    factors = click_factors(dataset, clicks[Split.TRAIN], 200)
    assert factors.shape == (150, 200)
    assert np.isfinite(factors).all()
    np.testing.assert_array_equal(factors, click_factors(dataset, clicks[Split.TRAIN], 200))
    assert (factors[:, 60:] == 0).all()  # sixty training users: no more directions than that
