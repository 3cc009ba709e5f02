"""Weights on disk: safetensors beside a JSON manifest with their SHA-256, written whole, verified when read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as dump_tensors
from torch import Tensor, nn

from greenflow_ray.config import Section
from greenflow_ray.errors import ArtifactError
from greenflow_ray.support.files import whole

CURE = "run `greenflow train` again"


class Manifest(Section):
    """What lies beside weights: ``sha256`` is theirs, ``digest`` that of all they were made from."""

    KIND: ClassVar[str]
    SCHEMA: ClassVar[int]

    schema_version: int
    sha256: str = ""
    digest: str


M = TypeVar("M", bound=Manifest)


def manifest_path(weights: Path) -> Path:
    """The manifest that belongs to a weights file."""
    return weights.with_suffix(".json")


def save(weights: Path, tensors: Mapping[str, Tensor], manifest: M) -> M:
    """Write weights, then the manifest with their checksum, which is returned; a torn pair fails its checksum."""
    blob = dump_tensors({name: tensor.detach().contiguous() for name, tensor in tensors.items()})
    manifest = manifest.model_copy(update={"sha256": hashlib.sha256(blob).hexdigest()})
    with whole(weights) as part:
        part.write_bytes(blob)
    with whole(manifest_path(weights)) as part:
        part.write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return manifest


def read_manifest(weights: Path, kind: type[M]) -> M:
    """The manifest beside ``weights``. Raises ArtifactError if it is missing, foreign or of another version."""
    path = manifest_path(weights)
    try:
        manifest = kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({type(error).__name__}); run `greenflow train` first") from error
    except ValidationError as error:
        raise ArtifactError(f"{path}: not a {kind.KIND} manifest ({error.errors()[0]['msg']}); {CURE}") from error
    if manifest.schema_version != kind.SCHEMA:
        raise ArtifactError(f"{path}: schema {manifest.schema_version}, this version reads {kind.SCHEMA}; {CURE}")
    return manifest


def read_weights(weights: Path, manifest: Manifest) -> dict[str, Tensor]:
    """The tensors by name. Raises ArtifactError if they are missing, altered, or hold a value that is not finite."""
    try:
        blob = weights.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{weights}: cannot be read ({type(error).__name__}); {CURE}") from error
    found, told = hashlib.sha256(blob).hexdigest(), manifest_path(weights).name
    if found != manifest.sha256:
        raise ArtifactError(f"{weights}: SHA-256 is {found[:12]}…, {told} says {manifest.sha256[:12]}…; {CURE}")
    try:
        tensors: dict[str, Tensor] = parse_tensors(blob)
    except SafetensorError as error:
        raise _misfit(weights, error) from error
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise ArtifactError(f"{weights}: holds values that are not finite; {CURE}")
    return tensors


def held(weights: Path, kind: type[M], digest: str) -> M | None:
    """The manifest of intact weights that were made from ``digest``, if there are any."""
    try:
        manifest = read_manifest(weights, kind)
        if manifest.digest != digest:
            return None
        read_weights(weights, manifest)
        return manifest
    except ArtifactError:
        return None


def fill(network: nn.Module, tensors: Mapping[str, Tensor], weights: Path) -> None:
    """Give ``network`` what was read from ``weights``. Raises ArtifactError if it does not fit."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise _misfit(weights, error) from error


def _misfit(weights: Path, error: Exception) -> ArtifactError:
    return ArtifactError(f"{weights}: does not fit its manifest ({' '.join(str(error).split())[:120]}); {CURE}")
