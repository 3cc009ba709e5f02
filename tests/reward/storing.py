"""Stores a reward network as training does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from greenflow_ray.config import RewardConfig
from greenflow_ray.reward.network.model import RewardNet
from greenflow_ray.reward.stored import RewardManifest, save_reward
from tests.worlds import World


def store(
    folder: Path,
    net: RewardNet,
    factors: npt.NDArray[np.float32],
    world: World,
    config: RewardConfig,
    calibration: dict[str, float],
) -> None:
    """Write weights and manifest into ``folder``."""
    manifest = RewardManifest(
        digest="d",
        chains=world.space.digest,
        context_vocabulary=len(world.dataset.users.vocabulary),
        config=config,
        calibration=calibration,
    )
    save_reward(folder, net, factors, manifest)
