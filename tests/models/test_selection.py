"""Keeping the best: exact against sorting, ties to the lower index, unusable scores left out."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.models.selection import exclude, keep_best, keep_best_corpus
from greenflow_ray.ragged import Ragged

scores = st.sampled_from([-np.inf, np.nan, -3.5, -0.0, 0.0, 1e-40, 0.5, 0.25, 2.0, 3e38])
rows = st.lists(st.tuples(st.lists(scores, max_size=12), st.integers(0, 14)), max_size=5)


@settings(max_examples=150, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_it_is_what_sorting_gives(drawn: list[tuple[list[float], int]], random: "np.random.Generator") -> None:
    items = [list(range(100, 100 + len(values))) for values, _ in drawn]
    for row in items:
        random.shuffle(row)
    flat = np.array([s for values, _ in drawn for s in values], dtype=np.float32)
    n = np.array([k for _, k in drawn], dtype=np.int64)
    kept, best = keep_best(flat, Ragged.from_rows(items), n)
    for i, (values, k) in enumerate(drawn):
        usable = [(-np.float32(s), item) for s, item in zip(values, items[i], strict=True) if s > -np.inf]
        expected = sorted(usable)[:k]
        assert kept.row(i).tolist() == [item for _, item in expected]
        assert best.row(i).tolist() == [-s for s, _ in expected]


def test_the_corpus_form_agrees_with_the_ragged_one() -> None:
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 30, (4, 200)).astype(np.float32)
    everything = Ragged.from_rows([range(200)] * 4)
    n = np.array([0, 1, 50, 500])
    for one, other in zip(keep_best_corpus(dense, n), keep_best(dense.ravel(), everything, n), strict=True):
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.offsets, other.offsets)
    assert keep_best_corpus(dense, n)[0].lengths.tolist() == [0, 1, 50, 200]


def test_excluded_items_are_not_kept() -> None:
    dense = np.zeros((2, 5), dtype=np.float32)
    exclude(dense, Ragged.from_rows([[0, 3], []]))
    kept, _ = keep_best_corpus(dense, np.array([5, 2]))
    assert [kept.row(0).tolist(), kept.row(1).tolist()] == [[1, 2, 4], [0, 1]]
    assert kept.values.dtype == np.int32
