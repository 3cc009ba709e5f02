"""Problems and slow, obvious reference answers that the pricing tests compare with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

Rewards = npt.NDArray[np.float32]
Costs = npt.NDArray[np.float64]


@st.composite
def problems(draw: st.DrawFn, *, max_rows: int = 12, max_chains: int = 7) -> tuple[Rewards, Costs]:
    """Small problems full of ties: rewards on a coarse grid or free, integer costs, possibly equal or 0."""
    n = draw(st.integers(1, max_rows))
    width = draw(st.integers(1, max_chains))
    coarse = st.integers(-8, 40).map(lambda v: v / 8)
    free = st.floats(-4.0, 4.0, width=32, allow_subnormal=False).map(lambda v: 0.0 if abs(v) < 1e-3 else v)
    rewards = draw(hnp.arrays(np.float32, (n, width), elements=draw(st.sampled_from([coarse, free]))))
    costs = draw(hnp.arrays(np.float64, width, elements=st.integers(0, 50).map(float)))
    return rewards, costs


def realistic(n: int = 400, width: int = 12, seed: int = 0, unit: float = 1e8) -> tuple[Rewards, Costs]:
    """Concave rewards with noise, and costs in FLOPs."""
    rng = np.random.default_rng(seed)
    costs = np.sort(rng.uniform(1.0, 16.0, width)) * unit
    worth = rng.gamma(2.0, 1.0, (n, 1))
    rewards = worth * (1.0 - np.exp(-costs / rng.uniform(1.0, 12.0, (n, 1)) / unit))
    return (rewards * (1.0 + 0.05 * rng.standard_normal((n, width)))).astype(np.float32), costs


def hull_edges(rewards: npt.NDArray[Any], costs: npt.NDArray[Any]) -> list[tuple[float, float, float]]:
    """(slope, Δc, ΔR) of one row's upper concave hull from the cheapest chain on, by gift wrapping."""
    points = {c: max(float(r) for r, k in zip(rewards, costs, strict=True) if k == c) for c in map(float, costs)}
    at = min(points)
    edges = []
    while True:
        ahead = [((points[c] - points[at]) / (c - at), c) for c in points if c > at and points[c] > points[at]]
        if not ahead:
            return edges
        slope, c = max(ahead)
        edges.append((slope, c - at, points[c] - points[at]))
        at = c


def largest_edge(rewards: Rewards, costs: npt.NDArray[Any]) -> float:
    """ΔR of the largest hull edge of any row, 0 if there is none."""
    rows = costs if costs.ndim == 2 else np.broadcast_to(costs, rewards.shape)
    return max((e[2] for r, c in zip(rewards, rows, strict=True) for e in hull_edges(r, c)), default=0.0)
