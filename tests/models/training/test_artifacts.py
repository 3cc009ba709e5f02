"""Artifacts: verified before use, refused with a cure."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from greenflow_ray.config import CascadeConfig, ModelConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Dataset
from greenflow_ray.errors import ArtifactError, ConfigError
from greenflow_ray.models.pool import load_pool
from greenflow_ray.models.sealed import manifest_path
from greenflow_ray.models.training import artifacts
from greenflow_ray.models.training.artifacts import load_scorer
from greenflow_ray.models.training.train import train
from tests.models.worlds import candidates, config, requests


@pytest.fixture
def run(tmp_path: Path) -> tuple[CascadeConfig, Dataset, Path]:
    stages = [
        {"name": "recall", "pool": [{"name": "dssm"}], "scales": "corpus"},
        {"name": "ranking", "pool": [{"name": "ydnn"}], "scales": [20]},
    ]
    declared = config(tmp_path, stages=stages, data={"users": 100, "items": 100})
    prepare(declared)
    train(declared)
    return declared, storage.load(declared.paths.data), declared.paths.models / "ydnn.safetensors"


Run = tuple[CascadeConfig, Dataset, Path]


def test_a_loaded_model_scores_as_trained(run: Run) -> None:
    declared, dataset, weights = run
    pool = load_pool(declared, dataset.catalog)
    rows = candidates(dataset, [9, 9])
    one = pool["ydnn"].score(requests(dataset, 2), rows)
    np.testing.assert_array_equal(one, load_scorer(weights, dataset.catalog).score(requests(dataset, 2), rows))
    assert one.std() > 0
    assert sorted(pool) == ["dssm", "ydnn"]


def test_altered_weights_are_refused(run: Run) -> None:
    _, dataset, weights = run
    blob = bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(bytes(blob))
    with pytest.raises(ArtifactError, match=r"ydnn\.safetensors: SHA-256 is .* run `greenflow train` again"):
        load_scorer(weights, dataset.catalog)


def test_missing_files_are_told(run: Run, tmp_path: Path) -> None:
    _, dataset, weights = run
    with pytest.raises(ArtifactError, match="run `greenflow train` first"):
        load_scorer(tmp_path / "nothing.safetensors", dataset.catalog)
    weights.unlink()
    with pytest.raises(ArtifactError, match=r"ydnn\.safetensors: cannot be read"):
        load_scorer(weights, dataset.catalog)


@pytest.mark.parametrize("text", ["{}", "nonsense", '{"schema_version": 1, "surprise": 2}'])
def test_a_foreign_manifest_is_refused(run: Run, text: str) -> None:
    _, dataset, weights = run
    manifest_path(weights).write_text(text)
    with pytest.raises(ArtifactError, match="not a model manifest"):
        load_scorer(weights, dataset.catalog)


def test_another_corpus_or_other_args_are_refused(run: Run) -> None:
    _, dataset, weights = run
    other = replace(dataset.catalog, popularity=dataset.catalog.popularity + 1)
    with pytest.raises(ArtifactError, match="trained for another corpus"):
        load_scorer(weights, other)
    with pytest.raises(ArtifactError, match="trained with other args"):
        load_scorer(weights, dataset.catalog, first=32)
    load_scorer(weights, dataset.catalog, architecture="ydnn", first=96)


def reseal(weights: Path) -> None:
    manifest = json.loads(manifest_path(weights).read_text())
    manifest["sha256"] = storage.file_sha256(weights)
    manifest_path(weights).write_text(json.dumps(manifest))


def test_weights_that_are_not_finite_or_do_not_fit_are_refused(run: Run) -> None:
    _, dataset, weights = run
    held = load_file(weights)
    held["head.0.bias"] = torch.full_like(held["head.0.bias"], float("nan"))
    save_file(held, weights)
    reseal(weights)
    with pytest.raises(ArtifactError, match="not finite"):
        load_scorer(weights, dataset.catalog)
    del held["head.0.bias"]
    save_file(held, weights)
    reseal(weights)
    with pytest.raises(ArtifactError, match="does not fit its manifest"):
        load_scorer(weights, dataset.catalog)


def test_settings_are_read_strictly() -> None:
    name, args = artifacts.resolve(ModelConfig(name="din-small", args={"attention": 8, "mlp": [32, 16]}))
    assert (name, args.model_dump()["attention"], args.model_dump()["mlp"]) == ("din", 8, (32, 16))
    assert artifacts.resolve(ModelConfig(name="x", args={"architecture": "dien"}))[0] == "dien"
    with pytest.raises(ConfigError, match=r"model 'x': architecture None is unknown; set args\.architecture"):
        artifacts.resolve(ModelConfig(name="x"))
    with pytest.raises(ConfigError, match=r"model 'din': args\.heads: Extra inputs"):
        artifacts.resolve(ModelConfig(name="din", args={"heads": 2}))
    with pytest.raises(ConfigError, match=r"args\.features"):
        artifacts.resolve(ModelConfig(name="din", args={"features": ["price"]}))
