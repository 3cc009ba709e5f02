"""The simulated day's world: users and chains, traffic with spikes, drift, and the grid's carbon intensity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.inputs import F32, F64

DAY = 86_400
MINUTE = 60


@dataclass(frozen=True)
class Spike:
    """Traffic is multiplied by ``factor`` from second ``start`` on, for ``length`` seconds."""

    start: int
    length: int
    factor: float


@dataclass(frozen=True, eq=False)
class World:
    """Everything that happens, whatever the controller does.

    Attributes:
        rewards: float32 ``[users, J]``, expected clicks of each user's chains; the first half browse, the second half
            search.
        costs: float64 ``[J]``, FLOPs.
        rate: float64 ``[seconds]``, expected requests a second; ``counts`` int64, those that come.
        scale: float32 ``[minutes]``, drift: factor on all rewards; ``searching`` float64 ``[minutes]``, share of the
            second half.
        intensity: float64 ``[24]``, gCO2e/kWh by hour; ``budget`` float64 ``[seconds]``, FLOP/s the carbon cap allows
            then.
        spikes, outage, restart: seconds of traffic spikes, of the solver's outage (start, end) and of the ledger's
            crash (down from, to).
    """

    seed: int
    rewards: F32
    costs: F64
    rate: F64
    counts: npt.NDArray[np.int64]
    scale: F32
    searching: F64
    intensity: F64
    budget: F64
    spikes: tuple[Spike, ...]
    outage: tuple[int, int]
    restart: tuple[int, int]


def _users(rng: np.random.Generator, count: int, costs: F64) -> F32:
    """Rewards that saturate with computation, sooner for the first half than for the second, and are noisy."""
    half = count // 2
    knee = np.concatenate([rng.uniform(0.05, 0.3, half), rng.uniform(0.3, 1.2, count - half)])[:, None]
    worth = rng.gamma(2.0, 0.5, (count, 1))
    share = costs / costs.max()
    clean = worth * (0.2 + 1.0 - np.exp(-share / knee))
    noisy = clean * (1.0 + 0.03 * rng.standard_normal((count, len(costs))))
    return np.asarray(noisy, np.float32)


def build(seed: int, *, seconds: int = DAY, requests_per_second: float = 100.0, users: int = 8192) -> World:
    """A world from a seed. ``seconds`` below a day keeps its shape, only shorter (whole minutes)."""
    rng = np.random.default_rng(seed)
    minutes = seconds // MINUTE
    seconds = minutes * MINUTE
    costs = np.sort(np.round(np.geomspace(0.3e8, 16e8, 32) * rng.uniform(0.9, 1.1, 32)))
    time = np.arange(seconds) / seconds
    rate = requests_per_second * (1.0 - 0.55 * np.cos(2 * np.pi * (time - 0.17)) + 0.12 * np.sin(6 * np.pi * time))
    spikes = tuple(
        Spike(int(seconds * start) + int(rng.integers(0, 60)), max(int(seconds * length), 60), 5.0)
        for start, length in ((0.31, 0.004), (0.52, 0.007), (0.78, 0.012))
    )
    for spike in spikes:
        rate[spike.start : spike.start + spike.length] *= spike.factor
    minute = np.arange(minutes) / minutes
    wander = np.cumsum(rng.standard_normal(minutes)) * 0.004
    scale = np.exp(0.25 * np.sin(4 * np.pi * minute + 1.0) + wander).astype(np.float32)
    searching = 0.5 + 0.3 * np.sin(2 * np.pi * (minute - 0.3))
    hours = np.arange(24)
    intensity = 420.0 - 160.0 * np.exp(-(((hours - 13) / 3.5) ** 2)) + 60.0 * np.exp(-(((hours - 19) / 2.0) ** 2))
    intensity = np.round(intensity + rng.normal(0, 10, 24), 1)
    hour = np.minimum((time * 24).astype(int), 23)
    allowed = 0.5 * requests_per_second * float(costs.max())
    budget = allowed * float(intensity.mean()) / intensity[hour]
    return World(
        seed,
        _users(rng, users, costs),
        costs,
        rate,
        rng.poisson(rate),
        scale,
        searching,
        intensity,
        budget,
        spikes,
        (int(seconds * 0.60), int(seconds * 0.60) + min(1800, seconds // 10)),
        (int(seconds * 0.70), int(seconds * 0.70) + 5),
    )
