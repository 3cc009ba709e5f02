"""Trained models on disk: safetensors and a manifest with its SHA-256, written atomically, verified when loaded."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors

from greenflow_ray.config import CascadeConfig, ModelConfig, Section
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.datasets.storage import file_sha256
from greenflow_ray.errors import ArtifactError, ConfigError
from greenflow_ray.files import whole
from greenflow_ray.imports import import_object
from greenflow_ray.keep import digest
from greenflow_ray.models import catalogue, costs
from greenflow_ray.models.base import BareScorer, Scorer
from greenflow_ray.models.inputs import Sizes
from greenflow_ray.models.network import Network, TorchScorer, scorer_for

SCHEMA = 1
_CURE = "run `greenflow train` again"


class ModelManifest(Section):
    """What lies beside the weights: what they are, what they were trained on, and how good they are."""

    schema_version: int = SCHEMA
    name: str
    stage: str
    architecture: str
    args: dict[str, Any]
    history_length: int
    user_tokens: int
    sha256: str
    digest: str
    catalog: str
    data: str
    flops_per_item: int
    flops_per_request: int
    parameters: int
    auc: float


def weights_path(config: CascadeConfig, model: ModelConfig) -> Path:
    """Where a model's weights lie: as configured, or else in the run's folder."""
    return model.weights or config.paths.models / f"{model.name}.safetensors"


def fingerprints(config: CascadeConfig) -> list[str]:
    """:func:`fingerprint` of every model."""
    return [fingerprint(config, model) for stage in config.stages for model in stage.pool]


def fingerprint(config: CascadeConfig, model: ModelConfig) -> str:
    """What decides a model's scores: the checksum of its weights (a file or a folder), if it has any.

    Of a model with a factory of its own also the factory, its arguments, and the checksum of the factory's module.
    """
    weights = weights_path(config, model)
    files = sorted(f for f in weights.rglob("*") if f.is_file()) if weights.is_dir() else [weights]
    held = [file_sha256(file) for file in files if file.exists()]
    if held and model.factory == catalogue.FACTORY:
        return held[0]
    import_object(model.factory, f"model {model.name!r}: factory")
    module = sys.modules[model.factory.partition(":")[0]].__file__
    code = file_sha256(Path(module)) if module is not None else ""
    return digest(model.factory, json.dumps(model.args, sort_keys=True, default=str), code, *held)


def cost_key(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> str:
    """Digest of what decides a model's cost: its fingerprint, its stage's place and item scales, and the corpus."""
    place, stage = next((i, s) for i, s in enumerate(config.stages) if any(m.name == model.name for m in s.pool))
    return digest(fingerprint(config, model), str(place), str(stage.scales), catalog_digest(catalog))


def manifest_path(weights: Path) -> Path:
    """The manifest that belongs to a weights file."""
    return weights.with_suffix(".json")


def catalog_digest(catalog: Catalog) -> str:
    """Digest of the corpus a model was trained for: its items, tokens, vocabulary and popularity."""
    sha = hashlib.sha256("\n".join(catalog.vocabulary).encode())
    for array in (catalog.item_ids, catalog.tokens.values, catalog.tokens.offsets, catalog.popularity):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def dump_weights(network: Network) -> bytes:
    """The network's parameters as safetensors."""
    blob: bytes = dump_tensors({k: v.detach().contiguous() for k, v in network.state_dict().items()})
    return blob


def save(weights: Path, blob: bytes, manifest: ModelManifest) -> None:
    """Write weights and manifest, each atomically, the weights first: a torn pair fails its checksum."""
    for path, content in (
        (weights, blob),
        (manifest_path(weights), (json.dumps(manifest.model_dump(mode="json"), indent=1) + "\n").encode()),
    ):
        with whole(path) as part:
            part.write_bytes(content)


def read_manifest(weights: Path) -> ModelManifest:
    """The manifest beside ``weights``. Raises ArtifactError if it is missing or foreign."""
    path = manifest_path(weights)
    try:
        manifest = ModelManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({type(error).__name__}); run `greenflow train` first") from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a model manifest ({error.errors()[0]['msg']}); {_CURE}") from error
    if manifest.schema_version != SCHEMA:
        raise ArtifactError(f"{path}: schema {manifest.schema_version}, this version reads {SCHEMA}; {_CURE}")
    return manifest


def read_weights(weights: Path, manifest: ModelManifest) -> bytes:
    """The weights' bytes. Raises ArtifactError if they are missing or their SHA-256 is not the manifest's."""
    try:
        blob = weights.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{weights}: cannot be read ({type(error).__name__}); {_CURE}") from error
    found = hashlib.sha256(blob).hexdigest()
    if found != manifest.sha256:
        raise ArtifactError(f"{weights}: SHA-256 is {found[:12]}…, its manifest says {manifest.sha256[:12]}…; {_CURE}")
    return blob


def load_scorer(weights: Path, catalog: Catalog, **args: Any) -> TorchScorer:
    """Load a model that `greenflow train` wrote; ``args``, where given, must be those it was trained with.

    Raises ArtifactError if weights or manifest are missing, altered, not finite, or made for another corpus.
    """
    weights = Path(weights)
    manifest = read_manifest(weights)
    blob = read_weights(weights, manifest)
    if manifest.catalog != catalog_digest(catalog):
        raise ArtifactError(f"{weights}: trained for another corpus than the prepared data's; {_CURE}")
    given = {k: v for k, v in args.items() if k != "architecture"}
    trained = catalogue.parse_args(manifest.architecture, manifest.args, str(manifest_path(weights)))
    if catalogue.parse_args(manifest.architecture, {**manifest.args, **given}, str(weights)) != trained:
        raise ArtifactError(f"{weights}: trained with other args than the configuration's; {_CURE}")
    sizes = Sizes(len(catalog), len(catalog.vocabulary), manifest.user_tokens, manifest.history_length)
    network = catalogue.build(manifest.architecture, trained, sizes, catalog)
    try:
        state = parse_tensors(blob)
        network.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ArtifactError(f"{weights}: does not fit its manifest ({reason}); {_CURE}") from error
    if not all(bool(torch.isfinite(t).all()) for t in state.values()):
        raise ArtifactError(f"{weights}: holds values that are not finite; {_CURE}")
    return scorer_for(network)


def load_pool(config: CascadeConfig, catalog: Catalog) -> dict[str, Scorer]:
    """Every model of every stage by name, made by its configured factory, with the costs that are in force.

    Raises ConfigError if a factory cannot be imported or makes no scorer, ArtifactError for bad weights or costs.
    """
    return {model.name: load_model(config, model, catalog) for stage in config.stages for model in stage.pool}


def load_model(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> Scorer:
    """One model, as :func:`load_pool` loads it: whatever builds a chain space sees the same costs."""
    scorer = make_scorer(config, model, catalog)
    if config.costs != "declared":
        return costs.costed(scorer, costs.in_force(config, measured(config, model, catalog)))
    if costs.declared(scorer, model.name) is None or not isinstance(scorer, Scorer):
        raise ConfigError(
            f"model {model.name!r}: a {type(scorer).__name__} does not say what it costs; give it flops_per_item and "
            "flops_per_request, or set `costs: timed`"
        )
    return scorer


def make_scorer(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> BareScorer:
    """What a model's factory makes, costs aside."""
    factory = import_object(model.factory, f"model {model.name!r}: factory")
    scorer = factory(weights_path(config, model), catalog, **model.args)
    if not isinstance(scorer, BareScorer):
        raise ConfigError(
            f"model {model.name!r}: factory {model.factory!r} made a {type(scorer).__name__}, which is no Scorer; "
            "it needs score(requests, candidates)"
        )
    return scorer


def measured(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> costs.ModelCosts:
    """What calibration found of one model. Raises ArtifactError if that is missing, or of something else."""
    return costs.measured(config, model.name, cost_key(config, model, catalog))


def calibrated(config: CascadeConfig, catalog: Catalog) -> bool:
    """Whether the run's measured costs are those of these very models."""
    try:
        for stage in config.stages:
            for model in stage.pool:
                measured(config, model, catalog)
    except ArtifactError:
        return False
    return True
