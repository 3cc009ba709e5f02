"""Ali-CCP's text: a block of lines into columns, feature lists into arrays, faults into errors that name the line.

A feature list is read as CSV, a line a feature, once its separators are exchanged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from greenflow_ray.datasets.reading import Meter, blocks, empty
from greenflow_ray.datasets.schema import F32, I64, Mask
from greenflow_ray.errors import DataError

_CUT_OFF = "the line is cut off: mend it or download the file again"
_FIELD = re.compile(r"([0-9]{1,7})(?:_([0-9]{1,2}))?:")
_TYPES = {"field": pa.dictionary(pa.int32(), pa.string()), "id": pa.int64(), "value": pa.float64()}


class Style(NamedTuple):
    """How a feature list is written: what parts features, what parts field, id and value if any, and that in words."""

    between: bytes
    within: bytes
    shape: str


RAW = Style(b"\x01", b"\x02\x03", "field\\x02feature_id\\x03value, joined by \\x01")
INLINE = Style(b",", b":", "field:feature_id, joined by commas")


class Lines(NamedTuple):
    """Lines of a block that are not blank: their ``numbers`` in the file, and where their columns begin and end.

    ``edges``, int64 ``[lines, columns + 1]``: column ``i`` of a line is ``block[edges[i] : edges[i + 1] - 1]``.
    """

    block: bytes
    numbers: I64
    edges: I64

    def column(self, index: int, rows: I64) -> list[bytes]:
        """One column of some lines."""
        starts, ends = self.edges[rows, index], self.edges[rows, index + 1] - 1
        return [self.block[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]


class Features(NamedTuple):
    """Feature lists of some lines, end to end."""

    rows: I64  # position of the line among those parsed, int64 ``[total]``
    fields: I64  # ``109_14`` as 10914, ``206`` as 20600, int64 ``[total]``
    ids: I64  # feature ids, int64 ``[total]``
    values: F32  # float32 ``[total]``; one where none is written


def read_lines(path: Path, meter: Meter, columns: int, shape: str) -> Iterator[Lines]:
    """Lines of a file by blocks; the last column may hold commas. Raises DataError: no line, or one cut off."""
    some = False
    for block, first in blocks(path, meter):
        text = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(text == ord("\n"))
        starts = np.concatenate([[0], ends[:-1] + 1])
        ends -= text[ends - 1] == ord("\r")
        rows = np.flatnonzero(ends > starts)
        commas = np.append(np.flatnonzero(text == ord(",")), np.full(columns, len(text)))
        inner = commas[np.searchsorted(commas, starts[rows])[:, None] + np.arange(columns - 1)]
        short = np.flatnonzero(inner[:, -1] >= ends[rows])
        if len(short):
            number = first + rows[short[0]]
            raise DataError(f"{path}: line {number}: expected {columns} columns, {shape!r}, found fewer; {_CUT_OFF}")
        some |= len(rows) > 0
        yield Lines(block, rows + first, np.column_stack([starts[rows], inner + 1, ends[rows] + 1]))
    if not some:
        raise empty(path, shape)


def flags(path: Path, lines: Lines, index: int, name: str) -> Mask:
    """A column of 0 and 1, bool ``[lines]``. Raises DataError naming the line."""
    starts, nexts = lines.edges[:, index], lines.edges[:, index + 1]
    digits = np.frombuffer(lines.block, dtype=np.uint8)[starts] - ord("0")
    bad = np.flatnonzero((nexts - starts != 2) | (digits > 1))
    if len(bad):
        found = _shown(lines.column(index, bad[:1])[0])
        raise DataError(f"{path}: line {lines.numbers[bad[0]]}: {name} must be 0 or 1, found {found}; mend the line")
    return np.equal(digits, 1)


def features(path: Path, lines: Lines, chosen: I64, style: Style, announced: int | None = None) -> Features:
    """Parse the feature lists of the ``chosen`` lines, which are their last columns.

    ``announced`` is the column that says how many features the line has, if one does. Raises DataError naming the
    line: a malformed feature, a value that is not a finite number, fewer features than announced.
    """
    lists, numbers = lines.column(lines.edges.shape[1] - 2, chosen), lines.numbers[chosen]
    counts = [listed.count(style.between) + 1 if listed else 0 for listed in lists]
    told = [] if announced is None else lines.column(announced, chosen)
    for number, text, count in zip(numbers, told, counts, strict=False):
        if not text.isdigit() or int(text[:19]) > count:
            raise DataError(f"{path}: line {number}: announces {_shown(text[:20])} features, holds {count}; {_CUT_OFF}")
    found = _parsed(lists, style, sum(counts))
    if found is None:  # which one? slowly, for this happens once
        row = next(row for row, listed in enumerate(lists) if _parsed([listed], style, counts[row]) is None)
        parts = lists[row].split(style.between)
        bad = next((k for k, part in enumerate(parts) if _parsed([part], style, 1) is None), 0)
        rest = _shown(style.between.join(parts[bad - (parts[bad:] == [b""]) :]))  # of an open end, what is before it
        raise DataError(f"{path}: line {numbers[row]}: expected {style.shape}, found {rest}; mend the line")
    return Features(np.repeat(np.arange(len(chosen), dtype=np.int64), counts), *found)


def _parsed(lists: Sequence[bytes], style: Style, total: int) -> tuple[I64, I64, F32] | None:
    """Fields, ids and values of all features; None if one is malformed, or they are not ``total``."""
    text = b"\n".join(lists).replace(style.within[:1], b":\t")  # the colon tells a field's end from an id's
    text = text.translate(bytes.maketrans(style.between + style.within[1:], b"\n\t"[: len(style.within)]))
    if total == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    if b":\t-" in text or text.translate(None, b"0123456789_:.eE+-\t\n"):  # the reader takes more: -1, 0x10, nan
        return None
    try:
        found = csv.read_csv(
            pa.BufferReader(text),
            read_options=csv.ReadOptions(use_threads=False, column_names=list(_TYPES)[: 1 + len(style.within)]),
            parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=csv.ConvertOptions(column_types=_TYPES, null_values=[]),
        )
    except pa.ArrowInvalid:
        return None
    fields, ids = found["field"].combine_chunks(), found["id"].to_numpy()
    values = found["value"].to_numpy() if "value" in found.column_names else np.ones(len(ids))
    names = [_FIELD.fullmatch(name) for name in fields.dictionary.to_pylist()]
    if len(ids) != total or None in names or not (np.abs(values) < 3e38).all():
        return None
    codes = np.array([int(name[1]) * 100 + int(name[2] or 0) for name in names if name is not None], dtype=np.int64)
    return codes[fields.indices.to_numpy()], ids, values.astype(np.float32)


def _shown(text: bytes) -> str:
    return repr(text[:40].decode("utf-8", "replace"))
