"""Categorical features as tokens of one vocabulary of ``field=value`` names, gathered as arrays, column by column."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from greenflow_ray.datasets.features import find, take
from greenflow_ray.datasets.schema import F32, I32, I64, Array
from greenflow_ray.ragged import Ragged
from greenflow_ray.support.jit import kernel


@dataclass(frozen=True)
class TokensById:
    """Tokens of users or items by outside id."""

    ids: I64  # distinct outside ids in any order, int64 ``[n]``
    tokens: Ragged  # tokens of every id, in the order of ``ids``: indices into ``vocabulary``
    vocabulary: tuple[str, ...]  # readable name of every token, ``field=value``
    weights: F32 | None = None  # float32, of every one of ``tokens.values``; None: all one

    @classmethod
    def from_columns(cls, ids: I64, columns: Mapping[str, Array]) -> TokensById:
        """One value an id and column; the vocabulary is sorted within each field."""
        gathered = TokenColumns(columns)
        gathered.add(ids, {name: Column(pa.array(values)) for name, values in columns.items()})
        return gathered.finish()

    @classmethod
    def from_names(cls, rows: Mapping[int, Sequence[str]]) -> TokensById:
        """Any number of ``field=value`` names an id; the vocabulary is sorted."""
        vocabulary = tuple(sorted({name for row in rows.values() for name in row}))
        index = {name: i for i, name in enumerate(vocabulary)}
        tokens = Ragged.from_rows([[index[name] for name in row] for row in rows.values()])
        return cls(np.array(list(rows), dtype=np.int64), tokens, vocabulary)

    def of(self, wanted: I64) -> TokensById:
        """Rows of the ``wanted`` ids, int64 ``[m]``, none where an id is unknown; of the vocabulary what they use."""
        if not len(self.ids):
            return TokensById(wanted, Ragged.from_rows([()] * len(wanted)), ())
        order = np.argsort(self.ids, kind="stable")
        rows, known = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.bool_)
        find(self.ids[order], wanted, rows, known)
        values, offsets = take(self.tokens.values, self.tokens.offsets, order[rows], known)
        weights = None if self.weights is None else take(self.weights, self.tokens.offsets, order[rows], known)[0]
        used = np.zeros(len(self.vocabulary), dtype=np.bool_)
        used[values] = True
        if not used.all():
            values = (np.cumsum(used, dtype=np.int32) - np.int32(1))[values]
        vocabulary = tuple(name for name, held in zip(self.vocabulary, used.tolist(), strict=True) if held)
        return TokensById(wanted, Ragged(values, offsets), vocabulary, weights)


@dataclass(frozen=True)
class Column:
    """One field of a block of rows."""

    values: Any  # integers or text, all rows end to end, a pyarrow array ``[total]``
    lengths: Array | None = None  # how many values every row has, ``[rows]``; None: one each
    weights: F32 | None = None  # of every value, float32 ``[total]``; None: all one


class TokenColumns:
    """Gathers blocks of rows, then numbers all distinct values: fields in the order given, values sorted in each."""

    def __init__(self, fields: Collection[str]) -> None:
        self._fields = fields
        self._ids: list[I64] = []
        self._values: dict[str, list[Any]] = {name: [] for name in fields}
        self._lengths: dict[str, list[I32]] = {name: [] for name in fields}
        self._weights: dict[str, list[F32]] = {name: [] for name in fields}
        self._weighted = False

    def add(self, ids: I64, columns: Mapping[str, Column]) -> None:
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
        """All rows; what was gathered is let go, field by field."""
        ids = np.concatenate([np.empty(0, dtype=np.int64), *self._ids])
        total = np.zeros(len(ids), dtype=np.int64)
        for name in self._fields:
            total += np.concatenate([np.empty(0, dtype=np.int32), *self._lengths[name]])
        tokens = Ragged.from_lengths(np.empty(int(total.sum()), dtype=np.int32), total)
        weights = np.ones(len(tokens.values), dtype=np.float32) if self._weighted else None
        vocabulary: list[str] = []
        filled = tokens.offsets[:-1].copy()
        for name in self._fields:
            chunks, lengths, given = self._values.pop(name), self._lengths.pop(name), self._weights.pop(name)
            dictionaries = [np.asarray(chunk.dictionary.to_numpy(zero_copy_only=False)) for chunk in chunks]
            distinct = np.unique(np.concatenate(dictionaries)) if dictionaries else np.empty(0, dtype=np.int64)
            row = 0
            for chunk, held, mine, theirs in zip(chunks, dictionaries, lengths, given, strict=True):
                numbers = np.searchsorted(distinct, held).astype(np.int32) + np.int32(len(vocabulary))
                places = filled[row : row + len(mine)]
                if weights is not None:
                    _place(theirs, mine, places.copy(), weights)
                if len(held):
                    codes = numbers[chunk.indices.to_numpy(zero_copy_only=False)]
                    _place(codes, mine, places, tokens.values)
                row += len(mine)
            vocabulary += [f"{name}={value}" for value in distinct.tolist()]
        return TokensById(ids, tokens, tuple(vocabulary), weights)


@kernel
def _place(values: Any, lengths: Any, places: Any, out: Any) -> None:
    """Write every row's values to its place in ``out``, which moves on."""
    k = 0
    for row in range(len(lengths)):
        for _ in range(lengths[row]):
            out[places[row]] = values[k]
            places[row] += 1
            k += 1


def strings(column: Any) -> Column:
    """A pyarrow column of one value a row as text; null or empty text gives a row without token."""
    text = column.cast(pa.string())
    held = pc.fill_null(pc.utf8_length(text), 0).to_numpy(zero_copy_only=False) > 0
    return Column(text.filter(pa.array(held)), held)
