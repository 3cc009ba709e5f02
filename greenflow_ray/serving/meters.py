"""Energy meters as Ray actors, one a node: each sees the whole machine, so a second one there would count it twice."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.live import LiveMeter
from greenflow_ray.energy.meter import EnergyWindow

log = logging.getLogger(__name__)

READ_S = 5.0
"""A meter that takes longer to answer is left out of the window; what it holds comes with its next answer."""


class NodeMeter:
    """The actor on one node."""

    def __init__(self, config: EnergyConfig) -> None:
        self._meter = LiveMeter(config)

    def read(self) -> EnergyWindow:
        """What the node used since the last call."""
        return self._meter.read()


class Meters:
    """The cluster's meters, kept by one process, with which they end; nodes that join get one, nodes that left none."""

    def __init__(self, config: EnergyConfig) -> None:
        self._config = config
        self._actors: dict[str, Any] = {}

    async def read(self) -> dict[str, EnergyWindow]:
        """What each node used since its last answer, by node id; nodes that do not answer are left out."""
        alive = {str(node["NodeID"]) for node in await asyncio.to_thread(ray.nodes) if node["Alive"]}
        self._actors = {node: actor for node, actor in self._actors.items() if node in alive}
        for node in alive - set(self._actors):
            self._actors[node] = (
                ray.remote(NodeMeter)
                .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
                .remote(self._config)
            )
        nodes = list(self._actors)
        found = await asyncio.gather(*(self._one(node) for node in nodes))
        return {node: window for node, window in zip(nodes, found, strict=True) if window is not None}

    async def _one(self, node: str) -> EnergyWindow | None:
        async def ask() -> EnergyWindow:
            window: EnergyWindow = await self._actors[node].read.remote()
            return window

        try:
            return await asyncio.wait_for(ask(), READ_S)
        except TimeoutError:
            return None
        except RayError as error:
            log.warning("the energy meter of node %s is gone (%s); a new one is started", node, type(error).__name__)
            del self._actors[node]
            return None
