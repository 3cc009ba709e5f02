"""Frontiers through Ray Data: every block becomes a histogram, histograms add up, and only histograms travel."""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from ray.data.aggregate import AggregateFnV2
from ray.data.block import Block, BlockAccessor
from ray.data.context import ShuffleStrategy
from ray.data.dataset import MaterializedDataset

from greenflow_ray.nearline.reading.scan import run, scan, tasks_for
from greenflow_ray.nearline.repricing.alone import alone
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.refinement import Refinement

T = TypeVar("T")

_ROWS = struct.Struct("<q")
_PLACES = struct.Struct("<qq")


def reward_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """A fixed-size-list column as float32 ``[n, J]``, without copying a chunk that is alone."""
    chunks = [np.asarray(c.flatten(), dtype=np.float32).reshape(len(c), -1) for c in column.chunks if len(c)]
    if not chunks:
        return np.empty((0, column.type.list_size), dtype=np.float32)
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


class _RewardAggregate(AggregateFnV2[bytes, bytes]):  # type: ignore[misc]  # Ray is untyped here
    """A mergeable summary of reward rows, its accumulator as bytes; the empty string is zero."""

    def __init__(self, name: str, costs: npt.NDArray[np.float64]) -> None:
        self._costs = costs
        super().__init__(name, zero_factory=lambda: b"", on="reward", ignore_nulls=True)

    def aggregate_block(self, block: Block) -> bytes:
        """One block's rows to an accumulator."""
        return self.summarise(reward_matrix(BlockAccessor.for_block(block).to_arrow().column("reward")))

    def combine(self, current_accumulator: bytes, new: bytes) -> bytes:
        """Add two accumulators."""
        if not current_accumulator or not new:
            return current_accumulator or new
        return self.add(current_accumulator, new)

    @abstractmethod
    def summarise(self, rewards: npt.NDArray[np.float32]) -> bytes:
        """Rows ``[n, J]`` to bytes."""

    @abstractmethod
    def add(self, a: bytes, b: bytes) -> bytes:
        """Two summaries as one."""


class FrontierAggregate(_RewardAggregate):
    """The first pass: a frontier, and how many rows were refused because they hold NaN or infinity."""

    def __init__(self, costs: npt.NDArray[np.float64]) -> None:
        super().__init__("frontier", costs)

    def summarise(self, rewards: npt.NDArray[np.float32]) -> bytes:
        """Refused rows, then the frontier's own bytes."""
        frontier = Frontier.build(rewards, self._costs, skip_bad=True)
        return _ROWS.pack(len(rewards) - round(frontier.requests)) + frontier.to_bytes()

    def add(self, a: bytes, b: bytes) -> bytes:
        """Counts and frontiers added."""
        (bad_a, first), (bad_b, second) = self.read(a), self.read(b)
        return _ROWS.pack(bad_a + bad_b) + (first + second).to_bytes()

    @staticmethod
    def read(blob: bytes) -> tuple[int, Frontier]:
        """Refused rows and frontier of an accumulator."""
        if not blob:
            return 0, Frontier.empty()
        return _ROWS.unpack_from(blob)[0], Frontier.from_bytes(blob[_ROWS.size :])


class RefinementAggregate(_RewardAggregate):
    """The second pass: the crossing bucket's edges in full float32."""

    def __init__(self, costs: npt.NDArray[np.float64], bucket: int) -> None:
        self._bucket = bucket
        super().__init__("refinement", costs)

    def summarise(self, rewards: npt.NDArray[np.float32]) -> bytes:
        """Places, costs and rewards, end to end."""
        return self._write(Refinement.build(rewards, self._costs, self._bucket, skip_bad=True))

    def add(self, a: bytes, b: bytes) -> bytes:
        """Edges added."""
        return self._write(self.read(a) + self.read(b))

    def _write(self, found: Refinement) -> bytes:
        header = _PLACES.pack(found.bucket, len(found.places))
        return header + found.places.tobytes() + found.cost.tobytes() + found.reward.tobytes()

    def read(self, blob: bytes) -> Refinement:
        """The refinement of an accumulator."""
        if not blob:
            return Refinement(self._bucket, np.empty(0, np.int32), np.empty(0), np.empty(0))
        bucket, n = _PLACES.unpack_from(blob)
        places = np.frombuffer(blob, np.int32, n, _PLACES.size)
        values = np.frombuffer(blob, np.float64, 2 * n, _PLACES.size + places.nbytes)
        return Refinement(bucket, places, values[:n], values[n:])


class RaySamples:
    """Sample files as a Ray data set, read once and held by the cluster for both passes.

    Opening raises DataError if a file cannot be read.
    """

    def __init__(self, files: Sequence[Path], costs: npt.NDArray[np.float64]) -> None:
        self._costs = costs
        self._small = tasks_for(files) == 1
        self._rows = self._run(lambda: _read(files))

    def frontier(self) -> tuple[Frontier, int]:
        """The frontier of all finite rows, and how many rows were refused."""
        bad, frontier = FrontierAggregate.read(self._sum(FrontierAggregate(self._costs)))
        return frontier, bad

    def refine(self, bucket: int) -> Refinement:
        """The edges of one bucket."""
        aggregate = RefinementAggregate(self._costs, bucket)
        return aggregate.read(self._sum(aggregate))

    def _sum(self, aggregate: _RewardAggregate) -> bytes:
        found: bytes | None = self._run(lambda: self._rows.aggregate(aggregate))[aggregate.name]
        return found or b""

    def _run(self, work: Callable[[], T]) -> T:
        with alone(self._small):
            return run(work)


def _read(files: Sequence[Path]) -> MaterializedDataset:
    """Rewards of ``files`` as blocks in the cluster's memory."""
    rows = scan(files, ["reward"])
    # Ray's default wants workers apart for either half of an aggregation: three of them idle between repricings.
    rows.context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    return rows.materialize()
