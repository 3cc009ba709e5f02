"""The sample log: what every sampled request was worth under every chain, and what it got. Repricing reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import SamplingConfig
from greenflow_ray.serving.logs.parquet_log import ParquetLog

SCHEMA_VERSION = "1"


def sample_schema(space: ChainSpace) -> pa.Schema:
    """Columns and file metadata; names, costs and the chain space's digest say what the reward rows mean."""
    metadata = {
        "greenflow.schema": SCHEMA_VERSION,
        "greenflow.costs": json.dumps([chain.flops for chain in space.chains]),
        "greenflow.chains_digest": space.digest,
        "greenflow.chain_names": json.dumps(space.names),
    }
    fields = [
        pa.field("time", pa.float64(), nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("context_key", pa.int64(), nullable=False),
        pa.field("reward", pa.list_(pa.field("item", pa.float32(), nullable=False), len(space)), nullable=False),
        pa.field("chain", pa.int32(), nullable=False),
        pa.field("cost", pa.float64(), nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("price_version", pa.int64(), nullable=False),
        pa.field("propensity", pa.float32(), nullable=False),
        pa.field("sampling_rate", pa.float32(), nullable=False),
    ]
    return pa.schema(fields, metadata=metadata)


class SampleLog(ParquetLog):
    """Writes a sample of an allocator's decisions (schema: :func:`sample_schema`)."""

    def __init__(self, folder: Path, space: ChainSpace, settings: SamplingConfig, *, start: bool = True) -> None:
        super().__init__(folder, sample_schema(space), settings, name="samples", start=start)
        self._rate = settings.rate

    def add(
        self,
        time: float,
        request_ids: tuple[str, ...],
        user_ids: npt.NDArray[np.int64],
        hashes: npt.NDArray[np.uint64],
        rewards: npt.NDArray[np.float32],
        chains: npt.NDArray[np.int32],
        costs: npt.NDArray[np.float64],
        prices: npt.NDArray[np.float64],
        version: int,
        propensities: npt.NDArray[np.float32],
    ) -> None:
        """Log a batch, ``[B]`` each (``rewards`` ``[B, J]``, ``costs`` of the chosen chains); samples by ``hashes``."""
        if self._rate < 1.0:
            # Other bits than those that decide who pays the high price, so that the sample is independent of it.
            kept = np.flatnonzero((hashes & np.uint64(0xFFFFFFFF)) < np.uint64(self._rate * 2**32))
            request_ids = tuple(request_ids[i] for i in kept)
            user_ids, rewards, chains, costs = user_ids[kept], rewards[kept], chains[kept], costs[kept]
            prices, propensities = prices[kept], propensities[kept]
        rows = len(user_ids)
        columns = {
            "time": np.full(rows, time),
            "request_id": list(request_ids),
            "context_key": user_ids,
            "reward": rewards,
            "chain": chains,
            "cost": costs,
            "price": prices,
            "price_version": np.full(rows, version, dtype=np.int64),
            "propensity": propensities,
            "sampling_rate": np.full(rows, self._rate, dtype=np.float32),
        }
        if rows:
            self.append(columns, rows)
