"""Splitting users: shares, determinism, and who is left over."""

import numpy as np
import pytest

from greenflow_ray.config import SplitConfig
from greenflow_ray.datasets.schema import Split
from greenflow_ray.datasets.splits import split_users
from greenflow_ray.errors import DataError


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
