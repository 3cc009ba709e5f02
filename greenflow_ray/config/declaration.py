"""Reading and writing declarations as YAML; every refusal is one line that names the key and the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from greenflow_ray.config.cascade import CascadeConfig
from greenflow_ray.errors import ConfigError
from greenflow_ray.support.files import whole

_HOME = Path(__file__).parents[1]

DEFAULT = _HOME / "cascade.yaml"
"""The cascade that is built when none is given."""


def builtin(name: str) -> Path:
    """File of a built-in cascade of the offline experiments. Raises ConfigError naming those there are."""
    folder = _HOME / "cascades"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        there = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"cascade {name!r}: there is none of that name; use one of {there}, or --config FILE")
    return path


def parse(text: str, where: str) -> CascadeConfig:
    """Read YAML text; ``where`` names it in errors. Raises ConfigError on one line."""
    try:
        raw = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{where}: expected a mapping at the top level, found {type(raw).__name__}")
    return validated(raw, where)


def validated(raw: dict[str, Any], where: str) -> CascadeConfig:
    """Check plain values; ``where`` names their source. Raises ConfigError on one line."""
    try:
        return CascadeConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in first["loc"]) or "configuration"
        cure = (
            "remove it or check its spelling"
            if first["type"] == "extra_forbidden"
            else "`greenflow config` prints a valid one"
        )
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ConfigError(f"{where}: {place}: {first['msg'].removeprefix('Value error, ')}; {cure}{more}") from error


def load(path: Path | str) -> CascadeConfig:
    """Read a cascade's YAML file. Raises ConfigError if it is missing or wrong."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({type(error).__name__}); give the path of a cascade's YAML file"
        ) from error
    return parse(text, str(path))


def store(config: CascadeConfig) -> Path:
    """Write the resolved configuration into the run's folder, where replicas and jobs read it; returns its path."""
    with whole(config.paths.config) as part:
        part.write_text(dump(config), encoding="utf-8")
    return config.paths.config


def dump(config: CascadeConfig) -> str:
    """YAML text that :func:`parse` reads back to an equal configuration."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
