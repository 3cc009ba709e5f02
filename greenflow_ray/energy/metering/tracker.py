"""codecarbon's tracker, quiet and offline: what the machine used since the last reading."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.carbon.intensity import JOULES_PER_KWH
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import ResourceProblem

_COUNTER_MODES = {"intel_rapl", "intel_power_gadget", "windows_emi"}
# codecarbon measures at every reading, and by itself this often: before RAPL's counters go round after several minutes,
# and seldom, because its thread and a reading that meet would count the same energy twice.
_EVERY_S = 120.0


class Tracker:
    """RAPL and NVML where there, CPU load × TDP otherwise. It writes no file and reaches no network.

    The first one of a process probes the hardware for a second or two; later ones reuse what it found. A running one
    samples the CPU's load once a second. It keeps these samples until it is closed, so one that runs for days has to be
    renewed now and then. ``CODECARBON_FORCE_CPU_POWER`` (watts) states a CPU's true power where codecarbon does not
    know the model. Anything may raise: codecarbon probes hardware in many ways.
    """

    def __init__(self, config: EnergyConfig) -> None:
        self._pue = config.pue
        self._told = _Listener()
        self._tracker = self._start(config)
        self._before: tuple[float, ...] = (0.0,) * 4

    def _start(self, config: EnergyConfig) -> Any:
        from codecarbon import OfflineEmissionsTracker

        # Between import, which sets a level of its own, and the constructor, which speaks before it reads log_level.
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        # Memory is a model in codecarbon, unless RAPL has a counter for it.
        memory = {"rapl_include_dram": True, "force_ram_power": 0} if rapl_has_memory() else {}
        tracker = OfflineEmissionsTracker(
            country_iso_code=config.country_iso_code.upper(),
            pue=config.pue,
            measure_power_secs=_EVERY_S,
            api_call_interval=-1,
            tracking_mode="machine",
            output_methods=[],
            output_handlers=[self._told],
            output_dir=tempfile.gettempdir(),
            emissions_endpoint=None,
            electricitymaps_api_token="",  # not None: that would let a user's file turn the network on
            force_carbon_intensity_g_co2e_kwh=0.0,  # grams are found in carbon.py
            allow_multiple_runs=True,
            log_level="critical",
            **memory,
        )
        tracker.start()
        return tracker

    def read(self, estimate: EnergyWindow, *, last: bool = False) -> EnergyWindow:
        """``estimate``, with what codecarbon says was used since the last reading or the start in place of its joules.

        ``last``: the end, threads stop. Raises ResourceProblem if codecarbon says nothing.
        """
        (self._tracker.stop if last else self._tracker.flush)()
        data = self._told.take()
        kwh = (data.energy_consumed, data.cpu_energy, data.ram_energy, data.gpu_energy)
        now = tuple(float(part) * JOULES_PER_KWH for part in kwh)
        joules, cpu, ram, gpu = (max(after - before, 0.0) for after, before in zip(now, self._before, strict=True))
        self._before = now
        modes = [h._mode for h in self._tracker._hardware if hasattr(h, "_mode")]
        counted = bool(modes) and set(modes) <= _COUNTER_MODES
        method = f"codecarbon {data.codecarbon_version}, CPU by {', '.join(modes) or 'unknown'}"
        method += ", memory by its model" if ram else ""
        method += ", GPU by NVML" if gpu else ""
        return EnergyWindow(
            estimate.seconds, joules, cpu, ram, gpu, "measured" if counted and ram == 0 else "estimated",
            "measured" if counted else "estimated", f"{method}, PUE {self._pue:g}", estimate.node_cpu_seconds,
        )  # fmt: skip


class _Listener:
    """An output handler of codecarbon that keeps the totals it is told at a flush or at the end."""

    def __init__(self) -> None:
        self._total: Any = None

    def out(self, total: Any, delta: Any) -> None:  # noqa: ARG002 - codecarbon's interface
        self._total = total

    def exit(self) -> None:
        """Nothing to close."""

    def take(self) -> Any:
        """The totals told since the last call. Raises ResourceProblem if there are none."""
        total, self._total = self._total, None
        if total is None:
            raise ResourceProblem("codecarbon told nothing")
        return total


def rapl_has_memory(root: Path = Path("/sys/class/powercap")) -> bool:
    """Whether RAPL offers a readable counter of memory's energy on this machine."""
    for name in root.glob("intel-rapl:*/name"):
        try:
            if name.read_text().strip() == "dram" and (name.parent / "energy_uj").read_text():
                return True
        except OSError:
            continue
    return False
