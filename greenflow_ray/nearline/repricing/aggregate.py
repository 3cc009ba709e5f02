"""Sample files to a frontier: small windows here, large ones through Ray Data, where only histograms travel."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.pricing.frontier import Frontier

F64 = npt.NDArray[np.float64]

LOCAL_BYTES = 256 << 20
"""Bytes on disk up to which a window is read here: less work than starting Ray Data, and no worker is kept."""

_ROWS = struct.Struct("<q")


def window_frontier(files: Sequence[Path], costs: F64) -> tuple[Frontier, int]:
    """The frontier of all finite rows of vetted ``files``, and how many rows were refused; ``costs`` FLOPs ``[J]``.

    Raises DataError, ArrowException or OSError if a file cannot be read, ResourceProblem if Ray fails.
    """
    if sum(path.stat().st_size for path in files) <= LOCAL_BYTES:
        tables = (pq.read_table(path, columns=["reward"], page_checksum_verification=True) for path in files)
        return added(counted(reward_matrix(table["reward"]), costs) for table in tables)
    return _on_ray(files, costs)


def reward_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """A fixed-size-list column as float32 ``[n, J]``, without copying a chunk that is alone."""
    chunks = [np.asarray(c.flatten(), dtype=np.float32).reshape(len(c), -1) for c in column.chunks if len(c)]
    if not chunks:
        return np.empty((0, column.type.list_size), dtype=np.float32)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def counted(rewards: npt.NDArray[np.float32], costs: F64) -> tuple[Frontier, int]:
    """The frontier of the finite rows of ``[n, J]``, and how many were not."""
    frontier = Frontier.build(rewards, costs, skip_bad=True)
    return frontier, len(rewards) - round(frontier.requests)


def added(parts: Iterable[tuple[Frontier, int]]) -> tuple[Frontier, int]:
    """Frontiers and counts, summed."""
    frontier, bad = Frontier.empty(), 0
    for more, refused in parts:
        frontier, bad = frontier + more, bad + refused
    return frontier, bad


def _on_ray(files: Sequence[Path], costs: F64) -> tuple[Frontier, int]:
    """The same through Ray Data: every block becomes a histogram, and histograms add up."""
    from ray.data.aggregate import AggregateFnV2
    from ray.data.block import Block, BlockAccessor
    from ray.data.context import ShuffleStrategy

    from greenflow_ray.nearline.cluster import connected
    from greenflow_ray.nearline.reading.scan import run, scan

    class Aggregate(AggregateFnV2[bytes, bytes]):  # type: ignore[misc]  # Ray is untyped here
        """Refused rows, then the frontier's own bytes; the empty string is zero."""

        def aggregate_block(self, block: Block) -> bytes:
            return pack(*counted(reward_matrix(BlockAccessor.for_block(block).to_arrow().column("reward")), costs))

        def combine(self, current_accumulator: bytes, new: bytes) -> bytes:
            return pack(*added([unpack(current_accumulator), unpack(new)]))

    with connected():
        rows = scan(files, ["reward"])
        # Ray's default wants workers apart for either half of an aggregation: three of them idle between repricings.
        rows.context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
        aggregate = Aggregate("frontier", zero_factory=bytes, on="reward", ignore_nulls=True)
        return unpack(run(lambda: rows.aggregate(aggregate))["frontier"] or b"")


def pack(frontier: Frontier, bad: int) -> bytes:
    """Frontier and refused rows as one message."""
    return _ROWS.pack(bad) + frontier.to_bytes()


def unpack(blob: bytes) -> tuple[Frontier, int]:
    """What :func:`pack` wrote; nothing from nothing."""
    return (Frontier.from_bytes(blob[_ROWS.size :]), _ROWS.unpack_from(blob)[0]) if blob else (Frontier.empty(), 0)
