"""The users table answers with the rows asked for, in their order, and empty rows for users it does not know."""

from dataclasses import replace

import numpy as np
import pytest

from greenflow_ray.datasets.features import TableFeatures
from tests.worlds import make_world

USERS = make_world().dataset.users


def test_rows_come_in_the_order_asked_and_as_often() -> None:
    ids = np.array([17, 0, 39, 17])
    found = TableFeatures(USERS).lookup(ids)
    assert found.known.all()
    assert found.weights is None
    for i, user in enumerate(ids):
        np.testing.assert_array_equal(found.history.row(i), USERS.history.row(user))
        np.testing.assert_array_equal(found.tokens.row(i), USERS.tokens.row(user))
    assert found.history.values.dtype == USERS.history.values.dtype


def test_an_unknown_user_has_an_empty_row() -> None:
    weights = np.arange(len(USERS.tokens.values), dtype=np.float32)
    found = TableFeatures(replace(USERS, weights=weights)).lookup(np.array([10**9, 5, -1]))
    assert found.known.tolist() == [False, True, False]
    assert found.history.lengths.tolist() == [0, len(USERS.history.row(5)), 0]
    np.testing.assert_array_equal(found.tokens.values, USERS.tokens.row(5))
    np.testing.assert_array_equal(found.weights, weights[USERS.tokens.offsets[5] : USERS.tokens.offsets[6]])


@pytest.mark.parametrize("row", [-1, 40])
def test_a_row_beyond_the_table_is_refused(row: int) -> None:
    with pytest.raises(IndexError):
        TableFeatures(USERS).rows(np.array([3, row]), ids=np.array([3, 0]))


def test_nobody_asked_gives_no_rows() -> None:
    found = TableFeatures(USERS).lookup(np.empty(0, dtype=np.int64))
    assert len(found) == len(found.history) == len(found.tokens) == 0
