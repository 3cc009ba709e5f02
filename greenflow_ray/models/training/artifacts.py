"""Trained models: the four architectures by name, what lies beside weights, and how they become scorers again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from greenflow_ray.config import ModelConfig
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.errors import ArtifactError, ConfigError
from greenflow_ray.models.networks.attentive import Dien, Din
from greenflow_ray.models.networks.network import Network, TorchScorer, scorer_for
from greenflow_ray.models.networks.tensors import NetworkArgs, Sizes
from greenflow_ray.models.networks.towers import Dssm, Ydnn
from greenflow_ray.models.pool import catalog_digest
from greenflow_ray.models.sealed import CURE, Manifest, fill, manifest_path, read_manifest, read_weights

ARCHITECTURES: dict[str, type[Network]] = {"dssm": Dssm, "ydnn": Ydnn, "din": Din, "dien": Dien}


class ModelManifest(Manifest):
    """What lies beside a model's weights: what they are, what they were trained on, and how good they are."""

    KIND: ClassVar[str] = "model"
    SCHEMA: ClassVar[int] = 1

    schema_version: int = SCHEMA
    name: str
    stage: str
    architecture: str
    args: dict[str, Any]
    history_length: int
    user_tokens: int
    catalog: str
    data: str
    flops_per_item: int
    flops_per_request: int
    parameters: int
    auc: float


def load_scorer(weights: Path, catalog: Catalog, **args: Any) -> TorchScorer:
    """Load a model that `greenflow train` wrote; ``args``, where given, must be those it was trained with.

    Raises ArtifactError if weights or manifest are missing, altered, not finite, or made for another corpus.
    """
    weights = Path(weights)
    manifest = read_manifest(weights, ModelManifest)
    tensors = read_weights(weights, manifest)
    if manifest.catalog != catalog_digest(catalog):
        raise ArtifactError(f"{weights}: trained for another corpus than the prepared data's; {CURE}")
    given = {k: v for k, v in args.items() if k != "architecture"}
    trained = _parsed(manifest.architecture, manifest.args, str(manifest_path(weights)))
    if _parsed(manifest.architecture, {**manifest.args, **given}, str(weights)) != trained:
        raise ArtifactError(f"{weights}: trained with other args than the configuration's; {CURE}")
    sizes = Sizes(len(catalog), len(catalog.vocabulary), manifest.user_tokens, manifest.history_length)
    network = ARCHITECTURES[manifest.architecture](trained, sizes, catalog)
    fill(network, tensors, weights)
    return scorer_for(network)


def resolve(model: ModelConfig) -> tuple[str, NetworkArgs]:
    """Architecture (``args.architecture``, or what the name begins with) and settings. Raises ConfigError."""
    given = dict(model.args)
    name = given.pop("architecture", next((a for a in ARCHITECTURES if model.name.startswith(a)), None))
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"model {model.name!r}: architecture {name!r} is unknown; set args.architecture to one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    return name, _parsed(name, given, f"model {model.name!r}")


def _parsed(architecture: str, given: dict[str, Any], where: str) -> NetworkArgs:
    """Settings of an architecture. Raises ConfigError naming the wrong key."""
    try:
        return ARCHITECTURES[architecture].Args.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in ("args", *first["loc"]))
        raise ConfigError(f"{where}: {place}: {first['msg']}; correct or remove it") from error
