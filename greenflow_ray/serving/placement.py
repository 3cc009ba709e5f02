"""Where each model instance and the allocator run: in replicas of their own, or in the gateways that call them.

A message between two replicas costs CPU time on both sides. What costs less than its message sits with its caller; what
is worth a message, has siblings between which the price shifts load, or asks for a GPU, scales by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import ALLOCATOR, UNRANKED, CascadeConfig
from greenflow_ray.errors import ConfigError

MESSAGE_S = 5e-3
"""CPU-seconds of one message between two replicas, both sides together (measured: Ray Serve 2.60, 2 cores)."""
FLOPS_PER_SECOND = 1e10
"""What a core makes of FLOPs where nothing was timed: small products are far from its best."""


@dataclass(frozen=True)
class Place:
    """Where an instance runs: ``lane``, in every gateway, or else in replicas of its own; and why."""

    lane: bool
    why: str


def seconds_by_flops(space: ChainSpace) -> dict[str, float]:
    """CPU-seconds a request of every instance at its largest scale, as its FLOPs let one guess."""
    return {
        m.name: m.cost(max(m.scales or stage.scales)) / FLOPS_PER_SECOND for stage in space.stages for m in stage.pool
    }


def placed(config: CascadeConfig, seconds: Mapping[str, float], reward_seconds: float) -> dict[str, Place]:
    """The place of every model instance and of the allocator, by name.

    Args:
        config: says ``deployment``, ``gateway`` or ``auto`` for each stage and the allocator.
        seconds: CPU-seconds a request of every instance at its largest scale, timed or guessed.
        reward_seconds: the reward model's.

    Raises ConfigError if an instance that asks for a GPU is to run in a gateway.
    """
    out: dict[str, Place] = {}
    for stage in config.stages:
        working = [m for m in stage.pool if m.factory != UNRANKED]
        wanted = config.serving.place_of(stage.name)
        for model in stage.pool:
            gpus = config.serving.replicas_of(model.name).gpus
            if gpus and wanted == "gateway":
                raise ConfigError(
                    f"serving.place: model {model.name!r} asks for {gpus:g} GPUs and cannot run in gateways; "
                    f"set {stage.name!r} to deployment or auto"
                )
            if wanted != "auto":
                out[model.name] = Place(wanted == "gateway", "as configured")
            elif model not in working:
                out[model.name] = Place(True, "does no work")
            elif gpus:
                out[model.name] = Place(False, f"asks for {gpus:g} GPUs")
            elif len(working) > 1:
                out[model.name] = Place(False, f"one of {len(working)} instances between which the price shifts load")
            else:
                out[model.name] = _by_cost(seconds[model.name])
    wanted = config.serving.place_of(ALLOCATOR)
    out[ALLOCATOR] = _by_cost(reward_seconds) if wanted == "auto" else Place(wanted == "gateway", "as configured")
    return out


def told(places: Mapping[str, Place]) -> list[str]:
    """One line an instance."""
    return [f"{name}: {'in the gateways' if p.lane else 'a deployment'}, {p.why}" for name, p in places.items()]


def _by_cost(seconds: float) -> Place:
    lane = seconds < MESSAGE_S
    return Place(lane, f"{1e3 * seconds:.2g} ms a request, {'less' if lane else 'more'} than a message's 5 ms")
