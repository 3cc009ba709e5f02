"""Ragged arrays: rows of unequal length as one flat array and its offsets, so that no code loops over items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Ragged"]


@dataclass(frozen=True)
class Ragged:
    """Rows of unequal length.

    Attributes:
        values: all rows end to end, any dtype, shape ``[total]``.
        offsets: int64 ``[rows + 1]``; row ``i`` is ``values[offsets[i]:offsets[i + 1]]``.
    """

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def from_rows(cls, rows: Sequence[Iterable[Any]], dtype: npt.DTypeLike = np.int32) -> Ragged:
        """Join Python rows (set-up code and tests only; never on the request path)."""
        arrays = [np.asarray(list(row), dtype=dtype) for row in rows]
        return cls.from_lengths(
            np.concatenate(arrays) if arrays else np.empty(0, dtype),
            np.array([len(a) for a in arrays], dtype=np.int64),
        )

    @classmethod
    def from_lengths(cls, values: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> Ragged:
        """Wrap flat values whose rows have the given lengths, ``[rows]``."""
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(values, offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Length of every row, int64 ``[rows]``."""
        return np.diff(self.offsets)

    @property
    def row_ids(self) -> npt.NDArray[np.int64]:
        """Row of every value, int64 ``[total]``."""
        return np.repeat(np.arange(len(self), dtype=np.int64), self.lengths)

    def row(self, index: int) -> npt.NDArray[Any]:
        """One row, as a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def positions(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Where the values of ``rows`` lie in ``values``, row after row, int64."""
        starts = self.offsets[rows]
        lengths = self.offsets[np.asarray(rows) + 1] - starts
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        within: npt.NDArray[np.int64] = np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - lengths), lengths)
        return within

    def take(self, rows: npt.NDArray[Any]) -> Ragged:
        """The given rows, in that order."""
        rows = np.asarray(rows)
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        return Ragged.from_lengths(self.values[self.positions(rows)], lengths)

    def where(self, keep: npt.NDArray[np.bool_]) -> Ragged:
        """The same rows, emptied where ``keep``, bool ``[rows]``, is false."""
        return Ragged.from_lengths(self.values[np.repeat(keep, self.lengths)], np.where(keep, self.lengths, 0))

    def padded(self, width: int, fill: Any = -1, *, keep: str = "last") -> npt.NDArray[Any]:
        """Dense ``[rows, width]``: the ``"last"`` or ``"first"`` values of each row, left-aligned, then ``fill``."""
        out = np.full((len(self), width), fill, dtype=self.values.dtype)
        lengths = np.minimum(self.lengths, width)
        starts = self.offsets[1:] - lengths if keep == "last" else self.offsets[:-1]
        mask = np.arange(width) < lengths[:, None]
        out[mask] = self.values[(starts[:, None] + np.arange(width))[mask]]
        return out
