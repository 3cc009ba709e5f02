"""Small prepared sets and networks that the tests of this room share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenflow_ray.config import CascadeConfig, DataConfig, ModelConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.formats.synthetic import generate
from greenflow_ray.datasets.schema import Clicks, Dataset, RequestBatch, Split
from greenflow_ray.models.networks.network import Network
from greenflow_ray.models.networks.tensors import Sizes
from greenflow_ray.models.training import artifacts
from greenflow_ray.ragged import Ragged

ALL = ("dssm", "ydnn", "din", "dien")


def small(users: int = 120, items: int = 150) -> tuple[Dataset, dict[Split, Clicks]]:
    dataset, clicks, _ = generate(DataConfig(users=users, items=items), 0, "digest")
    return dataset, clicks


def sizes(dataset: Dataset, history: int = 32) -> Sizes:
    return Sizes.of(dataset, history)


def network(dataset: Dataset, architecture: str, history: int = 32, **args: Any) -> Network:
    torch.manual_seed(3)
    _, parsed = artifacts.resolve(ModelConfig(name=architecture, args=args))
    built = artifacts.ARCHITECTURES[architecture](parsed, sizes(dataset, history), dataset.catalog)
    for parameter in built.parameters():  # larger than at the start of training, so that every input shows
        parameter.data.mul_(3)
    return built


def requests(dataset: Dataset, n: int = 6) -> RequestBatch:
    return TableFeatures(dataset.users).rows(np.arange(n, dtype=np.int64))


def candidates(dataset: Dataset, lengths: list[int], seed: int = 0) -> Ragged:
    rng = np.random.default_rng(seed)
    return Ragged.from_rows([rng.choice(len(dataset.catalog), n, replace=False) for n in lengths])


def config(run: Path, **changes: Any) -> CascadeConfig:
    stages = [
        {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
        {"name": "pre-ranking", "pool": [{"name": "ydnn"}], "scales": [40, 80]},
        {"name": "ranking", "pool": [{"name": "din"}, {"name": "dien"}], "scales": [20, 40]},
    ]
    base: dict[str, Any] = {
        "run": run,
        "stages": stages,
        "data": {"users": 120, "items": 150},
        "training": {"epochs": 1, "targets_per_user": 4},
        "history_length": 8,
    }
    return CascadeConfig.model_validate({**base, **changes})
