"""Feature sources: from user ids to the features of a batch of requests, in memory, on every replica."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import RequestBatch, Users
from greenflow_ray.ragged import Ragged


class FeatureSource(Protocol):
    """Looks up a batch of users; unknown ids get an empty row and ``known = False``."""

    def lookup(self, user_ids: npt.NDArray[np.int64]) -> RequestBatch:
        """Features of ``user_ids``, int64 ``[B]``, in that order."""
        ...


class TableFeatures:
    """The default source: the prepared users table, held in memory."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def lookup(self, user_ids: npt.NDArray[np.int64]) -> RequestBatch:
        """Binary search by id, O(B log n); rows of unknown ids are empty."""
        ids = np.asarray(user_ids, dtype=np.int64)
        table = self._users.user_ids
        rows = np.minimum(np.searchsorted(table, ids), len(table) - 1)
        known = table[rows] == ids
        return self.rows(rows, ids, known)

    def rows(
        self,
        rows: npt.NDArray[np.int64],
        ids: npt.NDArray[np.int64] | None = None,
        known: npt.NDArray[np.bool_] | None = None,
    ) -> RequestBatch:
        """Features of table rows; where ``known`` is false the row is made empty."""
        if ids is None:
            ids = self._users.user_ids[rows]
        if known is None:
            known = np.ones(len(rows), dtype=np.bool_)
        tokens = self._users.tokens.take(rows)
        history = self._users.history.take(rows)
        weights = self._users.weights
        if weights is not None:
            weights = Ragged(weights, self._users.tokens.offsets).take(rows).where(known).values
        if not known.all():
            tokens, history = (r.where(known) for r in (tokens, history))
        return RequestBatch(ids, known, tokens, history, weights)
