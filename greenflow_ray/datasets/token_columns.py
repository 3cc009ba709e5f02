"""Tokens of very many users or items, gathered column by column as arrays: no Python object for each row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from greenflow_ray.datasets.tokens import TokenTable
from greenflow_ray.ragged import Ragged


@dataclass(frozen=True)
class TokensById:
    """Tokens by outside id.

    Attributes:
        ids: distinct outside ids in any order, int64 ``[n]``.
        tokens: tokens of every id, in the order of ``ids``.
        vocabulary: readable name of every token, ``field=value``.
        weights: of every token, float32 aligned with ``tokens.values``; None: all one.
    """

    ids: npt.NDArray[np.int64]
    tokens: Ragged
    vocabulary: tuple[str, ...]
    weights: npt.NDArray[np.float32] | None = None

    def table(self, wanted: npt.NDArray[np.int64]) -> TokenTable:
        """Rows of the ``wanted`` ids, int64 ``[m]``, none where an id is unknown; of the vocabulary what they use."""
        order = np.argsort(self.ids, kind="stable")
        known = np.zeros(len(wanted), dtype=np.bool_)
        rows = np.zeros(len(wanted), dtype=np.int64)
        if len(order):
            rows = order[np.searchsorted(self.ids, wanted, sorter=order).clip(max=len(order) - 1)]
            known = self.ids[rows] == wanted
        lengths = np.zeros(len(wanted), dtype=np.int64)
        lengths[known] = self.tokens.lengths[rows[known]]
        positions = self.tokens.positions(rows[known])
        values = self.tokens.values[positions]
        used = np.zeros(len(self.vocabulary), dtype=np.bool_)
        used[values] = True
        number = np.cumsum(used, dtype=np.int32) - np.int32(1)
        vocabulary = tuple(name for name, held in zip(self.vocabulary, used.tolist(), strict=True) if held)
        weights = None if self.weights is None else self.weights[positions]
        return TokenTable(Ragged.from_lengths(number[values], lengths), vocabulary, weights)


@dataclass(frozen=True)
class Column:
    """One field of a block of rows.

    Attributes:
        values: integers or text, all rows end to end, a pyarrow array ``[total]``.
        lengths: how many values every row has, ``[rows]``; None: one each.
        weights: of every value, float32 ``[total]``; None: all one.
    """

    values: Any
    lengths: npt.NDArray[Any] | None = None
    weights: npt.NDArray[np.float32] | None = None


class TokenColumns:
    """Gathers blocks of rows, then numbers all distinct values: fields in the order given, values sorted in each."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self._ids: list[npt.NDArray[np.int64]] = []
        self._values: dict[str, list[Any]] = {name: [] for name in fields}
        self._lengths: dict[str, list[npt.NDArray[np.int32]]] = {name: [] for name in fields}
        self._weights: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in fields}
        self._weighted = False

    def add(self, ids: npt.NDArray[np.int64], columns: Mapping[str, Column]) -> None:
        """Add rows: their ids, which must not come twice, and every field's values."""
        self._ids.append(ids)
        for name in self._fields:
            column = columns[name]
            lengths = np.ones(len(ids)) if column.lengths is None else column.lengths
            weights = np.ones(len(column.values), dtype=np.float32) if column.weights is None else column.weights
            self._weighted |= bool((weights != 1).any())
            self._values[name].append(column.values.dictionary_encode())
            self._lengths[name].append(np.asarray(lengths, dtype=np.int32))
            self._weights[name].append(weights)

    def finish(self) -> TokensById:
        """All rows; what was gathered is let go."""
        ids = np.concatenate(self._ids) if self._ids else np.empty(0, dtype=np.int64)
        lengths = {name: np.concatenate([np.empty(0, np.int32), *self._lengths.pop(name)]) for name in self._fields}
        total = sum((n.astype(np.int64) for n in lengths.values()), np.zeros(len(ids), dtype=np.int64))
        tokens = Ragged.from_lengths(np.empty(int(total.sum()), dtype=np.int32), total)
        weights = np.ones(len(tokens.values), dtype=np.float32) if self._weighted else None
        vocabulary: list[str] = []
        filled = tokens.offsets[:-1].copy()
        for name in self._fields:
            codes, distinct = _numbered(self._values.pop(name))
            mine = Ragged.from_lengths(codes, lengths[name])
            places = np.arange(len(codes)) + np.repeat(filled - mine.offsets[:-1], mine.lengths)
            tokens.values[places] = codes + np.int32(len(vocabulary))
            if weights is not None:
                weights[places] = np.concatenate([np.empty(0, np.float32), *self._weights.pop(name)])
            filled += mine.lengths
            vocabulary += [f"{name}={value}" for value in distinct]
        return TokensById(ids, tokens, tuple(vocabulary), weights)


def strings(column: Any) -> Column:
    """A pyarrow column of one value a row as text; null or empty text gives a row without token."""
    text = column.cast(pa.string())
    held = pc.fill_null(pc.utf8_length(text), 0).to_numpy(zero_copy_only=False) > 0
    return Column(text.filter(pa.array(held)), held)


def _numbered(chunks: list[Any]) -> tuple[npt.NDArray[np.int32], list[Any]]:
    """Codes of all chunks' values, int32 ``[total]``, and the distinct values, sorted."""
    if not chunks:
        return np.empty(0, dtype=np.int32), []
    whole = pa.chunked_array(chunks).unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in whole.chunks])
    values = whole.chunk(0).dictionary.to_pylist()
    order = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), dtype=np.int32)
    rank[order] = np.arange(len(values), dtype=np.int32)
    return (rank[codes] if len(values) else np.empty(0, dtype=np.int32)), [values[i] for i in order]
