"""The power model: from FLOP/s to the watts of serving and back, learned while serving."""

from __future__ import annotations

import math
from typing import Any

from greenflow_ray.config import EnergyConfig
from greenflow_ray.errors import DataError, ResourceProblem

ENOUGH_S = 60.0
"""Seconds of traffic from which on the observed watts replace the configured prior."""
MEMORY_S = 1800.0
"""Seconds of traffic after which an observation counts for 1/e."""

_SUMS = ("seconds", "flops", "watts", "flops_flops", "flops_watts")

LEAST = 1e-30
"""Joules per FLOP, far below what physics allows a processor: a meter that shows less is broken."""


class PowerModel:
    """``watts = fixed + per_flop × FLOP/s``, both at least 0; watts are those attributed to serving, PUE included.

    Method: least squares over intervals, weighted by their seconds and exponentially forgotten. Intervals with and
    without traffic are summed apart, each fading in its own time, so that a quiet night does not wash out what the day
    taught; for the fit, quiet ones count no more than loaded ones. The line goes through the mean of all; there, the
    fixed part is held between 0 and 99.9 % of the watts, so that the line can always be inverted. A slope that is not
    positive cannot be true: then all watts are proportional to FLOP/s. So they are while only one level of load has
    been seen: with a coefficient of variation of FLOP/s below 0.1 the fixed part is left out, from 0.3 on it counts in
    full, in between in proportion. Proportional is the careful guess above the load that was seen; below it the real
    power falls more slowly, which the next level of load teaches. Until there were ``ENOUGH_S`` seconds of traffic,
    ``energy.joules_per_flop`` serves if it is given.

    Limits: a straight line. Real processors are steeper at high load where clocks and voltages rise, and shares by
    CPU-seconds carry other tenants' noise; noise in FLOP/s lowers the slope. Energy figures that are estimates make
    the model one. After a change of hardware, it takes about ``MEMORY_S`` of traffic to follow.
    """

    def __init__(self, config: EnergyConfig | None = None) -> None:
        self._prior = config.joules_per_flop if config else None
        self._busy = dict.fromkeys(_SUMS, 0.0)
        self._quiet = dict.fromkeys(_SUMS, 0.0)
        self._traffic_s = 0.0

    def learn(self, flops_per_second: float, watts: float, seconds: float) -> None:
        """Take in one interval; without length it teaches nothing. Raises DataError on impossible numbers."""
        f, w, s = (_number("power model", x) for x in (flops_per_second, watts, seconds))
        if s == 0:
            return
        sums = self._busy if f > 0 else self._quiet
        fade = math.exp(-s / MEMORY_S)
        for name, value in zip(_SUMS, (1.0, f, w, f * f, f * w), strict=True):
            sums[name] = sums[name] * fade + s * value
        if f > 0:
            self._traffic_s += s

    @property
    def known(self) -> bool:
        """Whether watts can be told from FLOP/s at all: from the prior, or from enough traffic."""
        return self._line() is not None

    @property
    def label(self) -> str:
        """Where the coefficients come from, in words."""
        if not self._learned:
            return "unknown" if self._prior is None else "configured (energy.joules_per_flop)"
        shape = "fixed part and slope" if self._fit()[0] > 0 else "proportional"
        return f"learned from {self._traffic_s:.0f} s of traffic, {shape}"

    @property
    def fixed(self) -> float | None:
        """Watts of serving without any FLOPs; None while unknown."""
        return (self._line() or (None, None))[0]

    @property
    def per_flop(self) -> float | None:
        """Joules of one more FLOP; None while unknown."""
        return (self._line() or (None, None))[1]

    def watts(self, flops_per_second: float) -> float:
        """Watts of serving at this load. Raises ResourceProblem while not ``known``."""
        fixed, slope = self._told()
        return fixed + slope * flops_per_second

    def flops_per_second(self, watts: float) -> float:
        """The most FLOP/s that stay within ``watts``, 0 if the fixed part alone is more.

        Raises ResourceProblem while not ``known``.
        """
        fixed, slope = self._told()
        return max(watts - fixed, 0.0) / slope

    @property
    def _learned(self) -> bool:
        return self._traffic_s >= ENOUGH_S and self._busy["watts"] > LEAST * self._busy["flops"] > 0

    def _told(self) -> tuple[float, float]:
        if line := self._line():
            return line
        raise ResourceProblem("power model: nothing is known yet; serve some traffic, or set energy.joules_per_flop")

    def _line(self) -> tuple[float, float] | None:
        """Fixed part and slope (above 0), None while unknown."""
        if self._learned:
            return self._fit()
        return None if self._prior is None else (0.0, self._prior)

    def _fit(self) -> tuple[float, float]:
        quiet, busy = self._quiet, self._busy
        part = min(1.0, busy["seconds"] / quiet["seconds"]) if quiet["seconds"] > 0 else 0.0
        n, f, w, ff, fw = (busy[name] + part * quiet[name] for name in _SUMS)
        f, w = f / n, w / n
        variance, covariance = max(ff / n - f * f, 0.0), fw / n - f * w
        fixed = 0.0
        if variance > 0 and covariance > 0:
            spread = math.sqrt(variance) / f
            trust = min(max((spread - 0.1) / 0.2, 0.0), 1.0)
            fixed = trust * min(max(w - covariance / variance * f, 0.0), 0.999 * w)
        return fixed, (w - fixed) / f

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` needs, JSON-able."""
        return {"busy": dict(self._busy), "quiet": dict(self._quiet), "traffic_s": self._traffic_s}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up saved sums. Raises DataError if they are malformed."""
        try:
            busy, quiet = ({name: _number(name, state[key][name]) for name in _SUMS} for key in ("busy", "quiet"))
            traffic_s = _number("traffic_s", state["traffic_s"])
        except (KeyError, TypeError, ValueError, DataError) as error:
            raise DataError(f"power model: malformed state ({error}); start afresh") from error
        if traffic_s > 0 and not busy["seconds"] > 0:
            raise DataError("power model: malformed state (traffic without seconds); start afresh")
        self._busy, self._quiet, self._traffic_s = busy, quiet, traffic_s


def _number(name: str, value: Any) -> float:
    """``value`` as a finite number of at least 0. Raises DataError."""
    number = float(value)
    if not math.isfinite(number) or number < 0:
        raise DataError(f"{name}: {number} is not a finite number of at least 0")
    return number
