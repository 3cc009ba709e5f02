"""The heavy parts of an evaluation, each a task for a process, each kept and reused while its inputs stay."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
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
from greenflow_ray.reward.grid import ChainRunner, expected_clicks, realised_clicks
from greenflow_ray.support.keep import digest, kept
from greenflow_ray.support.progress import Progress
from greenflow_ray.support.terminal import Terminal

CODE_VERSION = 1  # raised whenever the code of a task changes what its file means; part of every digest
Task = Callable[[], Any]  # what can be pickled, such as a partial; what it makes, it leaves on disk


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
    """What every chain earns from the users of one split, under one cut; ``clicks`` has one slice an exposure."""

    users: npt.NDArray[np.int64]  # rows of the users table [n]
    clicks: npt.NDArray[np.int16]  # realised clicks [E, n, J]
    expected: npt.NDArray[np.float32]  # expected clicks, likewise, where chances are known (synthetic set); else empty


def grid_path(plan: Plan, seed: int, cut: int, split: Split) -> Path:
    """Where a grid is kept."""
    return plan.of(seed, 0).run / "grids" / f"{split.name.lower()}-{cut}.npz"


def run_grid(plan: Plan, seed: int, cut: int, split: Split) -> Grid:
    """Run all chains for the users of ``split``; their clicks are counted in what was exposed, and only there."""
    config = plan.of(seed, cut)
    loaded = Loaded.of(config)
    clicks = storage.load_clicks(config.paths.data, split)
    content = hashlib.sha256(np.ascontiguousarray(clicks.items.values).tobytes()).hexdigest()
    key = digest(loaded.digest, str(plan.exposures), split.name, str(CODE_VERSION), content)

    def make() -> dict[str, Any]:
        features = TableFeatures(loaded.dataset.users)
        runner = ChainRunner(loaded.space, loaded.pool, len(loaded.dataset.catalog), max(plan.exposures))
        realised = realised_clicks(runner, features, clicks, exposures=plan.exposures)
        expected = np.zeros(0, dtype=np.float32)
        if loaded.dataset.synthetic:
            chances = synthetic.load_truth(config.paths.data).probabilities
            expected = expected_clicks(runner, features, clicks.users, chances, exposures=plan.exposures)
        return {"users": clicks.users, "clicks": realised, "expected": expected}

    return Grid(**kept(grid_path(plan, seed, cut, split), key, make))


class Workers:
    """Processes that share the cores, each with one thread: on two cores two tasks beat one task with two threads."""

    def __init__(self, count: int | None) -> None:
        count = count or len(os.sched_getaffinity(0))
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(count, context, _one_thread) if count > 1 else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, terminal: Terminal, tasks: list[Task], label: str) -> None:
        """Run all tasks with a bar; after an error no other is begun."""
        done_by = self._pool.map if self._pool else map
        with terminal.progress() as progress:
            for done, _ in enumerate(done_by(_quietly, tasks), 1):
                progress(f"{label}: {done} of {len(tasks)}", done / len(tasks))


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _quietly(task: Task) -> None:
    """Run a task for what it leaves on disk; its result is not sent back."""
    task()
