"""Sample and feedback files as the logs write them, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.config import SamplingConfig
from greenflow_ray.serving.logs.clicks import FEEDBACK_SCHEMA, FeedbackLog
from greenflow_ray.serving.logs.samples import sample_schema
from tests.worlds import make_world

SPACE = make_world().space


def samples(ids: Sequence[str], times: Sequence[float], *, seed: int = 0) -> pa.Table:
    """Samples of these requests; the reward rows follow from the ids' order and ``seed``."""
    n, rng = len(ids), np.random.default_rng(seed)
    rewards = rng.random((n, len(SPACE)), dtype=np.float32)
    chain = rng.integers(0, len(SPACE), n).astype(np.int32)
    columns = {
        "time": np.asarray(times, dtype=np.float64),
        "request_id": list(ids),
        "context_key": rng.integers(0, 50, n),
        "reward": pa.FixedSizeListArray.from_arrays(pa.array(rewards.reshape(-1)), len(SPACE)),
        "chain": chain,
        "cost": SPACE.costs[chain],
        "price": np.zeros(n),
        "price_version": np.ones(n, dtype=np.int64),
        "propensity": np.full(n, 0.5, dtype=np.float32),
        "sampling_rate": np.ones(n, dtype=np.float32),
    }
    return pa.table(columns).cast(sample_schema(SPACE))


def clicks(rows: Sequence[tuple[float, str, int]]) -> pa.Table:
    """Clicks as (time, request id, item id)."""
    return pa.Table.from_pylist([dict(zip(FEEDBACK_SCHEMA.names, row, strict=True)) for row in rows], FEEDBACK_SCHEMA)


def store(folder: Path, name: str, table: pa.Table) -> Path:
    """Write a file as the logs do."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    return path


def report(folder: Path, time: float, rows: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Clicks through the log itself."""
    log = FeedbackLog(folder, SamplingConfig(), start=False)
    log.add(time, rows)
    log.close()
