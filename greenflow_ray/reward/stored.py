"""Stores and loads the reward model: sealed weights, with the item vectors that its features need among them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets.schema import F32, Catalog, RequestBatch
from greenflow_ray.errors import ArtifactError
from greenflow_ray.models.sealed import Manifest, fill, read_manifest, read_weights, save
from greenflow_ray.reward.network.fast import FastReward
from greenflow_ray.reward.network.model import RewardNet, layout
from greenflow_ray.reward.traits import RewardFeatures

WEIGHTS = "reward.safetensors"  # the weights' name in the reward model's folder
FACTORS = "features.factors"  # name, among the weights, of the item vectors that the features need


class RewardManifest(Manifest):
    """What the weights belong to; weights are refused where it does not match."""

    KIND: ClassVar[str] = "reward model's"
    SCHEMA: ClassVar[int] = 2

    schema_version: int = SCHEMA
    chains: str
    context_vocabulary: int
    config: RewardConfig
    calibration: dict[str, object]


class NetworkReward:
    """A :class:`~greenflow_ray.reward.traits.RewardEstimator` over the recursive multi-basis network."""

    def __init__(self, net: FastReward, features: RewardFeatures) -> None:
        self._net, self._features = net, features
        self.flops_per_request = net.flops_per_request

    def predict(self, requests: RequestBatch) -> F32:
        """Expected clicks of every chain, float32 ``[B, J]``."""
        return self._net.evaluate(self._features(requests))


def save_reward(folder: Path, net: RewardNet, factors: F32, manifest: RewardManifest) -> RewardManifest:
    """Write the network's weights and its features' item vectors; returns the manifest with their checksum."""
    return save(folder / WEIGHTS, {**net.state_dict(), FACTORS: torch.from_numpy(factors)}, manifest)


def load_reward(folder: Path, space: ChainSpace, catalog: Catalog) -> NetworkReward:
    """Load and verify. Raises ArtifactError if weights are missing, altered, or belong to other chains."""
    path = folder / WEIGHTS
    manifest = read_manifest(path, RewardManifest)
    tensors = read_weights(path, manifest)
    if manifest.chains != space.digest:
        other = "was fitted to other chains than the configuration declares"
        raise ArtifactError(f"{path}: {other}; run `greenflow train`")
    features = RewardFeatures.of(catalog, manifest.context_vocabulary, tensors.pop(FACTORS).numpy())
    net = RewardNet(layout(space), features.width, manifest.config)
    fill(net, tensors, path)
    return NetworkReward(FastReward(net), features)
