"""Energy of this node over a window: measured where the hardware can, estimated otherwise, and always labelled."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.carbon import JOULES_PER_KWH
from greenflow_ray.energy.processes import node_seconds
from greenflow_ray.errors import ResourceProblem

Label = Literal["measured", "estimated"]

# What one busy core draws where nothing better is known; codecarbon's own last resort.
WATTS_PER_CORE = 4.0
_COUNTER_MODES = {"intel_rapl", "intel_power_gadget", "windows_emi"}


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


class CodecarbonMeter:
    """codecarbon's offline tracker: RAPL and NVML where there, CPU load × TDP otherwise.

    It writes no file and reaches no network. If it cannot start or yields nothing, the window is a
    :class:`CpuSecondsMeter`'s, and its method says so. ``CODECARBON_FORCE_CPU_POWER`` (watts) states a CPU's true power
    where codecarbon does not know the model.
    """

    def __init__(self, config: EnergyConfig | None = None, *, every_s: float = 2.0) -> None:
        self._config = config or EnergyConfig()
        self._every_s = every_s
        self._fallback = CpuSecondsMeter(self._config)
        self._tracker: Any = None
        self._problem = "it did not start"

    def start(self) -> None:
        """Open a window."""
        try:
            self._tracker = self._new_tracker()
            self._tracker.start()
        except Exception as error:  # codecarbon probes hardware in many ways; none may stop a run
            self._tracker, self._problem = None, type(error).__name__
        self._fallback.start()

    def stop(self) -> EnergyWindow:
        """Close the window. Raises ResourceProblem if none is open."""
        fallback = self._fallback.stop()
        tracker, self._tracker = self._tracker, None
        try:
            if tracker is not None:
                tracker.stop()
                return _window(tracker, fallback, self._config.pue)
        except Exception as error:
            self._problem = type(error).__name__
        method = f"{fallback.method} (codecarbon failed: {self._problem})"
        return EnergyWindow(**{**fallback.__dict__, "method": method})

    def _new_tracker(self) -> Any:
        from codecarbon import OfflineEmissionsTracker

        # Between import, which sets a level of its own, and the constructor, which speaks before it reads log_level.
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        # Memory is a model in codecarbon, unless RAPL has a counter for it.
        memory = {"rapl_include_dram": True, "force_ram_power": 0} if rapl_has_memory() else {}
        return OfflineEmissionsTracker(
            country_iso_code=self._config.country_iso_code.upper(),
            pue=self._config.pue,
            measure_power_secs=self._every_s,
            tracking_mode="machine",
            output_methods=[],
            output_dir=tempfile.gettempdir(),
            emissions_endpoint=None,
            electricitymaps_api_token="",  # not None: that would let a user's file turn the network on
            force_carbon_intensity_g_co2e_kwh=0.0,  # grams are found in carbon.py
            allow_multiple_runs=True,
            log_level="critical",
            **memory,
        )


class ReplayMeter:
    """Yields recorded windows, one a stop, so that whatever uses a meter can be tested exactly."""

    def __init__(self, windows: Iterable[EnergyWindow]) -> None:
        self._windows: Iterator[EnergyWindow] = iter(windows)
        self._open = False

    def start(self) -> None:
        """Open a window."""
        self._open = True

    def stop(self) -> EnergyWindow:
        """The next recorded window. Raises ResourceProblem if none is open or none is left."""
        window = next(self._windows, None)
        if not self._open or window is None:
            raise ResourceProblem("replayed energy: no window is open, or none is left; record one for each window")
        self._open = False
        return window


@contextmanager
def measured(meter: EnergyMeter) -> Iterator[list[EnergyWindow]]:
    """Open a window for a ``with`` block; the yielded list holds it afterwards."""
    out: list[EnergyWindow] = []
    meter.start()
    try:
        yield out
    finally:
        out.append(meter.stop())


def rapl_has_memory(root: Path = Path("/sys/class/powercap")) -> bool:
    """Whether RAPL offers a readable counter of memory's energy on this machine."""
    for name in root.glob("intel-rapl:*/name"):
        try:
            if name.read_text().strip() == "dram" and (name.parent / "energy_uj").read_text():
                return True
        except OSError:
            continue
    return False


def _window(tracker: Any, fallback: EnergyWindow, pue: float) -> EnergyWindow:
    """Read a stopped tracker; raises if it holds nothing."""
    data = tracker.final_emissions_data
    cpu, ram, gpu = (float(x) * JOULES_PER_KWH for x in (data.cpu_energy, data.ram_energy, data.gpu_energy))
    joules = float(data.energy_consumed) * JOULES_PER_KWH
    if not joules > 0:
        raise ValueError("no energy counted")
    modes = [h._mode for h in tracker._hardware if hasattr(h, "_mode")]
    counted = bool(modes) and set(modes) <= _COUNTER_MODES
    source: Label = "measured" if counted and ram == 0 else "estimated"
    method = f"codecarbon {data.codecarbon_version}, CPU by {', '.join(modes) or 'unknown'}"
    method += ", memory by its model" if ram else ""
    method += ", GPU by NVML" if gpu else ""
    return EnergyWindow(
        float(data.duration), joules, cpu, ram, gpu, source, "measured" if counted else "estimated",
        f"{method}, PUE {pue:g}", fallback.node_cpu_seconds,
    )  # fmt: skip
