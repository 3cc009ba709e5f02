"""The nodes' energy meters, one each, as each sees its whole machine: here in this process, elsewhere as actors."""

from __future__ import annotations

import logging
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.metering.live import LiveMeter
from greenflow_ray.energy.metering.meter import EnergyWindow

log = logging.getLogger(__name__)

READ_S = 5.0
"""A meter that takes longer to answer is left out of the window; its answer comes with the next one."""


class NodeMeter:
    """The actor on another node."""

    def __init__(self, config: EnergyConfig) -> None:
        self._meter = LiveMeter(config)

    def read(self) -> EnergyWindow:
        """What the node used since the last call."""
        return self._meter.read()


class NodeMeters:
    """The cluster's meters, kept by one process, with which they end; nodes that join get one, nodes that left none.

    ``here`` is the id of the node that this process runs on. Not thread-safe; the first reading starts the meter of
    this process, which takes a second or two.
    """

    def __init__(self, config: EnergyConfig, here: str) -> None:
        self.config = config
        self._here = here
        self._own: LiveMeter | None = None
        self._actors: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}

    def read(self) -> dict[str, EnergyWindow]:
        """What each node used since its last answer, by node id; nodes that do not answer are left out."""
        elsewhere = {str(node["NodeID"]) for node in ray.nodes() if node["Alive"]} - {self._here}
        self._actors = {node: actor for node, actor in self._actors.items() if node in elsewhere}
        self._asked = {node: answer for node, answer in self._asked.items() if node in elsewhere}
        for node in elsewhere:
            if node not in self._actors:
                self._actors[node] = self._start(node)
            if node not in self._asked:
                self._asked[node] = self._actors[node].read.remote()
        self._own = self._own or LiveMeter(self.config)
        windows = {self._here: self._own.read()}
        if self._asked:
            answers = list(self._asked.values())
            ray.wait(answers, num_returns=len(answers), timeout=READ_S)
        for node in list(self._asked):
            window = self._answer(node)
            if window is not None:
                windows[node] = window
        return windows

    def close(self) -> None:
        """End the meter of this process; the actors end with their handles."""
        if self._own is not None:
            self._own.close()
        self._own, self._actors, self._asked = None, {}, {}

    def _start(self, node: str) -> Any:
        """A meter on another node."""
        affinity = NodeAffinitySchedulingStrategy(node, soft=False)
        options = {"num_cpus": 0, "scheduling_strategy": affinity, "enable_task_events": False}
        return ray.remote(NodeMeter).options(**options).remote(self.config)

    def _answer(self, node: str) -> EnergyWindow | None:
        """What the node's meter has answered; None if it has not, or is gone."""
        if not ray.wait([self._asked[node]], timeout=0)[0]:
            return None
        try:
            window: EnergyWindow = ray.get(self._asked.pop(node))
        except RayError as error:
            log.warning("the energy meter of node %s is gone (%s); a new one is started", node, type(error).__name__)
            del self._actors[node]
            return None
        return window
