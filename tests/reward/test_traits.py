"""The reward model's features: named parts in their columns, the same alone as in a batch, and nothing for nobody."""

import numpy as np
import numpy.typing as npt
import pytest

from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import RequestBatch
from greenflow_ray.ragged import Ragged
from greenflow_ray.reward.traits import PROFILE_TOKENS, RECENT, RewardFeatures
from tests.worlds import make_world

WORLD = make_world()
WIDTH = 3
FACTORS = np.random.default_rng(0).normal(size=(60, WIDTH)).astype(np.float32)
VOCABULARY = len(WORLD.dataset.users.vocabulary)
FEATURES = RewardFeatures.of(WORLD.dataset.catalog, VOCABULARY, FACTORS)
SOURCE = TableFeatures(WORLD.dataset.users)

VECTOR = slice(PROFILE_TOKENS, PROFILE_TOKENS + WIDTH)
NORM, POPULARITY, SPREAD, LENGTH, ENTROPY, RESULTANT, COHERENCE, EMPTY, KNOWN = range(
    PROFILE_TOKENS + WIDTH, PROFILE_TOKENS + WIDTH + 9
)
CONTEXT = KNOWN + 1


def of(histories: list[list[int]], tokens: list[list[int]] | None = None) -> npt.NDArray[np.float32]:
    n = len(histories)
    requests = RequestBatch(
        np.arange(n), np.ones(n, dtype=bool), Ragged.from_rows(tokens or [[]] * n), Ragged.from_rows(histories)
    )
    return FEATURES(requests)


def test_the_columns_are_what_they_are_called() -> None:
    history = [5, 17, 40]
    (row,) = of([history], [[1, 4]])
    assert row.shape == (FEATURES.width,)
    assert FEATURES.width == CONTEXT + VOCABULARY
    vectors = FACTORS[history].astype(np.float64)
    np.testing.assert_allclose(row[VECTOR], vectors.mean(axis=0), rtol=1e-5)
    assert row[NORM] == pytest.approx(np.square(vectors).sum(axis=1).mean(), rel=1e-5)
    popularity = np.log1p(1e3 * WORLD.dataset.catalog.popularity[history].astype(np.float64))
    assert row[POPULARITY] == pytest.approx(popularity.mean(), rel=1e-5)
    assert row[SPREAD] == pytest.approx(popularity.std(), rel=1e-3)
    assert row[LENGTH] == pytest.approx(np.log1p(3))
    assert row[RESULTANT] == pytest.approx(np.square(vectors.mean(axis=0)).sum(), rel=1e-5)
    assert (row[EMPTY], row[KNOWN]) == (0, 1)
    assert row[CONTEXT:].tolist() == [0, 1, 0, 0, 1]
    # Each item has two of the seven tokens: their shares, and the entropy of them.
    shares = np.bincount(np.concatenate([[i % 4, 4 + i % 3] for i in history]), minlength=7) / 3
    np.testing.assert_allclose(np.sort(row[:PROFILE_TOKENS])[::-1][:7], np.sort(shares)[::-1], rtol=1e-5)
    mass = shares[shares > 0] / shares.sum()
    assert row[ENTROPY] == pytest.approx(-(mass * np.log(mass)).sum(), rel=1e-4)


def test_coherence_is_one_for_one_taste_and_none_for_opposite_ones() -> None:
    same = np.tile(np.array([1.0, 2.0, 0.0], dtype=np.float32), (60, 1))
    alike = RewardFeatures.of(WORLD.dataset.catalog, VOCABULARY, same)
    requests = SOURCE.rows(np.array([3, 4, 5]))
    np.testing.assert_allclose(alike(requests)[:, COHERENCE], 1, rtol=1e-4)
    opposite = same * np.where(np.arange(60) % 2, -1, 1)[:, None].astype(np.float32)
    two = RewardFeatures.of(WORLD.dataset.catalog, VOCABULARY, opposite)
    pair = RequestBatch(np.array([1]), np.ones(1, dtype=bool), Ragged.from_rows([[]]), Ragged.from_rows([[2, 7]]))
    assert two(pair)[0, COHERENCE] == pytest.approx(-1, rel=1e-4)


def test_a_batch_is_its_requests_one_by_one() -> None:
    rows = np.array([0, 11, 6, 5, 12, 39])  # empty histories first, between and beside others
    together = FEATURES(SOURCE.rows(rows))
    alone = np.concatenate([FEATURES(SOURCE.rows(np.array([r]))) for r in rows])
    np.testing.assert_allclose(together, alone, rtol=1e-6, atol=1e-7)
    assert together.dtype == np.float32


def test_an_empty_history_is_told_and_finite() -> None:
    found = of([[], [4]])
    assert found[:, EMPTY].tolist() == [1, 0]
    np.testing.assert_allclose(found[0, :EMPTY], 0, atol=1e-6)
    assert np.isfinite(found).all()
    assert of([]).shape == (0, FEATURES.width)


def test_an_unknown_user_has_no_features_but_being_unknown() -> None:
    found = FEATURES(SOURCE.lookup(np.array([5, 10**9])))
    assert found[:, KNOWN].tolist() == [1, 0]
    assert found[1, EMPTY] == 1
    assert np.delete(found[1], [EMPTY]) == pytest.approx(0, abs=1e-6)
    np.testing.assert_array_equal(found[:1], FEATURES(SOURCE.rows(np.array([5]))))


def test_only_recent_items_are_summarised_but_all_are_counted() -> None:
    old, new = [1] * 30, (list(range(60)) * 3)[:RECENT]
    found = of([old + new, new])
    np.testing.assert_allclose(np.delete(found[0], LENGTH), np.delete(found[1], LENGTH), rtol=1e-5, atol=1e-6)
    assert found[:, LENGTH].tolist() == pytest.approx([np.log1p(130), np.log1p(100)])


def test_weights_of_context_tokens_are_their_values() -> None:
    requests = RequestBatch(
        np.arange(2),
        np.ones(2, dtype=bool),
        Ragged.from_rows([[0, 3], [2]]),
        Ragged.from_rows([[], [1]]),
        np.array([0.5, 2.0, 0.25], dtype=np.float32),
    )
    assert FEATURES(requests)[:, CONTEXT:].tolist() == [[0.5, 0, 0, 2.0, 0], [0, 0, 0.25, 0, 0]]


def test_tokens_beyond_the_vocabulary_are_left_out() -> None:
    found = of([[5], [5]], [[1, VOCABULARY, VOCABULARY + 10**6, -1], [1]])
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("item", [60, 10**6, -1])
def test_an_item_of_another_catalog_is_refused(item: int) -> None:
    with pytest.raises(IndexError, match="history: an item is none of the catalog's"):
        of([[3], [5, item]])


def test_read_only_arrays_give_the_same() -> None:
    requests = SOURCE.rows(np.array([3, 0, 17]))
    before = FEATURES(requests)
    for array in (requests.known, requests.tokens.values, requests.history.values, requests.history.offsets):
        array.flags.writeable = False
    np.testing.assert_array_equal(FEATURES(requests), before)
