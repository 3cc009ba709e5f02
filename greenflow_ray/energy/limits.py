"""An operator's limits in FLOP/s, watts, energy a day or carbon an hour: which one binds, and at how many FLOP/s."""

from __future__ import annotations

import math
from dataclasses import dataclass

from greenflow_ray.config import Limits as Limits
from greenflow_ray.energy.carbon.intensity import HOUR_S, JOULES_PER_KWH, CarbonIntensity
from greenflow_ray.energy.power import PowerModel

DAY_S = 24 * HOUR_S


@dataclass(frozen=True)
class Bound:
    """What limits come to now.

    Attributes:
        flops_per_second: the most that keeps every limit which could be converted; None without one.
        by: name of the limit that binds; without FLOP/s, of the first limit that could not be converted, or None if
            there is no limit at all.
        reason: which limits could not be converted and why; None if all could. With FLOP/s they are not kept now;
            without, no limit can be kept by price, and the caller serves at the safe chain's cost.
    """

    flops_per_second: float | None
    by: str | None
    reason: str | None


def binding(
    limits: Limits,
    model: PowerModel,
    intensity: CarbonIntensity | None,
    joules_today: float,
    time: float,
    core: float | None = None,
) -> Bound:
    """The tightest of ``limits`` as FLOP/s.

    Watts become FLOP/s by the power model. What is left of the day's energy is spread over the rest of the day, over an
    hour at least and at no more than twice the even rate; grams an hour ÷ the grid's grams per kWh is power. An
    intensity of 0 limits nothing.

    Args:
        limits: the operator's.
        model: from watts of serving to FLOP/s.
        intensity: of the grid now; a stale one is used. None: unknown.
        joules_today: energy of serving since midnight UTC, PUE included.
        time: now, unix seconds.
        core: FLOP-equivalents of a CPU-second, where chains' costs are timed.
    """
    found: list[tuple[float, str]] = []
    unknown: list[tuple[str, str]] = []
    if limits.flops_per_second is not None:
        found.append((limits.flops_per_second, "flops_per_second"))
    if limits.cores is not None and core is not None:
        found.append((limits.cores * core, "cores"))
    elif limits.cores is not None:
        unknown.append(("cores", "chains' costs are not timed; set costs: timed"))
    for name, watts in _watts(limits, intensity, joules_today, time).items():
        if watts is None:
            unknown.append((name, "the carbon intensity is not known"))
        elif watts == math.inf:
            continue
        elif not model.known:
            unknown.append((name, "the power model has not seen enough traffic and energy.joules_per_flop is not set"))
        else:
            found.append((model.flops_per_second(watts), name))
    reason = "; ".join(f"{name}: {why}" for name, why in unknown) or None
    if found:
        flops, by = min(found, key=lambda pair: pair[0])  # of equals the first named
        return Bound(flops, by, reason)
    return Bound(None, unknown[0][0] if unknown else None, reason)


def _watts(
    limits: Limits, intensity: CarbonIntensity | None, joules_today: float, time: float
) -> dict[str, float | None]:
    """Watts that each limit but FLOP/s allows now; None where that is unknown."""
    out: dict[str, float | None] = {}
    if limits.watts is not None:
        out["watts"] = limits.watts
    if limits.kwh_per_day is not None:
        day = limits.kwh_per_day * JOULES_PER_KWH
        left = max(day - joules_today, 0.0)
        out["kwh_per_day"] = min(left / max(DAY_S - time % DAY_S, HOUR_S), 2.0 * day / DAY_S)
    if limits.grams_per_hour is not None:
        grams = None if intensity is None else intensity.grams_per_kwh
        out["grams_per_hour"] = None if grams is None else limits.grams_per_hour / grams * 1000 if grams else math.inf
    return out
