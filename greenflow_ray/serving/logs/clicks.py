"""The feedback log: clicks as callers report them, one row a clicked item, joined to samples by request id later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from greenflow_ray.config import SamplingConfig
from greenflow_ray.serving.logs.parquet_log import ParquetLog

FEEDBACK_SCHEMA = pa.schema(
    [
        pa.field("time", pa.float64(), nullable=False),
        pa.field("request_id", pa.string(), nullable=False),
        pa.field("item_id", pa.int64(), nullable=False),
    ],
    metadata={"greenflow.schema": "1"},
)


class FeedbackLog(ParquetLog):
    """Writes reported clicks (schema: ``FEEDBACK_SCHEMA``)."""

    def __init__(self, folder: Path, settings: SamplingConfig, *, start: bool = True) -> None:
        super().__init__(folder, FEEDBACK_SCHEMA, settings, name="feedback", start=start)

    def add(self, time: float, clicks: Sequence[tuple[str, Sequence[int]]]) -> bool:
        """Log ``(request id, clicked item ids)`` pairs received at ``time`` (Unix seconds); False if dropped."""
        ids = [request_id for request_id, items in clicks for _ in items]
        if not ids:
            return True
        items = np.array([item for _, row in clicks for item in row], dtype=np.int64)
        return self.append({"time": np.full(len(ids), time), "request_id": ids, "item_id": items}, len(ids)) > 0
