"""A histogram of latencies: buckets of equal width on a log scale, the same in every test, so that tests compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PER_DECADE = 20
FIRST, LAST = -4, 3
"""Powers of ten, seconds: from 0.1 ms to 1,000 s."""


@dataclass(frozen=True)
class Histogram:
    """Counts by bucket.

    Attributes:
        edges: float64 ``[m + 1]``, seconds, a constant factor apart; only from the first bucket in use to the last.
        counts: int64 ``[m]``; what lies beyond 0.1 ms or 1,000 s is counted in the outermost bucket.
    """

    edges: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]

    def as_json(self) -> dict[str, Any]:
        """``edges_seconds`` (one more than counts) and ``counts``."""
        return {"edges_seconds": [float(f"{edge:.6g}") for edge in self.edges], "counts": self.counts.tolist()}


def histogram(seconds: npt.NDArray[np.float64]) -> Histogram:
    """Histogram of latencies ``[n]``, seconds, all finite."""
    edges = np.logspace(FIRST, LAST, (LAST - FIRST) * PER_DECADE + 1)
    counts = np.histogram(np.clip(seconds, edges[0], edges[-1]), bins=edges)[0].astype(np.int64)
    used = np.flatnonzero(counts)
    if not len(used):
        return Histogram(np.empty(0), np.empty(0, np.int64))
    first, last = int(used[0]), int(used[-1])
    return Histogram(edges[first : last + 2], counts[first : last + 1])
