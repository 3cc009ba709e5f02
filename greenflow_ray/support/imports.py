"""From an import path in the configuration to what it names."""

from __future__ import annotations

import importlib
from typing import Any

from greenflow_ray.errors import ConfigError


def import_object(path: str, key: str) -> Any:
    """What an import path ``package.module:name`` leads to; ``key`` names the configuration's key in errors."""
    module_name, colon, name = path.partition(":")
    if not colon or not module_name or not name:
        raise ConfigError(f"{key}: {path!r} is not an import path; write it as package.module:name")
    try:
        return getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}: {path!r} cannot be imported ({error}); correct it or install the package") from error
