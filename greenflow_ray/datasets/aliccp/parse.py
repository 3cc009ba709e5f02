"""Ali-CCP's text: a block of lines into columns, feature lists into arrays, faults into errors that name the line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.aliccp import kernels
from greenflow_ray.datasets.reading import Meter, blocks, empty
from greenflow_ray.errors import DataError

_ZERO = ord("0")


@dataclass(frozen=True)
class Separators:
    """How a feature list is written: between features, between field and id, between id and value (0: no value)."""

    feature: int
    identity: int
    value: int
    shape: str


RAW = Separators(1, 2, 3, "field\\x02feature_id\\x03value, joined by \\x01")
INLINE = Separators(ord(","), ord(":"), 0, "field:feature_id, joined by commas")


@dataclass(frozen=True)
class Lines:
    """Lines of a block.

    Attributes:
        text: the block's bytes, uint8.
        numbers: number in the file of every line that is not blank, int64 ``[lines]``.
        edges: start of the line, then of every further column, then end of the line plus one, int64
            ``[lines, columns + 1]``; column ``i`` is ``text[edges[i] : edges[i + 1] - 1]``.
    """

    text: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]
    edges: npt.NDArray[np.int64]

    def column(self, row: int, index: int) -> str:
        """Text of one column, for errors."""
        start, end = self.edges[row, index], self.edges[row, index + 1] - 1
        return self.text[start:end].tobytes().decode("utf-8", "replace")


@dataclass(frozen=True)
class Features:
    """Feature lists of some lines, end to end.

    Attributes:
        rows: position of the line among those parsed, int64 ``[total]``.
        fields: ``109_14`` as 10914, ``206`` as 20600, int64 ``[total]``.
        ids: feature ids, int64 ``[total]``.
        values: float32 ``[total]``; one where none is written.
    """

    rows: npt.NDArray[np.int64]
    fields: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]


def read_lines(path: Path, meter: Meter, columns: int, shape: str) -> Iterator[Lines]:
    """Lines of a file, block by block; see :func:`split_lines`. Raises DataError if there are none."""
    some = False
    for text, first in blocks(path, meter):
        lines = split_lines(path, text, first, columns, shape)
        some |= len(lines.numbers) > 0
        yield lines
    if not some:
        raise empty(path, shape)


def split_lines(path: Path, text: npt.NDArray[np.uint8], first: int, columns: int, shape: str) -> Lines:
    """Find the ``columns`` of every line; the last one may hold commas. Raises DataError naming the line."""
    edges = np.empty((int(np.count_nonzero(text == kernels.NEWLINE)), columns + 1), dtype=np.int64)
    numbers = np.empty(len(edges), dtype=np.int64)
    count, bad = kernels.split(text, columns, edges, numbers)
    if bad >= 0:
        raise DataError(
            f"{path}: line {first + bad}: expected {columns} columns, {shape!r}, found fewer; the line is cut off: "
            "mend it or download the file again"
        )
    return Lines(text, numbers[:count] + first, edges[:count])


def flags(path: Path, lines: Lines, index: int, name: str) -> npt.NDArray[np.bool_]:
    """A column of 0 and 1, bool ``[lines]``. Raises DataError naming the line."""
    starts, ends = lines.edges[:, index], lines.edges[:, index + 1] - 1
    digit = lines.text[starts]  # a line that is not blank has a byte there, if only its comma
    bad = np.flatnonzero((ends - starts != 1) | ((digit != _ZERO) & (digit != _ZERO + 1)))
    if len(bad):
        row = int(bad[0])
        raise DataError(
            f"{path}: line {lines.numbers[row]}: {name} must be 0 or 1, found {lines.column(row, index)[:40]!r}; "
            "mend the line"
        )
    on: npt.NDArray[np.bool_] = digit == _ZERO + 1
    return on


def keys(lines: Lines, index: int) -> npt.NDArray[np.uint64]:
    """A well-mixed 64-bit hash of a text column, uint64 ``[lines]``: two of a million keys meet once in 10⁷ files."""
    out = np.empty(len(lines.edges), dtype=np.uint64)
    kernels.mix(lines.text, lines.edges[:, index], lines.edges[:, index + 1] - 1, out)
    return out


def features(
    path: Path, lines: Lines, chosen: npt.NDArray[np.int64], index: int, separators: Separators, announced: int | None
) -> Features:
    """Parse the feature lists of the ``chosen`` lines, which lie in column ``index``.

    ``announced`` is the column that says how many features the line has, if one does. Raises DataError naming the
    line: a malformed feature, a value that is not a finite number, fewer features than announced.
    """
    starts, ends = lines.edges[chosen, index], lines.edges[chosen, index + 1] - 1
    expected = np.full(len(chosen), -1, dtype=np.int64)
    if announced is not None:
        kernels.numbers(lines.text, lines.edges[chosen, announced], lines.edges[chosen, announced + 1] - 1, expected)
    counts = np.empty(len(chosen), dtype=np.int64)
    kernels.count(lines.text, starts, ends, separators.feature, counts)
    total = int(counts.sum())
    fields, ids = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    values = np.ones(total, dtype=np.float32)
    marks = (separators.feature, separators.identity, separators.value)
    row, why, at = kernels.parse(lines.text, starts, ends, marks, expected, counts, fields, ids, values)
    if row >= 0:
        line = lines.numbers[chosen[row]]
        if why == kernels.CUT_OFF:
            told = lines.column(int(chosen[row]), announced) if announced is not None else ""
            raise DataError(
                f"{path}: line {line}: announces {told[:20]!r} features, holds {counts[row]}; the line is cut off: "
                "mend it or download the file again"
            )
        found = lines.text[at : min(at + 40, int(ends[row]))].tobytes().decode("utf-8", "replace")
        raise DataError(f"{path}: line {line}: expected {separators.shape}, found {found!r}; mend the line")
    return Features(np.repeat(np.arange(len(chosen), dtype=np.int64), counts), fields, ids, values)
