"""Energy of this node over a window: measured where the hardware can, estimated otherwise, and always labelled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

from greenflow_ray.energy.metering.tracker import Reading

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


def by_cpu_seconds(seconds: float, busy: float, pue: float) -> EnergyWindow:
    """A window of so many ``seconds`` and ``busy`` CPU-seconds, × watts a core × PUE: the last resort always works."""
    joules = busy * WATTS_PER_CORE * pue
    method = f"CPU-seconds × {WATTS_PER_CORE:g} W a core × PUE {pue:g}"
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
