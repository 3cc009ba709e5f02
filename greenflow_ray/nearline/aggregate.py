"""Frontiers through Ray Data: every block becomes a histogram, histograms add up, and only histograms travel."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray.data
from ray.data.aggregate import AggregateFnV2
from ray.data.block import Block, BlockAccessor

from greenflow_ray.pricing.frontier import Frontier

_HEADER = struct.Struct("<q")


def reward_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """A fixed-size-list column as float32 ``[n, J]``, without copying a chunk that is alone."""
    chunks = [np.asarray(c.flatten(), dtype=np.float32).reshape(len(c), -1) for c in column.chunks if len(c)]
    if not chunks:
        return np.empty((0, column.type.list_size), dtype=np.float32)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


class FrontierAggregate(AggregateFnV2[bytes, bytes]):
    """A mergeable frontier as a Ray Data aggregate.

    The accumulator is the number of refused rows (int64) followed by the frontier's own bytes; the empty string is
    zero. Rows that hold NaN or infinity are refused and counted.
    """

    def __init__(self, costs: npt.NDArray[np.float64], on: str = "reward") -> None:
        self._costs = costs
        super().__init__("frontier", zero_factory=lambda: b"", on=on, ignore_nulls=True)

    def aggregate_block(self, block: Block) -> bytes:
        """One block's rows to an accumulator."""
        rewards = reward_matrix(BlockAccessor.for_block(block).to_arrow().column(self._target_col_name))
        frontier = Frontier.build(rewards, self._costs, skip_bad=True)
        return pack(len(rewards) - round(frontier.requests), frontier)

    def combine(self, current_accumulator: bytes, new: bytes) -> bytes:
        """Add two accumulators."""
        if not current_accumulator or not new:
            return current_accumulator or new
        (bad_a, a), (bad_b, b) = unpack(current_accumulator), unpack(new)
        return pack(bad_a + bad_b, a + b)


def pack(bad_rows: int, frontier: Frontier) -> bytes:
    """An accumulator's bytes."""
    return _HEADER.pack(bad_rows) + frontier.to_bytes()


def unpack(blob: bytes) -> tuple[int, Frontier]:
    """Refused rows and the frontier of an accumulator; the empty string is none of either."""
    if not blob:
        return 0, Frontier.empty()
    return _HEADER.unpack_from(blob)[0], Frontier.from_bytes(blob[_HEADER.size :])


def frontier_of(files: Sequence[Path], costs: npt.NDArray[np.float64]) -> tuple[Frontier, int]:
    """The frontier of all rows of ``files``, aggregated by Ray Data, and the number of rows refused in it."""
    if not files:
        return Frontier.empty(), 0
    rows = ray.data.read_parquet([str(f) for f in files], columns=["reward"])
    row = rows.aggregate(FrontierAggregate(costs))
    bad, frontier = unpack(row["frontier"] or b"")
    return frontier, bad
