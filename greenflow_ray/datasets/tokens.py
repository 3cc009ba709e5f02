"""Categorical features as token lists in one vocabulary of ``field=value`` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.ragged import Ragged


@dataclass(frozen=True)
class TokenTable:
    """Tokens of many rows: ``tokens`` holds indices into ``vocabulary``, one row an item or user.

    ``weights``, float32 aligned with ``tokens.values``, says how much each token counts; None: all one.
    """

    tokens: Ragged
    vocabulary: tuple[str, ...]
    weights: npt.NDArray[np.float32] | None = None

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.NDArray[Any]]) -> TokenTable:
        """One value a row and column; the vocabulary is sorted within each field."""
        vocabulary: list[str] = []
        rows = []
        for name, values in columns.items():
            distinct, codes = np.unique(values, return_inverse=True)
            rows.append(codes + len(vocabulary))
            vocabulary += [f"{name}={value}" for value in distinct]
        table = np.stack(rows, axis=1).astype(np.int32)
        return cls(Ragged.from_lengths(table.ravel(), np.full(len(table), table.shape[1])), tuple(vocabulary))

    @classmethod
    def from_names(cls, rows: Sequence[Sequence[str]]) -> TokenTable:
        """Any number of ``field=value`` names a row; the vocabulary is sorted."""
        vocabulary = tuple(sorted({name for row in rows for name in row}))
        index = {name: i for i, name in enumerate(vocabulary)}
        return cls(Ragged.from_rows([[index[name] for name in row] for row in rows]), vocabulary)
