"""From events to the schema: order, cut, duplicates, splits, popularity, and the wall around the final users."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.config import DataConfig, SplitConfig
from greenflow_ray.datasets.assembly import Interactions, assemble, split_users
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Clicks, Dataset, Split
from greenflow_ray.errors import DataError
from tests.models.worlds import config


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


# Views: several random cuts of the same events, where they have no times.


def cut(view: int, seed: int = 0, **changes: float) -> tuple[Dataset, dict[Split, Clicks]]:
    return assemble(events(), DataConfig.model_validate({"view": view, **changes}), seed, f"d{view}")


def parts(made: tuple[Dataset, dict[Split, Clicks]]) -> dict[int, tuple[set[int], set[int]]]:
    """Each user's history and held-out items."""
    dataset, clicks = made
    return {
        int(user): (set(dataset.users.history.row(int(user)).tolist()), set(held.items.row(i).tolist()))
        for held in clicks.values()
        for i, user in enumerate(held.users)
    }


def test_views_are_different_cuts_of_the_same_events() -> None:
    views = [parts(cut(v)) for v in range(4)]
    for user in range(40):
        whole = views[0][user][0] | views[0][user][1]
        for view in views:
            past, future = view[user]
            assert not past & future
            assert past | future == whole
            assert len(past) == 4
    for a, b in itertools.combinations(views, 2):
        assert sum(a[u] != b[u] for u in range(40)) > 30


def test_views_share_all_but_the_cut() -> None:
    first, other = (cut(v)[0] for v in (0, 3))
    np.testing.assert_array_equal(first.users.split, other.users.split)
    np.testing.assert_array_equal(first.users.user_ids, other.users.user_ids)
    np.testing.assert_array_equal(first.catalog.item_ids, other.catalog.item_ids)
    np.testing.assert_array_equal(first.catalog.popularity, other.catalog.popularity)  # of history and clicks together
    np.testing.assert_array_equal(first.users.tokens.values, other.users.tokens.values)
    assert not first.ordered
    assert not other.ordered


def test_a_view_is_the_same_each_time_and_the_share_of_history_holds() -> None:
    assert parts(cut(2)) == parts(cut(2))
    assert parts(cut(2)) != parts(cut(2, seed=1))
    assert {len(past) for past, _ in parts(cut(2, history=0.25)).values()} == {2}


def test_data_with_times_has_no_other_view() -> None:
    with pytest.raises(DataError, match=r"data\.view: toy has times, .* set it to 0") as told:
        assemble(events(timed=True), DataConfig(view=1), 0, "d")
    assert "\n" not in str(told.value)
    assert assemble(events(timed=True), DataConfig(view=0), 0, "d")[0].ordered


def test_since_is_the_time_of_the_oldest_event() -> None:
    source = events(timed=True)
    assert source.times is not None
    dataset, _ = assemble(source, DataConfig(), 0, "d")
    for row, user in enumerate(dataset.users.user_ids):
        assert dataset.users.since[row] == source.times[source.users == user].min()
    assert (assemble(events(), DataConfig(), 0, "d")[0].users.since == 0).all()


def test_the_datas_own_seed_fixes_it_whatever_the_seed(tmp_path: Path) -> None:
    """Models of several seeds share one split of users and one cut of events."""

    def made(name: str, seed: int, own: int | None) -> Dataset:
        data = {"format": "synthetic", "users": 120, "items": 100, "seed": own}
        return prepare(config(tmp_path / name, seed=seed, data=data))

    one, other, free, plain = made("a", 1, 9), made("b", 2, 9), made("c", 2, None), made("d", 9, None)
    assert one.digest == other.digest
    np.testing.assert_array_equal(one.users.split, other.users.split)
    np.testing.assert_array_equal(one.users.history.values, other.users.history.values)
    assert free.digest != one.digest
    assert not np.array_equal(free.users.split, one.users.split)
    np.testing.assert_array_equal(plain.users.history.values, one.users.history.values)  # null: the top-level seed
    assert (one.seed, plain.seed, free.seed) == (9, 9, 2)


def test_a_prepared_folder_of_its_own_is_used(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    for name in ("a", "b"):
        prepare(config(tmp_path / name, data={"users": 120, "items": 100}, prepared=shared))
        assert not (tmp_path / name / "data").exists()
    assert (shared / "manifest.json").is_file()


def test_shares_hold_and_the_rest_are_final() -> None:
    split = split_users(1000, SplitConfig(train=0.5, validation=0.1, reward=0.25), seed=3)
    assert [int((split == s).sum()) for s in Split] == [500, 100, 250, 150]


def test_same_seed_same_split_and_another_seed_another() -> None:
    shares = SplitConfig()
    np.testing.assert_array_equal(split_users(500, shares, 1), split_users(500, shares, 1))
    assert (split_users(500, shares, 1) != split_users(500, shares, 2)).any()


def test_too_few_users_name_the_empty_split() -> None:
    with pytest.raises(DataError, match=r"3 users leave the validation split empty.*data\.split"):
        split_users(3, SplitConfig(), 0)
