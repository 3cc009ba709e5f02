"""The hot path: each request's best chain at the price of the moment, as one numba kernel without temporaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.support.jit import kernel


@dataclass(frozen=True)
class PriceDirective:
    """What an allocator needs to choose: two neighbouring prices and who pays which.

    Attributes:
        price_low, price_high: dual prices, reward per unit of cost, ≥ 0.
        high_share: requests whose hash / 2^64 lies below it pay ``price_high``, the others ``price_low``.
        version: of the frontier behind it, 0 while there is none.
        capped: everyone gets ``cheapest``, whatever the prices.
        cheapest: index of the chain served when capped, and to requests whose rewards are not finite. The controller
            puts the *safe* chain here while it knows no price.
    """

    price_low: float
    price_high: float
    high_share: float
    version: int
    capped: bool
    cheapest: int


@kernel
def best_chain(row: Any, costs: Any, price: float) -> int:
    """``argmax_j (R_j − λ c_j)`` of one row, ties to the cheaper; −1 if a reward is not finite."""
    best = -np.inf
    paid = np.inf
    chosen = -1
    for j in range(row.shape[0]):
        reward = np.float64(row[j])
        if not np.isfinite(reward):
            return -1
        value = reward - price * costs[j]
        if value > best or (value == best and costs[j] < paid):
            best = value
            paid = costs[j]
            chosen = j
    return chosen


@kernel
def mixed(hashed: Any) -> Any:
    """Other bits from 64 bits, uint64 (splitmix64: Steele, Lea and Flood, OOPSLA 2014)."""
    z = hashed + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def _choose(rewards: Any, costs: Any, low: float, high: float, limit: float, hashes: Any, safe: int, out: Any) -> None:
    for i in range(rewards.shape[0]):
        chosen = best_chain(rewards[i], costs, high if np.float64(hashes[i]) < limit else low)
        out[i] = chosen if chosen >= 0 else safe


@kernel
def _mix(ids: Any, out: Any) -> None:
    for i in range(ids.shape[0]):
        out[i] = mixed(ids[i])


def request_hashes(ids: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """Well-mixed hashes of integer ids, uint64 ``[B]`` (:func:`mixed`)."""
    ids = np.ascontiguousarray(ids).astype(np.uint64)
    out = np.empty(len(ids), np.uint64)
    _mix(ids, out)
    return out


def within_allowance(
    chosen: npt.NDArray[np.int32], costs: npt.NDArray[np.float64], directive: PriceDirective, allowance: float | None
) -> npt.NDArray[np.int32]:
    """Chains once an allowance (same unit as ``costs``; None: no limit) is respected.

    Requests after the one that spends it get ``directive.cheapest``, as allocators do.
    """
    if allowance is None:
        return chosen
    return np.where(np.cumsum(costs[chosen]) > allowance, np.int32(directive.cheapest), chosen)


def choose(
    rewards: npt.NDArray[Any], costs: npt.NDArray[Any], directive: PriceDirective, hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int32]:
    """Chain of every request, int32 ``[B]``: ``argmax_j (R_ij − λ c_j)`` (paper, equation 10), ties to the cheaper.

    ``rewards`` float32 ``[B, J]``, ``costs`` float64 ``[J]``, ``hashes`` uint64 ``[B]`` (``request_hashes``). A row
    that is not finite gets ``directive.cheapest``. Raises PricingInputError if shapes or the directive do not fit.
    """
    rewards = inputs.rewards_array(rewards)
    rows, width = rewards.shape
    costs = np.ascontiguousarray(costs, dtype=np.float64)
    if costs.shape != (width,) or hashes.shape != (rows,):
        raise PricingInputError(f"costs {costs.shape} or hashes {hashes.shape} do not match rewards {rewards.shape}")
    if not 0 <= directive.cheapest < width:
        raise PricingInputError(f"directive.cheapest: {directive.cheapest} is not one of {width} chains")
    if directive.capped:
        return np.full(rows, directive.cheapest, np.int32)
    if not (0 <= directive.price_low < np.inf and 0 <= directive.price_high < np.inf):
        raise PricingInputError(
            f"directive: prices {directive.price_low}, {directive.price_high} are not finite and ≥ 0"
        )
    out = np.empty(rows, np.int32)
    limit = directive.high_share * 2.0**64
    _choose(rewards, costs, directive.price_low, directive.price_high, limit, hashes, directive.cheapest, out)
    return out
