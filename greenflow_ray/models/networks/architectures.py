"""The four architectures by name, and the reading of a model's ``args``."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from greenflow_ray.config import ModelConfig
from greenflow_ray.datasets.schema import Catalog
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.networks.dien import Dien
from greenflow_ray.models.networks.din import Din
from greenflow_ray.models.networks.dssm import Dssm
from greenflow_ray.models.networks.network import Network
from greenflow_ray.models.networks.tensors import NetworkArgs, Sizes
from greenflow_ray.models.networks.ydnn import Ydnn

ARCHITECTURES: dict[str, type[Network]] = {"dssm": Dssm, "ydnn": Ydnn, "din": Din, "dien": Dien}


def resolve(model: ModelConfig) -> tuple[str, NetworkArgs]:
    """Architecture and settings of a model: ``args.architecture``, or else what its name begins with.

    Raises ConfigError for an unknown architecture or setting.
    """
    given = dict(model.args)
    default = next((a for a in ARCHITECTURES if model.name.startswith(a)), None)
    name = given.pop("architecture", default)
    if name not in ARCHITECTURES:
        raise ConfigError(
            f"model {model.name!r}: architecture {name!r} is unknown; set args.architecture to one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    return name, parse_args(name, given, f"model {model.name!r}")


def parse_args(architecture: str, given: dict[str, Any], where: str) -> NetworkArgs:
    """Settings of an architecture. Raises ConfigError naming the wrong key."""
    try:
        return ARCHITECTURES[architecture].Args.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(p) for p in ("args", *first["loc"]))
        raise ConfigError(f"{where}: {place}: {first['msg']}; correct or remove it") from error


def build(architecture: str, args: NetworkArgs, sizes: Sizes, catalog: Catalog) -> Network:
    """A network with fresh weights (drawn from torch's global generator)."""
    return ARCHITECTURES[architecture](args, sizes, catalog)
