"""Stores and loads the reward model: safetensors weights beside a JSON manifest with their SHA-256."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets.schema import Catalog, RequestBatch
from greenflow_ray.errors import ArtifactError
from greenflow_ray.reward.network.fast import FastReward
from greenflow_ray.reward.network.layout import layout
from greenflow_ray.reward.network.model import RewardNet
from greenflow_ray.reward.traits import RewardFeatures
from greenflow_ray.support.files import whole

SCHEMA = 2
FACTORS = "features.factors"
"""Name, among the weights, of the item vectors that the features need."""


class RewardManifest(BaseModel):
    """What the weights belong to; weights are refused where it does not match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA
    sha256: str
    digest: str
    chains: str
    context_vocabulary: int
    config: RewardConfig
    calibration: dict[str, object]


class NetworkReward:
    """A :class:`~greenflow_ray.reward.contract.RewardEstimator` over the recursive multi-basis network."""

    def __init__(self, net: FastReward, features: RewardFeatures) -> None:
        self._net = net
        self._features = features
        self.flops_per_request = net.flops_per_request

    def predict(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        """Expected clicks of every chain, float32 ``[B, J]``."""
        return self._net.evaluate(self._features(requests))


def save_reward(folder: Path, blob: bytes, manifest: RewardManifest) -> None:
    """Write weights, then the manifest that names their checksum; each file appears whole or not at all."""
    with whole(folder / "reward.safetensors") as part:
        part.write_bytes(blob)
    with whole(folder / "reward.json") as part:
        part.write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def serialise(net: RewardNet, factors: npt.NDArray[np.float32]) -> bytes:
    """The network's weights, and the item vectors behind its features, as safetensors."""
    tensors = {k: v.contiguous() for k, v in net.state_dict().items()}
    blob: bytes = save_tensors({**tensors, FACTORS: torch.from_numpy(factors).contiguous()})
    return blob


def read_manifest(folder: Path) -> RewardManifest:
    """The manifest of a folder. Raises ArtifactError if there is none, or it is foreign or of another version."""
    path = folder / "reward.json"
    try:
        manifest = RewardManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path}: no reward model; run `greenflow train` first") from error
    except (ValidationError, json.JSONDecodeError) as error:
        raise ArtifactError(f"{path}: not a reward model's manifest; run `greenflow train --force`") from error
    if manifest.schema_version != SCHEMA:
        raise ArtifactError(
            f"{path}: schema {manifest.schema_version}, this version reads {SCHEMA}; run `greenflow train` again"
        )
    return manifest


def load_reward(folder: Path, space: ChainSpace, catalog: Catalog) -> NetworkReward:
    """Load and verify. Raises ArtifactError if weights are missing, altered, or belong to other chains."""
    manifest = read_manifest(folder)
    path = folder / "reward.safetensors"
    try:
        blob = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read; run `greenflow train` again") from error
    if hashlib.sha256(blob).hexdigest() != manifest.sha256:
        raise ArtifactError(f"{path}: SHA-256 does not match {path.with_suffix('.json').name}; run `greenflow train`")
    if manifest.chains != space.digest:
        raise ArtifactError(
            f"{path}: was fitted to other chains than the configuration declares; run `greenflow train`"
        )
    state = load_tensors(blob)
    features = RewardFeatures.of(catalog, manifest.context_vocabulary, state.pop(FACTORS).numpy())
    config = manifest.config
    net = RewardNet(
        layout(space),
        features.width,
        config.hidden,
        config.bases,
        recursive=config.recursive,
        multi_basis=config.multi_basis,
        monotone=config.monotone,
    )
    net.load_state_dict(state)
    return NetworkReward(FastReward(net), features)
