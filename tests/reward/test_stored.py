"""The reward model on disk: what is loaded predicts what was stored, item vectors included; the rest is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load as load_tensors

from greenflow_ray.chains import ChainSpace, Stage
from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.errors import ArtifactError
from greenflow_ray.models.sealed import read_manifest
from greenflow_ray.reward.network.fast import FastReward
from greenflow_ray.reward.network.model import RewardNet, layout
from greenflow_ray.reward.stored import FACTORS, WEIGHTS, NetworkReward, RewardManifest, load_reward
from greenflow_ray.reward.traits import RewardFeatures
from tests.reward.storing import store
from tests.worlds import make_world

WORLD = make_world()
CONFIG = RewardConfig(hidden=8, monotone=False)


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Path, NetworkReward]:
    factors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    vocabulary = len(WORLD.dataset.users.vocabulary)
    features = RewardFeatures.of(WORLD.dataset.catalog, vocabulary, factors)
    torch.manual_seed(0)
    net = RewardNet(layout(WORLD.space), features.width, CONFIG).eval()
    with torch.no_grad():
        net.mean.normal_()
        net.scale.fill_(3.0)
    store(tmp_path, net, factors, WORLD, CONFIG, {"bias": 1.0})
    return tmp_path, NetworkReward(FastReward(net), features)


Stored = tuple[Path, NetworkReward]


def test_what_is_loaded_predicts_what_was_stored(stored: Stored) -> None:
    folder, before = stored
    loaded = load_reward(folder, WORLD.space, WORLD.dataset.catalog)
    requests = TableFeatures(WORLD.dataset.users).lookup(np.array([0, 5, 17, 10**6]))
    np.testing.assert_array_equal(loaded.predict(requests), before.predict(requests))
    assert loaded.predict(requests).shape == (4, len(WORLD.space))
    assert loaded.flops_per_request == before.flops_per_request
    state = load_tensors((folder / "reward.safetensors").read_bytes())
    assert state[FACTORS].shape == (60, 4)
    assert sorted(p.name for p in folder.iterdir()) == ["reward.json", "reward.safetensors"]


def test_the_factors_matter(stored: Stored) -> None:
    folder, before = stored
    other = RewardFeatures.of(WORLD.dataset.catalog, 5, np.zeros((60, 4), dtype=np.float32))
    requests = TableFeatures(WORLD.dataset.users).rows(np.array([5]))
    changed = NetworkReward(load_reward(folder, WORLD.space, WORLD.dataset.catalog)._net, other)
    assert not np.allclose(changed.predict(requests), before.predict(requests))


@pytest.mark.parametrize("where", [0, 200, -1])
def test_altered_weights_are_refused(stored: Stored, where: int) -> None:
    path = stored[0] / "reward.safetensors"
    blob = bytearray(path.read_bytes())
    blob[where] ^= 1
    path.write_bytes(blob)
    with pytest.raises(
        ArtifactError, match=r"reward\.safetensors: SHA-256 is .*, reward\.json says .* run `greenflow train` again"
    ):
        load_reward(stored[0], WORLD.space, WORLD.dataset.catalog)


def test_missing_or_foreign_files_are_told(stored: Stored, tmp_path: Path) -> None:
    folder = stored[0]
    with pytest.raises(ArtifactError, match="run `greenflow train` first"):
        load_reward(tmp_path / "nothing", WORLD.space, WORLD.dataset.catalog)
    (folder / "reward.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"reward\.safetensors: cannot be read"):
        load_reward(folder, WORLD.space, WORLD.dataset.catalog)
    for text in ("{}", "nonsense"):
        (folder / "reward.json").write_text(text)
        with pytest.raises(ArtifactError, match="not a reward model's manifest"):
            read_manifest(folder / WEIGHTS, RewardManifest)


def test_other_chains_and_other_versions_are_refused(stored: Stored) -> None:
    folder = stored[0]
    first = WORLD.space.stages[-1]
    fewer = ChainSpace((*WORLD.space.stages[:-1], Stage(first.name, first.pool, (5, 10))))
    with pytest.raises(ArtifactError, match="fitted to other chains"):
        load_reward(folder, fewer, WORLD.dataset.catalog)
    manifest = json.loads((folder / "reward.json").read_text())
    (folder / "reward.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    with pytest.raises(ArtifactError, match="schema 1, this version reads 2"):
        load_reward(folder, WORLD.space, WORLD.dataset.catalog)
