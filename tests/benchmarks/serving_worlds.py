"""What the serving benches serve: no-op scorers, and the paper's four models at full size with untrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Split
from greenflow_ray.models import pool, sealed
from greenflow_ray.models.networks.tensors import Sizes
from greenflow_ray.models.pool import chain_space
from greenflow_ray.models.training import artifacts
from greenflow_ray.models.training.artifacts import ModelManifest
from greenflow_ray.nearline.repricing.first import publish_first
from greenflow_ray.reward.stored import load_reward
from greenflow_ray.reward.teaching import train_reward

EXPOSURE = 20


def noop(run: Path, **sections: Any) -> CascadeConfig:
    """Three stages whose scorers do nothing, over the synthetic catalog: what is left is the cost of serving."""
    model = {"factory": "tests.serving.fakes:noop"}
    values: dict[str, Any] = {
        "name": "no-op",
        "run": str(run),
        "exposure": EXPOSURE,
        "stages": [
            {"name": "recall", "pool": [{"name": "one", **model}], "scales": [200]},
            {"name": "pre-ranking", "pool": [{"name": "two", **model}], "scales": [50, 100]},
            {"name": "ranking", "pool": [{"name": "three", **model}], "scales": [20, 40]},
        ],
        "reward": {"factory": "tests.serving.fakes:reward"},
        "data": {"users": 400, "items": 400},
        "budget": {"policy": "fixed", "fixed_chain": "fullest"},
        **sections,
    }
    config = configuration.validated(values, "no-op")
    prepare(config)
    return config


def full(run: Path, *, reward: bool, **sections: Any) -> CascadeConfig:
    """The paper-sized cascade (Table 1), untrained; ``reward`` also fits the reward model to what its chains return."""
    base = configuration.load(configuration.builtin("full")).model_dump(mode="json")
    values = {
        **base,
        "run": str(run),
        "data": {"users": 1000, "items": 2400},
        "budget": {"policy": "fixed", "fixed_chain": "dssm:2400>ydnn:1100>din:120"},
        "serving": {"batch_flops": 32e9, "models": {"din": {"replicas": 2}, "dien": {"replicas": 2}}},
        **sections,
    }
    config = configuration.validated(values, "full")
    dataset = prepare(config)
    sizes = Sizes.of(dataset, config.history_length)
    for stage in config.stages:
        for model in stage.pool:
            path = pool.weights_path(config, model)
            if path.exists():
                continue
            architecture, args = artifacts.resolve(model)
            torch.manual_seed(0)
            network = artifacts.ARCHITECTURES[architecture](args, sizes, dataset.catalog)
            manifest = ModelManifest(
                name=model.name,
                stage=stage.name,
                architecture=architecture,
                args=args.model_dump(mode="json"),
                history_length=config.history_length,
                user_tokens=sizes.user_tokens,
                digest="untrained",
                catalog=pool.catalog_digest(dataset.catalog),
                data=dataset.digest,
                flops_per_item=network.flops.per_item,
                flops_per_request=network.flops.per_request,
                parameters=sum(p.numel() for p in network.parameters()),
                auc=0.5,
            )
            sealed.save(path, network.state_dict(), manifest)
    if reward:
        scorers = pool.load_pool(config, dataset.catalog)
        space = chain_space(config, scorers, len(dataset.catalog))
        outcome = train_reward(config, dataset, scorers, space)
        estimator = load_reward(config.paths.reward, space, dataset.catalog)
        publish_first(config, dataset, space, estimator, outcome.manifest)
    return config


def users(config: CascadeConfig, n: int, seed: int = 0) -> list[int]:
    """A trace of final users, drawn with replacement."""
    dataset = storage.load(config.paths.data)
    ids = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    return [int(u) for u in np.random.default_rng(seed).choice(ids, n)]
