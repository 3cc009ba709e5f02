"""Energy of this node over a window: measured where the hardware can, estimated otherwise, and always labelled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.metering.processes import node_seconds
from greenflow_ray.energy.metering.tracker import Reading
from greenflow_ray.errors import ResourceProblem

Label = Literal["measured", "estimated"]

# What one busy core draws where nothing better is known; codecarbon's own last resort.
WATTS_PER_CORE = 4.0


@dataclass(frozen=True)
class EnergyWindow:
    """What the node used between start and stop, data-centre overhead (PUE) included.

    Attributes:
        seconds: length of the window.
        joules: all of it; the next three are its parts.
        cpu_joules: processors.
        ram_joules: memory.
        gpu_joules: accelerators.
        source: ``measured`` only if every part that is not 0 was read from a hardware counter.
        cpu_source: the same for processors alone.
        method: how it was found, in words.
        node_cpu_seconds: busy CPU-seconds of the whole node, to share the energy by.
    """

    seconds: float
    joules: float
    cpu_joules: float
    ram_joules: float
    gpu_joules: float
    source: Label
    cpu_source: Label
    method: str
    node_cpu_seconds: float


class EnergyMeter(Protocol):
    """Measures one window at a time; one meter a node, never one a replica: each sees the whole machine."""

    def start(self) -> None:
        """Open a window."""
        ...

    def stop(self) -> EnergyWindow:
        """Close the window and say what it used."""
        ...


class CpuSecondsMeter:
    """Estimates energy as busy CPU-seconds × watts a core × PUE: the last resort that always works."""

    def __init__(
        self,
        config: EnergyConfig | None = None,
        *,
        watts_per_core: float = WATTS_PER_CORE,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = node_seconds,
    ) -> None:
        self._config = config or EnergyConfig()
        self._watts = watts_per_core
        self._clock = clock
        self._busy = busy
        self._open: tuple[float, float] | None = None

    def start(self) -> None:
        """Open a window."""
        self._open = (self._clock(), self._busy())

    def stop(self) -> EnergyWindow:
        """Close the window. Raises ResourceProblem if none is open."""
        if self._open is None:
            raise ResourceProblem("energy meter stopped before it was started; call start() first")
        seconds, busy = self._clock() - self._open[0], max(0.0, self._busy() - self._open[1])
        self._open = None
        joules = busy * self._watts * self._config.pue
        method = f"CPU-seconds × {self._watts:g} W a core × PUE {self._config.pue:g}"
        return EnergyWindow(seconds, joules, joules, 0.0, 0.0, "estimated", "estimated", method, busy)


def by_codecarbon(reading: Reading, window: EnergyWindow, pue: float) -> EnergyWindow:
    """The window of a tracker's reading; its length and the node's CPU-seconds are those of ``window``."""
    source: Label = "measured" if reading.counted and reading.ram == 0 else "estimated"
    return EnergyWindow(
        window.seconds, reading.joules, reading.cpu, reading.ram, reading.gpu, source,
        "measured" if reading.counted else "estimated", f"{reading.method}, PUE {pue:g}", window.node_cpu_seconds,
    )  # fmt: skip


def without_codecarbon(window: EnergyWindow, problem: str) -> EnergyWindow:
    """``window``, estimated without codecarbon, with the reason in its method."""
    return replace(window, method=f"{window.method} (codecarbon failed: {problem})")
