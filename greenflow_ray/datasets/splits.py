"""Who serves for what: users are split once, by seed, and every later step keeps to it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from greenflow_ray.config import SplitConfig
from greenflow_ray.datasets.schema import Split
from greenflow_ray.errors import DataError


def split_users(n_users: int, shares: SplitConfig, seed: int) -> npt.NDArray[np.int8]:
    """Draw a :class:`Split` for every user, int8 ``[n_users]``; the remainder of the shares are final users.

    The draw depends on the number of users, the shares and the seed alone, never on what users clicked.
    Raises DataError where a split would be empty.
    """
    cuts = np.round(np.cumsum([shares.train, shares.validation, shares.reward]) * n_users).astype(np.int64)
    sizes = np.diff(np.concatenate([[0], cuts, [n_users]]))
    if sizes.min() < 1:
        empty = Split(int(sizes.argmin())).name.lower()
        raise DataError(f"{n_users} users leave the {empty} split empty; give more users or larger shares (data.split)")
    split = np.empty(n_users, dtype=np.int8)
    order = np.random.default_rng([seed, 0x5B17]).permutation(n_users)
    split[order] = np.repeat(np.arange(len(Split), dtype=np.int8), sizes)
    return split
