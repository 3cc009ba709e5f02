"""From events to the schema: order, cut, duplicates, popularity, and the wall around the final users."""

from dataclasses import replace

import numpy as np
import pytest

from greenflow_ray.config import DataConfig
from greenflow_ray.datasets.assembly import Interactions, assemble
from greenflow_ray.datasets.schema import Split
from greenflow_ray.errors import DataError


def events(n_users: int = 40, per_user: int = 8, n_items: int = 30, *, timed: bool = False) -> Interactions:
    rng = np.random.default_rng(5)
    users = np.repeat(np.arange(100, 100 + n_users), per_user)
    items = np.concatenate([rng.choice(n_items, per_user, replace=False) for _ in range(n_users)]) + 1000
    times = rng.permutation(len(users)).astype(np.int64) if timed else None
    order = rng.permutation(len(users))
    return Interactions("toy", users[order], items[order], times)


def test_history_and_held_out_part_each_users_events() -> None:
    source = events()
    dataset, clicks = assemble(source, DataConfig(history=0.5), 0, "d")
    for split in Split:
        held = clicks[split]
        np.testing.assert_array_equal(held.users, dataset.users.of(split))
        for i, user in enumerate(held.users):
            past, future = dataset.users.history.row(user), held.items.row(i)
            mine = source.items[source.users == dataset.users.user_ids[user]]
            ids = dataset.catalog.item_ids[np.concatenate([past, future])]
            assert len(past) == 4
            assert sorted(ids) == sorted(mine)


def test_with_times_the_oldest_events_are_history_in_order() -> None:
    source = events(timed=True)
    dataset, clicks = assemble(source, DataConfig(history=0.25), 0, "d")
    assert source.times is not None
    for split in Split:
        for i, user in enumerate(clicks[split].users):
            mine = source.users == dataset.users.user_ids[user]
            expected = source.items[mine][np.argsort(source.times[mine])]
            got = np.concatenate([dataset.users.history.row(user), clicks[split].items.row(i)])
            np.testing.assert_array_equal(dataset.catalog.item_ids[got], expected)


def test_repeated_pairs_count_once_at_their_first_time() -> None:
    base = events(timed=True)
    assert base.times is not None
    doubled = Interactions(
        "toy",
        np.concatenate([base.users, base.users]),
        np.concatenate([base.items, base.items]),
        np.concatenate([base.times, base.times + 10_000]),
    )
    one, clicks_one = assemble(base, DataConfig(), 0, "d")
    two, clicks_two = assemble(doubled, DataConfig(), 0, "d")
    np.testing.assert_array_equal(one.users.history.values, two.users.history.values)
    np.testing.assert_array_equal(clicks_one[Split.FINAL].items.values, clicks_two[Split.FINAL].items.values)


def test_a_user_with_one_event_is_kept_with_an_empty_history() -> None:
    source = events()
    lone = replace(source, users=np.append(source.users, 7), items=np.append(source.items, 1001))
    dataset, clicks = assemble(lone, DataConfig(), 0, "d")
    assert dataset.users.user_ids[0] == 7
    assert len(dataset.users.history.row(0)) == 0
    held = clicks[Split(dataset.users.split[0])]
    assert dataset.catalog.item_ids[held.items.row(int(np.flatnonzero(held.users == 0)[0]))].tolist() == [1001]


def test_popularity_counts_training_users_alone() -> None:
    dataset, clicks = assemble(events(), DataConfig(), 0, "d")
    train = dataset.users.of(Split.TRAIN)
    seen = np.zeros(len(dataset.catalog))
    for i, user in enumerate(clicks[Split.TRAIN].users):
        seen[dataset.users.history.row(user)] += 1
        seen[clicks[Split.TRAIN].items.row(i)] += 1
    np.testing.assert_allclose(dataset.catalog.popularity, seen / len(train), rtol=1e-6)


@pytest.mark.parametrize("timed", [False, True])
def test_the_final_users_clicks_touch_nothing_but_themselves(timed: bool) -> None:
    source = events(timed=timed)
    before, clicks_before = assemble(source, DataConfig(), 0, "d")
    # Let the final users trade their held-out clicks among themselves, in place.
    items = source.items.copy()
    final = clicks_before[Split.FINAL]
    where, wanted = [], []
    for i, user in enumerate(final.users):
        other = final.items.row((i + 1) % len(final.users))
        fresh = [x for x in other if x not in before.users.history.row(user)]
        fresh += [x for x in final.items.row(i) if x not in fresh]
        mine = source.users == before.users.user_ids[user]
        for old, new in zip(final.items.row(i), fresh, strict=False):
            where.append(np.flatnonzero(mine & (source.items == before.catalog.item_ids[old]))[0])
            wanted.append(before.catalog.item_ids[new])
    items[where] = wanted
    after, clicks_after = assemble(replace(source, items=items), DataConfig(), 0, "d")
    assert (clicks_after[Split.FINAL].items.values.tolist()) != final.items.values.tolist()
    for name in ("user_ids", "split"):
        np.testing.assert_array_equal(getattr(before.users, name), getattr(after.users, name))
    np.testing.assert_array_equal(before.users.history.values, after.users.history.values)
    np.testing.assert_array_equal(before.catalog.item_ids, after.catalog.item_ids)
    np.testing.assert_array_equal(before.catalog.popularity, after.catalog.popularity)
    for split in (Split.TRAIN, Split.VALIDATION, Split.REWARD):
        np.testing.assert_array_equal(clicks_before[split].items.values, clicks_after[split].items.values)


def test_items_that_no_training_user_clicked_stay_with_popularity_zero() -> None:
    source = events()
    before, _ = assemble(source, DataConfig(), 0, "d")
    other = before.users.user_ids[before.users.of(Split.REWARD)[0]]
    items = source.items.copy()
    items[np.flatnonzero(source.users == other)[0]] = 5000
    dataset, _ = assemble(replace(source, items=items), DataConfig(), 0, "d")
    assert dataset.catalog.item_ids[-1] == 5000
    assert dataset.catalog.popularity[-1] == 0


def test_times_out_of_order_are_sorted_and_ties_stay_as_in_the_file() -> None:
    source = Interactions(
        "toy", np.repeat(np.arange(8), 4), np.tile([3, 1, 2, 0], 8), np.tile(np.array([9, -5, 9, 2]), 8)
    )
    dataset, clicks = assemble(source, DataConfig(), 0, "d")
    for row, user in enumerate(clicks[Split.TRAIN].users):
        assert dataset.users.history.row(user).tolist() == [1, 0]
        assert clicks[Split.TRAIN].items.row(row).tolist() == [3, 2]


def test_no_events_is_an_error() -> None:
    empty = np.empty(0, dtype=np.int64)
    with pytest.raises(DataError, match="toy: no interactions"):
        assemble(Interactions("toy", empty, empty, None), DataConfig(), 0, "d")
