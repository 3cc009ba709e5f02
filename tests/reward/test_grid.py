"""The chain runner gives exactly what serving each chain by itself would."""

import numpy as np
import pytest

from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.reward.grid import ChainRunner, realised_clicks
from tests.worlds import World, make_world


def serve_one(world: World, user: int, chain: int) -> list[int]:
    """The plainest possible cascade: Python lists, one user, one chain."""
    history = set(world.dataset.users.history.row(user).tolist())
    items = [i for i in range(len(world.dataset.catalog)) if i not in history]
    for choice in world.space.chains[chain].choices:
        items = items[: choice.items]
        row = world.pool[choice.model].table[user]
        items = sorted(items, key=lambda i: -row[i])
    return items[:5]


@pytest.mark.parametrize("seed", [0, 1])
def test_equals_serving_each_chain_alone(seed: int) -> None:
    world = make_world(seed)
    runner = ChainRunner(world.space, world.pool, len(world.dataset.catalog), exposure=5)
    users = np.array([3, 17, 8])
    exposed = runner.run(TableFeatures(world.dataset.users).rows(users))
    for i, user in enumerate(users):
        for j in range(len(world.space)):
            assert exposed[i, j].tolist() == serve_one(world, user, j)


def test_clicks_are_counted_only_in_exposed_items() -> None:
    world = make_world()
    runner = ChainRunner(world.space, world.pool, len(world.dataset.catalog), exposure=5)
    features = TableFeatures(world.dataset.users)
    clicks = realised_clicks(runner, features, world.clicks, batch=7)
    for user in (0, 13, 39):
        for j in (0, world.space.fullest):
            expected = len(set(serve_one(world, user, j)) & set(world.clicks.items.row(user).tolist()))
            assert clicks[user, j] == expected
    assert clicks[:, world.space.fullest].mean() > clicks[:, world.space.cheapest].mean()
