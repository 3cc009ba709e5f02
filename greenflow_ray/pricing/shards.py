"""Where out-of-core rewards come from: NumPy shards or Parquet files, read again for every pass, a piece at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import PricingInputError

Piece = Callable[[], tuple[Any, Any]]
"""Loads one shard, ``(rewards, costs)``: cheap to hold, and callable once a pass, from any thread."""

ROWS = 1 << 16
"""Rows of a Parquet file held at once by each thread, at most (a row group that is smaller is read whole)."""

COSTS_KEY = b"greenflow.costs"


def pieces(shards: Any, costs: Any = None, column: str = "reward") -> Callable[[], Iterator[Piece]]:
    """What to call at the beginning of every pass for a fresh iterator over the shards.

    ``shards``: a sequence, or a function that returns a new iterator, of ``(rewards, costs)`` pairs or of Parquet
    paths. A plain iterator cannot be read twice and is refused by PricingInputError.
    """
    if isinstance(shards, (str, Path)):
        shards = [shards]
    if not callable(shards) and not isinstance(shards, Sequence):
        raise PricingInputError(
            f"shards: a {type(shards).__name__} can be read once, two passes are needed; give a list or a function"
        )

    def start() -> Iterator[Piece]:
        for shard in shards() if callable(shards) else shards:
            if isinstance(shard, (str, Path)):
                yield from parquet(Path(shard), costs, column)
            elif isinstance(shard, tuple) and len(shard) == 2:
                yield partial(tuple, shard)
            else:
                raise PricingInputError(f"shards: found {type(shard).__name__}; give (rewards, costs) pairs or paths")

    return start


def parquet(path: Path, costs: Any = None, column: str = "reward") -> Iterator[Piece]:
    """The pieces of one file: ``column`` holds a list<float32> of J rewards a row; costs from the argument or its
    metadata.

    Raises PricingInputError if the file is not Parquet, the column or the costs are missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        meta = pq.read_metadata(path)
        schema = meta.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise PricingInputError(f"{path}: not a readable Parquet file ({type(error).__name__}); remove it") from error
    if column not in schema.names:
        raise PricingInputError(f"{path}: has no column {column!r}; it holds {', '.join(schema.names)}")
    if costs is None:
        stored = (schema.metadata or {}).get(COSTS_KEY)
        if stored is None:
            raise PricingInputError(f"{path}: metadata lacks {COSTS_KEY.decode()}; pass the chains' costs")
        costs = json.loads(stored)
    prices = np.asarray(costs, np.float64)

    def load(group: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        try:
            with pq.ParquetFile(path) as file:
                table = file.read_row_group(group, columns=[column], use_threads=False)
        except (OSError, pa.ArrowException) as error:
            raise PricingInputError(
                f"{path}: row group {group} is unreadable ({type(error).__name__}); remove it"
            ) from error
        return rows_of(table.column(column), len(prices), str(path)), prices

    for group in range(meta.num_row_groups):
        yield partial(load, group)


def rows_of(column: Any, width: int, where: str = "column") -> npt.NDArray[np.float32]:
    """Rewards float32 ``[n, width]`` of an Arrow (chunked) column of equally long lists, without a copy where it
    allows.

    Raises PricingInputError if rows are missing or not ``width`` long.
    """
    chunks = getattr(column, "chunks", [column])
    if any(chunk.null_count for chunk in chunks):
        raise PricingInputError(f"{where}: holds rows without rewards; drop them")
    arrays = []
    for chunk in chunks:
        flat = chunk.flatten()
        if len(flat) != len(chunk) * width or flat.null_count:
            raise PricingInputError(f"{where}: rows are not {width} rewards long; the chain space must be the same")
        arrays.append(np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(len(chunk), width))
    if not arrays:
        return np.empty((0, width), np.float32)
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
