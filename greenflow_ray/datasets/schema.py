"""The one schema every data source is brought to: a catalog of items, users with histories, and held-out clicks.

What a model may see (context and history) and what judges it (held-out clicks) are separate objects and separate
files: nothing that trains or serves is ever handed the final users' clicks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.ragged import Ragged

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
I8 = npt.NDArray[np.int8]
I16 = npt.NDArray[np.int16]
Array = npt.NDArray[Any]  # of any type


class Split(IntEnum):
    """What a user serves for; every user belongs to exactly one."""

    TRAIN = 0
    VALIDATION = 1
    REWARD = 2
    FINAL = 3


@dataclass(frozen=True)
class Catalog:
    """The corpus."""

    item_ids: I64  # the outside world's id of every item, int64 ``[n_items]``; everywhere else an item is its index
    tokens: Ragged  # content tokens of every item (category, genre, shop, …), several a field allowed
    vocabulary: tuple[str, ...]  # readable name of every content token, ``field=value``
    popularity: F32  # share of *training* users who clicked the item, float32 ``[n_items]``

    def __len__(self) -> int:
        return len(self.item_ids)

    def by_popularity(self) -> I32:
        """All items, most clicked first, ties by index, int32 ``[n_items]``: the order of last resort."""
        return np.argsort(-self.popularity, kind="stable").astype(np.int32)


@dataclass(frozen=True)
class Users:
    """What models may know of users."""

    user_ids: I64  # the outside world's id, int64 ``[n]``, strictly increasing
    split: I8  # :class:`Split` of every user, int8 ``[n]``
    tokens: Ragged  # context tokens of every user (gender, age, …)
    vocabulary: tuple[str, ...]  # readable name of every context token, ``field=value``
    history: Ragged  # item indices clicked in the past, oldest first
    since: I64  # time of the oldest event, in the source's unit, int64 ``[n]``; 0 where times are unknown
    weights: F32 | None = None  # how much each of ``tokens.values`` counts, float32 aligned with them; None: all one

    def __len__(self) -> int:
        return len(self.user_ids)

    def of(self, split: Split) -> I64:
        """Row indices of the users of ``split``."""
        return np.flatnonzero(self.split == split)


@dataclass(frozen=True)
class Clicks:
    """Held-out clicks of some users: ``items`` has one row for each entry of ``users`` (row indices, increasing)."""

    users: I64
    items: Ragged


@dataclass(frozen=True)
class Dataset:
    """A prepared data set, without the held-out clicks (see :mod:`greenflow_ray.datasets.storage`).

    ``ordered``: a user's history is older than its held-out clicks; if not, the cut between them is random, and
    another one (``data.view``) is as good.
    """

    name: str
    synthetic: bool
    ordered: bool
    seed: int
    digest: str
    catalog: Catalog
    users: Users


@dataclass(frozen=True)
class RequestBatch:
    """Features of a batch of requests, as scorers and the reward model see them."""

    user_ids: I64  # int64 ``[B]`` as the caller gave them
    known: Mask  # whether the user is known; an unknown one has no context and no history, bool ``[B]``
    tokens: Ragged  # context tokens, one row a request
    history: Ragged  # item indices, oldest first, whole (a model keeps its own most recent part)
    weights: F32 | None = None  # how much each of ``tokens.values`` counts, float32 aligned with them; None: all one

    def __len__(self) -> int:
        return len(self.user_ids)
