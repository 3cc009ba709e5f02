"""Software carbon intensity: grams of running and of making the machines, per 1,000 requests (ISO/IEC 21031)."""

from __future__ import annotations

from dataclasses import dataclass

from greenflow_ray.config import EnergyConfig

PER_REQUESTS = 1000
_YEAR_S = 365.25 * 86400.0


@dataclass(frozen=True)
class Sci:
    """SCI = (E · I + M) per R with R = 1,000 requests; gCO2e per R."""

    grams: float  # without ``embodied``, of running alone
    operational: float  # E · I
    embodied: float | None  # M; None: not configured, and left out of ``grams``
    note: str  # what the figure holds, in words


def sci(grams: float, requests: int, config: EnergyConfig, *, node_seconds: float, reserved: float = 1.0) -> Sci | None:
    """The SCI of what was served, None without requests.

    M is ISO's TE · TS · RS: a node's embodied carbon × node-seconds ÷ its lifetime × the share of it reserved.

    Args:
        grams: E · I, each interval at its own intensity, e.g. ``EnergyAccount``'s ``grams`` for whole nodes or
            ``grams_attributed`` for serving alone; ``reserved`` should follow the same choice.
        requests: answered over the same time.
        config: its ``embodied_kg`` is of one node, over ``lifetime_years``.
        node_seconds: sum over nodes of the seconds each was there for.
        reserved: share of the nodes reserved for serving, 0 to 1.
    """
    if requests <= 0:
        return None
    per = PER_REQUESTS / requests
    operational = grams * per
    if config.embodied_kg is None:
        note = "operational carbon only; embodied carbon is left out, as energy.embodied_kg is not set"
        return Sci(operational, operational, None, note)
    made = config.embodied_kg * 1000 * node_seconds / (config.lifetime_years * _YEAR_S) * reserved * per
    note = (
        f"operational carbon, and {config.embodied_kg:g} kg embodied in a node over {config.lifetime_years:g} years, "
        f"{reserved:.0%} reserved"
    )
    return Sci(operational + made, operational, made, note)
