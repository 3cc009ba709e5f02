"""Trained models on disk: safetensors and a manifest with its SHA-256, written atomically, verified when loaded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors

from greenflow_ray.config import Section
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.errors import ArtifactError
from greenflow_ray.models.networks import architectures
from greenflow_ray.models.networks.network import Network, TorchScorer, scorer_for
from greenflow_ray.models.networks.tensors import Sizes
from greenflow_ray.models.pool import catalog_digest
from greenflow_ray.support.files import whole

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


def manifest_path(weights: Path) -> Path:
    """The manifest that belongs to a weights file."""
    return weights.with_suffix(".json")


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
    trained = architectures.parse_args(manifest.architecture, manifest.args, str(manifest_path(weights)))
    if architectures.parse_args(manifest.architecture, {**manifest.args, **given}, str(weights)) != trained:
        raise ArtifactError(f"{weights}: trained with other args than the configuration's; {_CURE}")
    sizes = Sizes(len(catalog), len(catalog.vocabulary), manifest.user_tokens, manifest.history_length)
    network = architectures.build(manifest.architecture, trained, sizes, catalog)
    try:
        state = parse_tensors(blob)
        network.load_state_dict(state)
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ArtifactError(f"{weights}: does not fit its manifest ({reason}); {_CURE}") from error
    if not all(bool(torch.isfinite(t).all()) for t in state.values()):
        raise ArtifactError(f"{weights}: holds values that are not finite; {_CURE}")
    return scorer_for(network)
