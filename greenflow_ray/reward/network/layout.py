"""How the chain space looks to the reward model: distinct model prefixes, item scales and their thermometer codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace


@dataclass(frozen=True)
class StageLayout:
    """One stage, seen from all chains."""

    # for each distinct model prefix (m_1..m_k), the prefix (m_1..m_{k-1}) it extends, int64 ``[P_k]``
    parents: npt.NDArray[np.int64]
    models: npt.NDArray[np.int64]  # the prefix's last model, index in the stage's pool, int64 ``[P_k]``
    pool: int  # number of model instances of the stage
    scales: int  # number of item scales, S_k
    # thermometer codes of the distinct item tuples of *earlier* stages, float32 ``[Q_k, sum (S_<k - 1)]``
    codes: npt.NDArray[np.float32]
    prefix: npt.NDArray[np.int64]  # each chain's model prefix, int64 ``[J]``
    scale: npt.NDArray[np.int64]  # each chain's item scale, int64 ``[J]``
    earlier: npt.NDArray[np.int64]  # each chain's row of ``codes``, int64 ``[J]``


def layout(space: ChainSpace) -> tuple[StageLayout, ...]:
    """The layout of every stage, in order. Every item scale has a code of its own."""
    scale = np.stack(
        [np.searchsorted(sorted(stage.scales), space.items[:, k]) for k, stage in enumerate(space.stages)], axis=1
    )
    stages: list[StageLayout] = []
    previous = np.zeros((1, 0), dtype=np.int64)
    for k, stage in enumerate(space.stages):
        prefixes, prefix = np.unique(space.models[:, : k + 1], axis=0, return_inverse=True)
        parents = np.array([int(np.flatnonzero((previous == row[:-1]).all(axis=1))[0]) for row in prefixes])
        tuples, earlier = np.unique(scale[:, :k], axis=0, return_inverse=True)
        codes = [np.arange(1, len(s.scales)) <= tuples[:, [i]] for i, s in enumerate(space.stages[:k])]
        stages.append(
            StageLayout(
                parents=parents,
                models=prefixes[:, -1].astype(np.int64),
                pool=len(stage.pool),
                scales=len(stage.scales),
                codes=np.concatenate([np.zeros((len(tuples), 0)), *codes], axis=1, dtype=np.float32),
                prefix=np.asarray(prefix, dtype=np.int64).reshape(-1),
                scale=scale[:, k].astype(np.int64),
                earlier=np.asarray(earlier, dtype=np.int64).reshape(-1),
            )
        )
        previous = prefixes.astype(np.int64)
    return tuple(stages)
