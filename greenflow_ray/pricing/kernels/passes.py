"""Passes over many rows: tally their hull edges by slope, list those near a price, and settle on chains."""

from __future__ import annotations

from typing import Any

import numpy as np

from greenflow_ray.pricing.kernels.hull import finite, hull_row, slope_bits, sort_row
from greenflow_ray.support.jit import kernel


@kernel
def histogram(
    rewards: Any, bits: Any, order: Any, costs: Any, per_row: bool, bucket: int, table: Any, totals: Any
) -> None:
    """Add the hull edges of every row to ``table`` ``[·, 2]`` (Σ Δc, Σ ΔR), by bucket, or within ``bucket`` if ≥ 0.

    ``rewards`` float32 ``[n, J]`` and ``bits``, the same memory as int32; ``costs`` ``[1, J]`` ascending and shared,
    or ``[n, J]`` in column order if ``per_row``. ``totals`` gains requests, Σ cost and Σ reward of the cheapest
    chains, Σ edges and rows that are not finite (left out; ``totals[5]`` is the first).
    """
    n, width = rewards.shape
    reward = np.empty(width + 2)
    cost = np.empty(width + 2)
    slope = np.empty(width + 2)
    place = np.empty(width + 2, np.uint32)
    wasted = 0
    ascending = costs[0].copy() if n or not per_row else np.empty(width)
    order = order.copy()
    requests = base_cost = base_reward = edges = 0.0
    for i in range(n):
        if not finite(bits[i]):
            if totals[4] == 0:
                totals[5] = i
            totals[4] += 1
            continue
        if per_row:
            sort_row(costs[i], order, ascending)
        top, wasted = hull_row(rewards[i], order, ascending, wasted, reward, cost, slope, place)
        requests += 1
        base_cost += cost[0]
        base_reward += reward[0]
        edges += top
        if bucket < 0:
            for k in range(1, top + 1):
                key = np.uint32(slope_bits(slope[k]) >> 16)
                table[key, 0] += cost[k] - cost[k - 1]
                table[key, 1] += reward[k] - reward[k - 1]
        else:
            for k in range(1, top + 1):
                full = slope_bits(slope[k])
                if full >> 16 == bucket:
                    table[full & 0xFFFF, 0] += cost[k] - cost[k - 1]
                    table[full & 0xFFFF, 1] += reward[k] - reward[k - 1]
    totals[0] += requests
    totals[1] += base_cost
    totals[2] += base_reward
    totals[3] += edges


@kernel
def survey(
    rewards: Any, bits: Any, order: Any, costs: Any, per_row: bool, low: int, high: int, table: Any, totals: Any,
    chains: Any, edge_bits: Any, edge_row: Any, edge_chain: Any, edge_cost: Any, edge_reward: Any,
) -> int:  # fmt: skip
    """As ``histogram`` by bucket, and keep what an exact price needs: every row's chain and the edges near the price.

    ``chains`` int32 ``[n]`` receives each row's vertex once all edges steeper than bucket ``high`` are bought;
    ``totals[6]`` and ``[7]`` gain Σ cost and Σ reward of those. Edges of buckets ``low``..``high`` are listed, rows in
    order, each row's steepest first: float32 bits, row, chain it leads to, Δc, ΔR. Returns how many there are, which
    may be more than the lists hold.
    """
    n, width = rewards.shape
    reward = np.empty(width + 2)
    cost = np.empty(width + 2)
    slope = np.empty(width + 2)
    place = np.empty(width + 2, np.uint32)
    wasted = 0
    ascending = costs[0].copy() if n or not per_row else np.empty(width)
    order = order.copy()
    found = 0
    room = edge_bits.shape[0]
    requests = base_cost = base_reward = edges = spent = worth = 0.0
    for i in range(n):
        if not finite(bits[i]):
            if totals[4] == 0:
                totals[5] = i
            totals[4] += 1
            continue
        if per_row:
            sort_row(costs[i], order, ascending)
        top, wasted = hull_row(rewards[i], order, ascending, wasted, reward, cost, slope, place)
        requests += 1
        base_cost += cost[0]
        base_reward += reward[0]
        edges += top
        at = 0
        for k in range(1, top + 1):
            full = slope_bits(slope[k])
            key = full >> 16
            table[key, 0] += cost[k] - cost[k - 1]
            table[key, 1] += reward[k] - reward[k - 1]
            if key > high:
                at = k
            elif key >= low:
                if found < room:
                    edge_bits[found] = full
                    edge_row[found] = i
                    edge_chain[found] = order[place[k]]
                    edge_cost[found] = cost[k] - cost[k - 1]
                    edge_reward[found] = reward[k] - reward[k - 1]
                found += 1
        chains[i] = order[place[at]]
        spent += cost[at]
        worth += reward[at]
    totals[0] += requests
    totals[1] += base_cost
    totals[2] += base_reward
    totals[3] += edges
    totals[6] += spent
    totals[7] += worth
    return found


@kernel
def settle(
    price_bits: int, spare: float, bits: Any, row: Any, chain: Any, cost: Any, reward: Any, chains: Any
) -> tuple[float, float]:
    """Move rows along their listed edges (``survey``): steeper than the price all, equal ones in order while they fit.

    Edges as ``survey`` lists them; ``chains`` is updated. Returns what of ``spare`` is left, and
    Σ ΔR of the equal ones that were bought.
    """
    stopped = -1
    gained = 0.0
    for e in range(bits.shape[0]):
        if bits[e] > price_bits:
            chains[row[e]] = chain[e]
        elif bits[e] == price_bits and row[e] != stopped:
            if cost[e] <= spare:
                spare -= cost[e]
                gained += reward[e]
                chains[row[e]] = chain[e]
            else:
                stopped = row[e]  # the rest of this row's edges lie behind the one that does not fit
    return spare, gained
