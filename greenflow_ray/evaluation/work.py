"""The heavy parts of an evaluation, each a task for a worker process, each kept and reused while its inputs stay."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.formats import synthetic
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.evaluation.plan import Plan
from greenflow_ray.models.costing import costs
from greenflow_ray.models.costing.calibrate import calibrate, cost_keys
from greenflow_ray.models.pool import calibrated, chain_space, fingerprints, load_pool
from greenflow_ray.models.scorer import Scorer
from greenflow_ray.models.training.train import train
from greenflow_ray.reward.grid import ChainRunner, expected_clicks, realised_clicks
from greenflow_ray.support.keep import digest, kept
from greenflow_ray.support.progress import Progress

CODE_VERSION = 1
"""Raised whenever the code of a task changes what its file means; part of every digest."""

F32 = npt.NDArray[np.float32]


def train_model(config: CascadeConfig, name: str) -> None:
    """Train one model of a seed, or reuse it."""
    train(config, only={name})


def measure_costs(plan: Plan, dataset: Dataset, progress: Progress) -> None:
    """Calibrate the first seed's models unless that is done; all seeds cost the same, for only their weights differ."""
    first = plan.of(plan.seeds[0], 0)
    if not calibrated(first, dataset.catalog):
        users = dataset.users
        ids = users.user_ids[users.of(Split.VALIDATION)]
        costs.write(first, calibrate(first, dataset.catalog, TableFeatures(users), ids, progress=progress))
    found = costs.read(first)
    for seed in plan.seeds[1:]:
        mine = plan.of(seed, 0)
        costs.write(mine, found.rekeyed(cost_keys(mine, dataset.catalog)))


@dataclass(frozen=True)
class Loaded:
    """A seed's models over one cut of the data."""

    dataset: Dataset
    pool: Mapping[str, Scorer]
    space: ChainSpace
    digest: str

    @classmethod
    def of(cls, config: CascadeConfig) -> Loaded:
        """Load what earlier tasks made."""
        dataset = storage.load(config.paths.data)
        pool = load_pool(config, dataset.catalog)
        space = chain_space(config, pool, len(dataset.catalog))
        return cls(dataset, pool, space, digest(dataset.digest, space.digest, *fingerprints(config)))


@dataclass(frozen=True)
class Grid:
    """What every chain earns from the users of one split, under one cut.

    Attributes:
        users: rows of the users table, int64 ``[n]``.
        clicks: realised clicks, int16 ``[E, n, J]``, one slice an exposure.
        expected: expected clicks where their probabilities are known (synthetic set), float32; otherwise empty.
    """

    users: npt.NDArray[np.int64]
    clicks: npt.NDArray[np.int16]
    expected: F32


def grid_path(plan: Plan, seed: int, cut: int, split: Split) -> Path:
    """Where a grid is kept."""
    return plan.grids(seed) / f"{split.name.lower()}-{cut}.npz"


def run_grid(plan: Plan, seed: int, cut: int, split: Split) -> Grid:
    """Run all chains for the users of ``split``; their clicks are counted in what was exposed, and only there."""
    config = plan.of(seed, cut)
    loaded = Loaded.of(config)
    clicks = storage.load_clicks(config.paths.data, split)
    key = digest(loaded.digest, str(plan.exposures), split.name, str(CODE_VERSION), _content(clicks.items.values))

    def make() -> dict[str, Any]:
        features = TableFeatures(loaded.dataset.users)
        runner = ChainRunner(loaded.space, loaded.pool, len(loaded.dataset.catalog), max(plan.exposures))
        found = {
            "users": clicks.users,
            "clicks": realised_clicks(runner, features, clicks, exposures=plan.exposures),
            "expected": np.zeros(0, dtype=np.float32),
        }
        if loaded.dataset.synthetic:
            truth = synthetic.load_truth(config.paths.data)
            found["expected"] = expected_clicks(
                runner, features, clicks.users, truth.probabilities, exposures=plan.exposures
            )
        return found

    return Grid(**kept(grid_path(plan, seed, cut, split), key, make))


def _content(array: npt.NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
