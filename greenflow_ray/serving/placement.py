"""Where each model instance and the allocator run: in replicas of their own, or in the gateways that call them.

A message between two replicas costs CPU time on both sides. What costs less than its message sits with its caller; what
is worth a message, has siblings between which the price shifts load, or asks for a GPU, scales by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import ALLOCATOR, CascadeConfig
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


def placed(
    config: CascadeConfig, space: ChainSpace, reward_flops: int, flops_per_second: float = FLOPS_PER_SECOND
) -> dict[str, Place]:
    """The place of every model instance and of the allocator, by name.

    Args:
        config: says ``deployment``, ``gateway`` or ``auto`` for each stage and the allocator.
        space: what instances cost, in FLOPs or FLOP-equivalents of their CPU time.
        reward_flops: what the reward model costs a request.
        flops_per_second: of a core, in the same unit.

    Raises ConfigError if an instance that asks for a GPU is to run in a gateway.
    """
    out: dict[str, Place] = {}
    for stage in space.stages:
        working = [m for m in stage.pool if m.cost(max(stage.scales)) > 0]
        wanted = config.serving.place_of(stage.name)
        for model in stage.pool:
            gpus = config.serving.replicas_of(model.name).gpus
            if gpus and wanted == "gateway":
                raise ConfigError(
                    f"serving.place: model {model.name!r} asks for {gpus:g} GPUs and cannot run in gateways; "
                    f"set {stage.name!r} to deployment or auto"
                )
            seconds = model.cost(max(model.scales or stage.scales)) / flops_per_second
            if wanted != "auto":
                out[model.name] = Place(wanted == "gateway", "as configured")
            elif model not in working:
                out[model.name] = Place(True, "does no work")
            elif gpus:
                out[model.name] = Place(False, f"asks for {gpus:g} GPUs")
            elif len(working) > 1:
                out[model.name] = Place(False, f"one of {len(working)} instances between which the price shifts load")
            else:
                out[model.name] = _by_cost(seconds)
    wanted = config.serving.place_of(ALLOCATOR)
    auto = wanted == "auto"
    out[ALLOCATOR] = _by_cost(reward_flops / flops_per_second) if auto else Place(wanted == "gateway", "as configured")
    return out


def told(places: Mapping[str, Place]) -> list[str]:
    """One line an instance."""
    return [f"{name}: {'in the gateways' if p.lane else 'a deployment'}, {p.why}" for name, p in places.items()]


def _by_cost(seconds: float) -> Place:
    lane = seconds < MESSAGE_S
    return Place(lane, f"{1e3 * seconds:.2g} ms a request, {'less' if lane else 'more'} than a message's 5 ms")
