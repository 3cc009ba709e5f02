"""Trackers over a codecarbon that says what it is told to, and a meter of recorded windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.energy.metering.tracker import Tracker
from greenflow_ray.errors import ResourceProblem


def told(
    *joules: float | str, mode: str = "intel_rapl", ram: float = 0.0, gpu: float = 0.0
) -> Callable[[EnergyConfig], Tracker]:
    """Makes trackers whose codecarbon has these totals at its readings, one after another; the last one stays.

    ``ram`` and ``gpu`` are shares of them; a text instead of a number is an error.
    """

    class Told(Tracker):
        closed = False

        def _start(self, config: EnergyConfig) -> Any:
            totals = list(joules)

            def flush() -> None:
                total = totals.pop(0) if len(totals) > 1 else totals[0]
                if isinstance(total, str):
                    raise OSError(total)
                kwh = total / 3.6e6
                data = SimpleNamespace(
                    energy_consumed=kwh, cpu_energy=kwh * (1 - ram - gpu), ram_energy=kwh * ram, gpu_energy=kwh * gpu,
                    codecarbon_version="3.3",
                )  # fmt: skip
                self._told.out(data, data)

            def stop() -> None:
                self.closed = True
                flush()

            return SimpleNamespace(flush=flush, stop=stop, _hardware=[SimpleNamespace(_mode=mode), SimpleNamespace()])

    return Told


class ReplayMeter:
    """Yields recorded windows, one a stop."""

    def __init__(self, windows: Iterable[EnergyWindow]) -> None:
        self._windows = iter(windows)

    def start(self) -> None:
        return

    def stop(self) -> EnergyWindow:
        window = next(self._windows, None)
        if window is None:
            raise ResourceProblem("replayed energy: none is left")
        return window
