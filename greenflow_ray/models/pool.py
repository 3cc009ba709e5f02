"""The cascade's model instances as configured, whatever made them, and their chains; torch only if one needs it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import TRAINED, UNRANKED, CascadeConfig, ModelConfig
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.datasets.storage import file_sha256
from greenflow_ray.errors import ArtifactError, ConfigError
from greenflow_ray.models.costing import costs
from greenflow_ray.models.scorer import AsRanked, BareScorer, Scorer
from greenflow_ray.support.imports import import_object
from greenflow_ray.support.keep import digest


def load_pool(config: CascadeConfig, catalog: Catalog) -> dict[str, Scorer]:
    """Every model by name, with the costs in force. Raises ConfigError for a factory, ArtifactError for files."""
    return {model.name: load_model(config, model, catalog) for stage in config.stages for model in stage.pool}


def load_model(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> Scorer:
    """One model, as :func:`load_pool` loads it: whatever builds a chain space sees the same costs."""
    scorer = make_scorer(config, model, catalog)
    if isinstance(scorer, AsRanked):
        return scorer
    if config.costs != "declared":
        return costs.Costed(scorer, costs.in_force(config, measured(config, model, catalog)))
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


def chain_space(config: CascadeConfig, pool: Mapping[str, Scorer], n_items: int) -> ChainSpace:
    """All chains over ``n_items``, at the models' costs. Raises ConfigError: a scale too large, a model missing."""
    config.check_corpus(n_items)
    stages = []
    for stage in config.stages:
        missing = [m.name for m in stage.pool if m.name not in pool]
        if missing:
            raise ConfigError(f"stage {stage.name!r}: model {missing[0]!r} is not loaded; run `greenflow train` first")
        models = tuple(
            ModelCost(m.name, int(pool[m.name].flops_per_item), int(pool[m.name].flops_per_request), m.scales)
            for m in stage.pool
        )
        stages.append(Stage(stage.name, models, (n_items,) if stage.scales == "corpus" else stage.scales))
    return ChainSpace(tuple(stages))


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
    if model.factory == UNRANKED:  # there is no model, whatever its module says
        return digest(UNRANKED)
    weights = weights_path(config, model)
    files = sorted(f for f in weights.rglob("*") if f.is_file()) if weights.is_dir() else [weights]
    held = [file_sha256(file) for file in files if file.exists()]
    if held and model.factory == TRAINED:
        return held[0]
    import_object(model.factory, f"model {model.name!r}: factory")
    module = sys.modules[model.factory.partition(":")[0]].__file__
    code = file_sha256(Path(module)) if module is not None else ""
    return digest(model.factory, json.dumps(model.args, sort_keys=True, default=str), code, *held)


def catalog_digest(catalog: Catalog) -> str:
    """Digest of the corpus a model was trained for: its items, tokens, vocabulary and popularity."""
    sha = hashlib.sha256("\n".join(catalog.vocabulary).encode())
    for array in (catalog.item_ids, catalog.tokens.values, catalog.tokens.offsets, catalog.popularity):
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def cost_key(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> str:
    """Digest of what decides a model's cost: its fingerprint, its stage's place and item scales, and the corpus."""
    place, stage = next((i, s) for i, s in enumerate(config.stages) if any(m.name == model.name for m in s.pool))
    return digest(fingerprint(config, model), str(place), str(stage.scales), catalog_digest(catalog))


def measured(config: CascadeConfig, model: ModelConfig, catalog: Catalog) -> costs.ModelCosts:
    """What calibration found of one model. Raises ArtifactError if that is missing, or of something else."""
    why = f"holds no model {model.name!r}"
    for found in costs.read(config).models:
        if found.name == model.name:
            if found.key == cost_key(config, model, catalog):
                return found
            why = f"model {model.name!r} was measured with other weights, code, arguments, item scales or data"
    raise ArtifactError(f"{config.paths.costs}: {why}; {costs.cure(config)}")


def work_seconds(config: CascadeConfig, catalog: Catalog) -> dict[str, float]:
    """CPU-seconds a request of every model at its largest scale, as calibration timed them; empty: it did not."""
    try:
        found = [measured(config, model, catalog) for stage in config.stages for model in stage.pool]
    except ArtifactError:
        return {}
    return {model.name: model.fit.seconds(max(model.sizes), 1) for model in found}


def calibrated(config: CascadeConfig, catalog: Catalog) -> bool:
    """Whether the run's measured costs are those of these very models."""
    return bool(work_seconds(config, catalog))
