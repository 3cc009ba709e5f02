"""Feature sources: from user ids to the features of a batch of requests, in memory, on every replica."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from greenflow_ray.datasets.schema import I64, Mask, RequestBatch, Users
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.jit import kernel


class FeatureSource(Protocol):
    """Looks up a batch of users; unknown ids get an empty row and ``known = False``.

    One of your own comes with the catalog from the factory that ``serving.features`` names. Every replica makes one and
    asks it from one thread for each batch of requests, so it should answer from memory. Histories hold indices into the
    catalog, context tokens those of the prepared vocabulary; models take tokens beyond it for one unknown token.
    """

    def lookup(self, user_ids: I64) -> RequestBatch:
        """Features of ``user_ids``, int64 ``[B]``, one row each in that order, an id may come more than once."""
        ...


class TableFeatures:
    """The default source: the prepared users table, held in memory."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def lookup(self, user_ids: I64) -> RequestBatch:
        """Binary search by id, O(B log n); rows of unknown ids are empty."""
        ids = np.asarray(user_ids, dtype=np.int64)
        rows, known = np.empty(len(ids), np.int64), np.empty(len(ids), np.bool_)
        find(self._users.user_ids, ids, rows, known)
        return self.rows(rows, ids, known)

    def rows(self, rows: I64, ids: I64 | None = None, known: Mask | None = None) -> RequestBatch:
        """Features of table rows; where ``known`` is false the row is made empty."""
        users = self._users
        ids = users.user_ids[rows] if ids is None else ids
        known = np.ones(len(rows), dtype=np.bool_) if known is None else known
        weighted, weights = users.weights is not None, _NO_WEIGHTS if users.weights is None else users.weights
        tokens, token_offsets, taken, history, history_offsets = _taken(
            users.tokens.values, users.tokens.offsets, weights, weighted, users.history.values, users.history.offsets,
            rows, known,
        )  # fmt: skip
        return RequestBatch(
            ids, known, Ragged(tokens, token_offsets), Ragged(history, history_offsets), taken if weighted else None
        )


_NO_WEIGHTS = np.empty(0, dtype=np.float32)


@kernel
def find(table: Any, ids: Any, rows: Any, known: Any) -> None:
    """Row of every id in the sorted table, and whether it is there."""
    for i in range(ids.shape[0]):
        low, high = 0, table.shape[0] - 1
        while low < high:
            middle = (low + high) // 2
            if table[middle] < ids[i]:
                low = middle + 1
            else:
                high = middle
        rows[i] = low
        known[i] = low < table.shape[0] and table[low] == ids[i]


@kernel
def _taken(
    tokens: Any, token_offsets: Any, weights: Any, weighted: bool, history: Any, history_offsets: Any, rows: Any,
    known: Any,
) -> Any:  # fmt: skip
    """Tokens, their weights and history of the rows, in one call: it is the calls that cost when batches are small."""
    some, starts = take(tokens, token_offsets, rows, known)
    theirs = take(weights, token_offsets, rows, known)[0] if weighted else weights
    return some, starts, theirs, *take(history, history_offsets, rows, known)


@kernel
def take(values: Any, offsets: Any, rows: Any, known: Any) -> Any:
    """Values and offsets of the rows; IndexError where a row is none of the table's."""
    starts = np.zeros(rows.shape[0] + 1, np.int64)
    for i in range(rows.shape[0]):
        row = rows[i]
        if row < 0 or row + 1 >= offsets.shape[0]:
            raise IndexError("rows: one is none of the users table's")
        starts[i + 1] = starts[i] + (offsets[row + 1] - offsets[row] if known[i] else 0)
    out = np.empty(starts[-1], values.dtype)
    for i in range(rows.shape[0]):
        begin = offsets[rows[i]] - starts[i]
        for n in range(starts[i], starts[i + 1]):
            out[n] = values[begin + n]
    return out, starts
