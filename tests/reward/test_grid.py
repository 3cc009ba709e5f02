"""The chain runner gives exactly what serving each chain by itself would."""

import numpy as np
import pytest

from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Clicks
from greenflow_ray.models.selection import keep_best
from greenflow_ray.ragged import Ragged
from greenflow_ray.reward.grid import ChainRunner, expected_clicks, realised_clicks
from tests.worlds import TableScorer, World, make_world


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


def runner(world: World, exposure: int = 5) -> ChainRunner:
    return ChainRunner(world.space, world.pool, len(world.dataset.catalog), exposure)


def test_several_exposures_at_once_are_those_one_by_one() -> None:
    world = make_world(2)
    features = TableFeatures(world.dataset.users)
    together = realised_clicks(runner(world), features, world.clicks, exposures=(1, 3, 5))
    assert together.shape == (3, 40, len(world.space))
    assert together.dtype == np.int16
    for e, clicks in zip((1, 3, 5), together, strict=True):
        np.testing.assert_array_equal(clicks, realised_clicks(runner(world, e), features, world.clicks))
    assert (np.diff(together.astype(int), axis=0) >= 0).all()
    assert (together[0] < together[2]).any()


def test_batches_do_not_matter() -> None:
    world = make_world(3)
    features = TableFeatures(world.dataset.users)
    told: list[tuple[int, int]] = []
    one = realised_clicks(runner(world), features, world.clicks, batch=1)
    all_ = realised_clicks(
        runner(world), features, world.clicks, batch=17, progress=lambda done, of: told.append((done, of))
    )
    np.testing.assert_array_equal(one, all_)
    assert told == [(17, 40), (34, 40), (40, 40)]


def test_clicks_that_are_certain_are_their_own_expectation() -> None:
    world = make_world(1)
    features = TableFeatures(world.dataset.users)
    certain = np.zeros((40, 60), dtype=np.float32)
    certain[world.clicks.items.row_ids, world.clicks.items.values] = 1
    got = expected_clicks(runner(world), features, world.clicks.users, lambda rows: certain[rows], exposures=(2, 5))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, realised_clicks(runner(world), features, world.clicks, exposures=(2, 5)))


def test_expected_clicks_are_the_sum_of_what_is_exposed() -> None:
    world = make_world(1)
    users = np.array([7, 2, 31])  # table rows, in any order
    chance = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    got = expected_clicks(
        runner(world), TableFeatures(world.dataset.users), users, lambda rows: chance[rows], exposures=(5,), batch=2
    )
    for i, user in enumerate(users):
        for j in (0, 7, world.space.fullest):
            assert got[0, i, j] == pytest.approx(chance[user, serve_one(world, user, j)].sum(), rel=1e-5)


def test_ties_go_to_the_lower_item_as_in_serving() -> None:
    """Scorers that hardly tell items apart: the runner against serving's own selection."""
    world = make_world()
    pool = {
        name: TableScorer(np.round(scorer.table / 2).astype(np.float32), scorer.flops_per_item)
        for name, scorer in world.pool.items()
    }
    users = np.arange(12)
    requests = TableFeatures(world.dataset.users).rows(users)
    exposed = ChainRunner(world.space, pool, 60, 5).run(requests)
    ties = 0
    for j, chain in enumerate(world.space.chains):
        rows = [np.setdiff1d(np.arange(60), world.dataset.users.history.row(u)) for u in users]
        candidates = Ragged.from_rows(rows)
        following = [c.items for c in chain.choices[1:]] + [5]
        for choice, keep in zip(chain.choices, following, strict=True):
            scores = pool[choice.model].score(requests, candidates)
            ties += len(scores) - len(np.unique(np.column_stack([candidates.row_ids, scores]), axis=0))
            candidates, _ = keep_best(scores, candidates, np.full(len(users), keep))
        np.testing.assert_array_equal(exposed[:, j], candidates.padded(5, -1, keep="first"))
    assert ties > 1000


def test_users_without_clicks_or_history_are_served_too() -> None:
    world = make_world()
    nobody = Clicks(np.array([0, 1]), Ragged.from_rows([[], [3]]))
    assert len(world.dataset.users.history.row(0)) == 0
    got = realised_clicks(runner(world), TableFeatures(world.dataset.users), nobody)
    assert (got[0] == 0).all()
    assert got.max() <= 1
