"""Any data in Parquet, in our own schema: ``interactions.parquet``, and what is known of users and items beside it.

- ``interactions.parquet`` (or parts ``interactions*.parquet``, or a folder ``interactions/``): ``user_id`` and
  ``item_id``, integers; optionally ``time``, integers of any unit or timestamps. Every row counts as a click.
- ``users.parquet`` with ``user_id`` and ``items.parquet`` with ``item_id``, each optional: every further column becomes
  tokens ``column=value``. Columns hold integers, booleans, text (or dictionaries of them), whole numbers as floats, or
  lists of these; null and empty text give no token. Fractions are refused: bin them.
- a list column ``X`` may have a list column ``X.weight`` of finite numbers not below 0, aligned with it: how much each
  token counts. Of items, weights are not kept.

A file may be named as the path itself. Ids come once in ``users`` and ``items``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from greenflow_ray.datasets.assembly import Interactions
from greenflow_ray.datasets.reading import INT, Meter, integers
from greenflow_ray.datasets.schema import I64
from greenflow_ray.datasets.tokens import Column, TokenColumns, TokensById, strings
from greenflow_ray.errors import DataError
from greenflow_ray.support.progress import Progress, silent

BATCH = 1 << 17  # rows read at a time

WEIGHT = ".weight"
MISSING = "no interactions.parquet; give a folder that holds one with user_id and item_id"

_PLAIN = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string, pa.types.is_null)


def _parts(path: Path) -> list[Path]:
    """Parts of the interactions table in a folder, by name; a Parquet file may be named directly."""
    if path.is_file():
        return [path] if path.suffix == ".parquet" else []
    return sorted(path.glob("interactions*.parquet")) or sorted(path.glob("interactions/*.parquet"))


def source_files(path: Path) -> list[Path]:
    """Parts of the interactions, then the tables of users and items if any; empty: no such tables."""
    files = _parts(path)
    return files + [f for name in ("users", "items") if files and (f := _beside(files[0], name)).is_file()]


def read(path: Path, progress: Progress = silent) -> Interactions:
    """Read the tables in record batches. Raises DataError naming file, row or column, and cure."""
    files = _parts(path)
    meter = Meter(source_files(path), progress, f"data: reading {path.name}")
    parts: dict[str, list[I64]] = {"user_id": [], "item_id": [], "time": []}
    timed = {file: "time" in _schema(file).names for file in files}
    if len(set(timed.values())) > 1:
        without = next(file for file, held in timed.items() if not held)
        raise DataError(f"{without}: no column 'time', which other parts have; add it, or drop it everywhere")
    clock: float | None = None
    for file in files:
        names = ["user_id", "item_id"] + (["time"] if timed[file] else [])
        for batch, first in _batches(file, names, meter):
            for name in names:
                column = batch.column(name)
                if name == "time" and pa.types.is_timestamp(column.type):
                    column, clock = column.cast(pa.timestamp("ms")).cast(INT), 1e-3
                parts[name].append(integers(file, name, column, first))
    users, items, times = (np.concatenate([np.empty(0, np.int64), *parts[name]]) for name in parts)
    if not len(users):
        raise DataError(f"{files[0]}: empty; give at least one interaction")
    return Interactions(
        name=path.name if path.is_dir() else path.stem,
        users=users,
        items=items,
        times=times if timed[files[0]] else None,
        user_tokens=_tokens(_beside(files[0], "users"), "user_id", meter, weighted=True),
        item_tokens=_tokens(_beside(files[0], "items"), "item_id", meter, weighted=False),
        clock=_clock(times) if clock is None else clock,
    )


def _clock(times: I64) -> float | None:
    """Seconds or milliseconds since 1970, told by magnitude (for the summary only); None: neither."""
    newest = int(times.max()) if len(times) else 0
    return 1.0 if 10**8 < newest < 10**10 else 1e-3 if 10**11 < newest < 10**13 else None


def _beside(file: Path, name: str) -> Path:
    """``users.parquet`` or ``items.parquet`` beside the interactions, or beside their folder."""
    folder = file.parent.parent if file.parent.name == "interactions" else file.parent
    return folder / f"{name}.parquet"


def _schema(path: Path) -> Any:
    try:
        return pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file ({type(error).__name__}); write it again") from error


def _batches(path: Path, names: list[str], meter: Meter) -> Iterator[tuple[Any, int]]:
    """Record batches, each with the number of its first row, from 1."""
    held = _schema(path).names
    for name in (name for name in names if name not in held):
        raise DataError(f"{path}: no column {name!r} among {', '.join(held)[:120]}; add or rename it")
    first = 1
    try:
        file = pq.ParquetFile(path)
        share = path.stat().st_size / max(1, file.metadata.num_rows)
        for batch in file.iter_batches(BATCH, columns=names):
            meter.add(int(batch.num_rows * share))
            yield batch, first
            first += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}) after row {first - 1}; write it again") from error


def _tokens(path: Path, key: str, meter: Meter, *, weighted: bool) -> TokensById:
    if not path.is_file():
        return TokenColumns(()).finish()
    names = [key, *(name for name in _schema(path).names if name != key)]
    fields = tuple(name for name in names[1:] if not (name.endswith(WEIGHT) and name[: -len(WEIGHT)] in names))
    gathered, seen = TokenColumns(fields), []
    for batch, first in _batches(path, names, meter):
        ids = integers(path, key, batch.column(key), first)
        seen.append(ids)
        gathered.add(ids, {name: _column(path, batch, name, first, weighted=weighted) for name in fields})
    distinct, counts = np.unique(np.concatenate([np.empty(0, np.int64), *seen]), return_counts=True)
    if (counts > 1).any():
        raise DataError(f"{path}: {key} {distinct[counts > 1][0]} comes more than once; keep one row an id")
    return gathered.finish()


def _column(path: Path, batch: Any, name: str, first: int, *, weighted: bool) -> Column:
    """Tokens of one column of a batch."""
    column = batch.column(name)
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return strings(_text(path, name, column, np.arange(first, first + len(column))))
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    owners = np.repeat(np.arange(len(column)), lengths)
    one = strings(_text(path, name, column.flatten(), owners + first))
    assert one.lengths is not None
    kept = np.bincount(owners[one.lengths], minlength=len(column))
    if name + WEIGHT not in batch.schema.names:
        return Column(one.values, kept)
    weights = batch.column(name + WEIGHT)
    theirs = pc.fill_null(pc.list_value_length(weights), 0).to_numpy(zero_copy_only=False)
    if (theirs != lengths).any():
        row = first + int(np.flatnonzero(theirs != lengths)[0])
        raise DataError(f"{path}: row {row}: column {name + WEIGHT!r} is not as long as {name!r}; give one weight each")
    values = weights.flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
    bad = np.flatnonzero(~np.isfinite(values) | (values < 0))
    if len(bad):
        raise DataError(
            f"{path}: row {first + owners[bad[0]]}: column {name + WEIGHT!r} holds {values[bad[0]]}; weights must be "
            "finite and not below 0: mend it"
        )
    return Column(one.values, kept, values[one.lengths] if weighted else None)


def _text(path: Path, name: str, column: Any, numbers: I64) -> Any:
    """Values as text; ``numbers`` are their rows in the file."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_floating(kind):
        values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        bad = np.flatnonzero(np.isinf(values) | (np.floor(values) != values) & ~np.isnan(values))
        if len(bad):
            raise DataError(
                f"{path}: row {numbers[bad[0]]}: column {name!r} holds {values[bad[0]]}; tokens need whole numbers or "
                "text: bin the column"
            )
        return pc.if_else(pc.is_finite(pc.fill_null(column, float("nan"))), column, None).cast(INT).cast(pa.string())
    if not any(is_kind(kind) for is_kind in _PLAIN):
        raise DataError(f"{path}: column {name!r} is of type {kind}; make it integers, text or lists of them")
    return column.cast(pa.string())
