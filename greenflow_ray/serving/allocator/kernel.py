"""All that follows the rewards of a batch, as one kernel: on small batches Python's own steps would cost most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing.kernels.choice import PriceDirective, best_chain, mixed
from greenflow_ray.serving.wire import Reason
from greenflow_ray.support.jit import kernel


@dataclass(frozen=True, slots=True)
class Decision:
    """What a batch of requests gets.

    Attributes:
        chains: int32 ``[B]``.
        costs: of those chains, float64 ``[B]``.
        prices: that the requests pay, reward per unit of cost, float64 ``[B]``.
        propensities: probability, over the request's hash, of its chain, float32 ``[B]``; 1 where a reason forced it.
        reasons: :class:`~greenflow_ray.serving.wire.Reason`, int16 ``[B]``.
        flops: of all chains together.
    """

    chains: npt.NDArray[np.int32]
    costs: npt.NDArray[np.float64]
    prices: npt.NDArray[np.float64]
    propensities: npt.NDArray[np.float32]
    reasons: npt.NDArray[np.int16]
    flops: int


@dataclass(frozen=True)
class Rules:
    """What holds for every batch of an allocator.

    Attributes:
        costs: of the chains, float64 ``[J]``.
        flops: the same as exact integers, int64 ``[J]``.
        cheapest: chain past the allowance.
        safe: chain of a request whose rewards are not finite.
        exploration: share of the requests that get a chain at random.
    """

    costs: npt.NDArray[np.float64]
    flops: npt.NDArray[np.int64]
    cheapest: int
    safe: int
    exploration: float


def decide(
    rewards: npt.NDArray[Any],
    directive: PriceDirective,
    hashes: npt.NDArray[np.uint64],
    rules: Rules,
    *,
    allowance: float = np.inf,
    reason: int = Reason.NONE,
) -> Decision:
    """``argmax_j (R_ij − λ c_j)`` of every request (paper, equation 10), explored, cut off past ``allowance`` FLOPs.

    ``rewards`` ``[B, J]``, ``hashes`` uint64 ``[B]`` (:func:`.choice.request_hashes`). A capped
    directive gives everyone its cheapest chain for ``reason``, whatever the allowance.
    """
    rewards = np.ascontiguousarray(rewards, dtype=np.float32)
    rows = len(hashes)
    chains, prices = np.empty(rows, np.int32), np.empty(rows)
    costs, propensities, reasons = np.empty(rows), np.empty(rows, np.float32), np.empty(rows, np.int16)
    # Plain numbers: the kernel would be compiled once more for a reason of the enumeration or a price that is an int.
    flops = _decide(
        rewards, rules.costs, rules.flops, float(directive.price_low), float(directive.price_high),
        float(directive.high_share), bool(directive.capped), int(directive.cheapest), hashes, rules.cheapest,
        rules.safe, rules.exploration, float(allowance), int(reason), chains, costs, prices, propensities, reasons,
    )  # fmt: skip
    return Decision(chains, costs, prices, propensities, reasons, int(flops))


@kernel
def _decide(
    rewards: Any, costs: Any, flops: Any, low: float, high: float, share: float, capped: bool, capped_chain: int,
    hashes: Any, cheapest: int, safe: int, exploration: float, allowance: float, reason: int,
    chains: Any, paid: Any, prices: Any, propensities: Any, reasons: Any,
) -> int:  # fmt: skip
    limit = share * 2.0**64
    width = rewards.shape[1]
    exploring = np.uint64(exploration * 2.0**32)
    two = 0.0 < share < 1.0 and low != high
    wanted = total = 0
    chain: Any
    for i in range(rewards.shape[0]):
        is_high = np.float64(hashes[i]) < limit
        prices[i] = high if is_high else low
        propensities[i] = 1.0
        if capped:
            chain = capped_chain
            reasons[i] = reason
        else:
            reasons[i] = 0
            chain = best = best_chain(rewards[i], costs, prices[i])
            if best < 0:
                chain = safe
                reasons[i] = _NOT_FINITE
            else:
                # Who explores, and which chain, follow from other bits than who pays which price or is sampled.
                drawn = mixed(hashes[i])
                if drawn >> np.uint64(32) < exploring:
                    chain = np.int64(((drawn & np.uint64(0xFFFFFFFF)) * np.uint64(width)) >> np.uint64(32))
                own = 1.0 if chain == best else 0.0
                if two:
                    mine = share if is_high else 1.0 - share
                    other = best_chain(rewards[i], costs, low if is_high else high)
                    own = mine * own + (1.0 - mine) * (1.0 if chain == other else 0.0)
                propensities[i] = (1.0 - exploration) * own + exploration / width
            wanted += flops[chain]
            if wanted > allowance:
                chain = cheapest
                reasons[i] = _CAP
                propensities[i] = 1.0
        chains[i] = chain
        paid[i] = costs[chain]
        total += flops[chain]
    return total


_NOT_FINITE = int(Reason.REWARD_NOT_FINITE)
_CAP = int(Reason.BUDGET_CAP)
