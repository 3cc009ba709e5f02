"""Energy of this node over a window: measured where the hardware can, estimated otherwise, and always labelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from greenflow_ray.config import EnergyConfig

Label = Literal["measured", "estimated"]


@dataclass(frozen=True)
class EnergyWindow:
    """What the node used between start and stop, data-centre overhead (PUE) included."""

    seconds: float
    joules: float  # all of it; the next three are its parts
    cpu_joules: float
    ram_joules: float
    gpu_joules: float
    source: Label  # ``measured`` only if every part that is not 0 was read from a hardware counter
    cpu_source: Label  # the same for processors alone
    method: str  # how it was found, in words
    node_cpu_seconds: float  # busy CPU-seconds of the whole node, to share the energy by
    marginal_joules: float | None = None  # what load added to idling; None: not known


class EnergyMeter(Protocol):
    """Measures one window at a time; one meter a node, never one a replica: each sees the whole machine."""

    def start(self) -> None:
        """Open a window."""

    def stop(self) -> EnergyWindow:
        """Close the window and say what it used."""


def by_machine(seconds: float, busy: float, config: EnergyConfig) -> EnergyWindow:
    """A window of so many ``seconds`` and ``busy`` CPU-seconds on a machine that is known by its watts only.

    Watts rise in a line from idle to full with the share of busy CPUs (Cloud Carbon Footprint's method and, where
    ``energy.machine`` says nothing else, its means for a cloud's vCPU). No counter is needed, and on a virtual machine
    nobody else's sockets are charged.
    """
    machine = config.machine.here()
    marginal = (machine.full_watts - machine.idle_watts) * busy / machine.vcpus * config.pue
    joules = machine.idle_watts * seconds * config.pue + marginal
    watts = f"{machine.idle_watts:g} W idle to {machine.full_watts:g} W with {machine.vcpus} busy vCPUs"
    method = f"{watts} ({machine.source}), PUE {config.pue:g}"
    return EnergyWindow(seconds, joules, joules, 0.0, 0.0, "estimated", "estimated", method, busy, marginal)
