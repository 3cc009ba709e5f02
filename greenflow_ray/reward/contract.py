"""The contract of a reward model: what every chain is worth to every request of a batch."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from greenflow_ray.datasets.schema import RequestBatch


class RewardEstimator(Protocol):
    """Estimates ``R_ij``, the expected clicks in the exposed items if request ``i`` is served by chain ``j``."""

    flops_per_request: int

    def predict(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        """Rewards, float32 ``[B, J]``, in the chain space's order, all finite."""
        ...
