"""Trained models on disk: what lies beside their weights, and how they become scorers again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.errors import ArtifactError
from greenflow_ray.models.networks import architectures
from greenflow_ray.models.networks.network import TorchScorer, scorer_for
from greenflow_ray.models.networks.tensors import Sizes
from greenflow_ray.models.pool import catalog_digest
from greenflow_ray.models.sealed import Manifest, fill, manifest_path, read_manifest, read_weights

_CURE = "run `greenflow train` again"


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
        raise ArtifactError(f"{weights}: trained for another corpus than the prepared data's; {_CURE}")
    given = {k: v for k, v in args.items() if k != "architecture"}
    trained = architectures.parse_args(manifest.architecture, manifest.args, str(manifest_path(weights)))
    if architectures.parse_args(manifest.architecture, {**manifest.args, **given}, str(weights)) != trained:
        raise ArtifactError(f"{weights}: trained with other args than the configuration's; {_CURE}")
    sizes = Sizes(len(catalog), len(catalog.vocabulary), manifest.user_tokens, manifest.history_length)
    network = architectures.build(manifest.architecture, trained, sizes, catalog)
    fill(network, tensors, weights)
    return scorer_for(network)
