"""The heart: each request's upper concave hull of (cost, reward), as numba kernels without temporaries.

For one budget the LP relaxation of a request's choice is the upper concave hull of its points ``(c_j, R_ij)``, from the
cheapest chain on (paper, equations 3 and 9). Each hull edge is an offer "Δc more computation buys ΔR" at slope
ΔR/Δc, and along a hull slopes fall. Everything here walks those edges.

A slope is keyed by the bits of its float32, which order as the slopes do: the top 16 are its *bucket* (about 0.8 %
wide, no logarithm needed), the low 16 its place within. Slopes are compared in float64, so rounding to float32 keeps
their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from greenflow_ray.pricing.jit import kernel

BUCKETS = 0x7F80
"""Buckets of finite positive float32 values: their bits' top half."""

FINE = 1 << 16
"""Places within one bucket."""

_EXPONENT = np.int32(0x7F800000)
_LARGEST = np.int32(0x7F7FFFFF)


@kernel
def slope_bits(slope: float) -> int:
    """Bits of ``slope`` > 0 as float32, held within the positive finite ones."""
    bits = np.float32(slope).view(np.int32)
    return min(max(bits, np.int32(1)), _LARGEST)  # type: ignore[return-value]


@kernel
def _finite(bits: Any) -> bool:
    top = np.int32(0)
    for j in range(bits.shape[0]):
        top = max(top, bits[j] & _EXPONENT)
    return bool(top != _EXPONENT)


@kernel
def hull_row(rewards: Any, order: Any, costs: Any, reward: Any, cost: Any, slope: Any, place: Any) -> int:
    """Hull of one request; returns its number of edges ``e``.

    ``order`` ``[J]`` lists columns by cost and ``costs`` ``[J]`` their costs, ascending. Vertices 0..e come out in
    ``reward``, ``cost`` and ``place`` (position in ``order``), and ``slope[k]`` is that of the edge into vertex ``k``.
    A monotone
    chain: a point below the best reward so far is dominated and costs one comparison.
    """
    top = 0
    best = np.float64(rewards[order[0]])
    spent = costs[0]
    steepness = np.inf
    reward[0] = best
    cost[0] = spent
    slope[0] = steepness
    place[0] = 0
    for j in range(1, order.shape[0]):
        r = np.float64(rewards[order[j]])
        if r > best:
            c = costs[j]
            s = (r - best) / (c - spent)  # equal costs: infinite, so the worse of the two is popped
            while s >= steepness:
                top -= 1
                if top < 0:
                    s = np.inf
                    break
                steepness = slope[top]
                s = (r - reward[top]) / (c - cost[top])
            top += 1
            reward[top] = r
            cost[top] = c
            slope[top] = s
            place[top] = j
            best = r
            spent = c
            steepness = s
    return top


@kernel
def sort_row(costs: Any, order: Any, ascending: Any) -> None:
    """Sort one row's costs into ``ascending``, ties by column; ``order`` comes in as any permutation."""
    for j in range(order.shape[0]):
        column = order[j]
        c = costs[column]
        k = j
        while k > 0 and (ascending[k - 1] > c or (ascending[k - 1] == c and order[k - 1] > column)):
            ascending[k] = ascending[k - 1]
            order[k] = order[k - 1]
            k -= 1
        ascending[k] = c
        order[k] = column


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
    reward = np.empty(width)
    cost = np.empty(width)
    slope = np.empty(width)
    place = np.empty(width, np.int32)
    ascending = costs[0].copy() if n or not per_row else np.empty(width)
    order = order.copy()
    requests = base_cost = base_reward = edges = 0.0
    for i in range(n):
        if not _finite(bits[i]):
            if totals[4] == 0:
                totals[5] = i
            totals[4] += 1
            continue
        if per_row:
            sort_row(costs[i], order, ascending)
        top = hull_row(rewards[i], order, ascending, reward, cost, slope, place)
        requests += 1
        base_cost += cost[0]
        base_reward += reward[0]
        edges += top
        if bucket < 0:
            for k in range(1, top + 1):
                key = slope_bits(slope[k]) >> 16
                table[key, 0] += cost[k] - cost[k - 1]
                table[key, 1] += reward[k] - reward[k - 1]
        else:
            for k in range(1, top + 1):
                key = slope_bits(slope[k])
                if key >> 16 == bucket:
                    table[key & 0xFFFF, 0] += cost[k] - cost[k - 1]
                    table[key & 0xFFFF, 1] += reward[k] - reward[k - 1]
    totals[0] += requests
    totals[1] += base_cost
    totals[2] += base_reward
    totals[3] += edges


@kernel
def survey(
    rewards: Any,
    bits: Any,
    order: Any,
    costs: Any,
    per_row: bool,
    low: int,
    high: int,
    table: Any,
    totals: Any,
    chains: Any,
    edge_bits: Any,
    edge_row: Any,
    edge_chain: Any,
    edge_cost: Any,
    edge_reward: Any,
) -> int:
    """As ``histogram`` by bucket, and keep what an exact price needs: every row's chain and the edges near the price.

    ``chains`` int32 ``[n]`` receives each row's vertex once all edges steeper than bucket ``high`` are bought;
    ``totals[6]`` and ``[7]`` gain Σ cost and Σ reward of those. Edges of buckets ``low``..``high`` are listed, rows in
    order, each row's steepest first: float32 bits, row, chain it leads to, Δc, ΔR. Returns how many there are, which
    may be more than the lists hold.
    """
    n, width = rewards.shape
    reward = np.empty(width)
    cost = np.empty(width)
    slope = np.empty(width)
    place = np.empty(width, np.int32)
    ascending = costs[0].copy() if n or not per_row else np.empty(width)
    order = order.copy()
    found = 0
    room = edge_bits.shape[0]
    requests = base_cost = base_reward = edges = spent = worth = 0.0
    for i in range(n):
        if not _finite(bits[i]):
            if totals[4] == 0:
                totals[5] = i
            totals[4] += 1
            continue
        if per_row:
            sort_row(costs[i], order, ascending)
        top = hull_row(rewards[i], order, ascending, reward, cost, slope, place)
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
def settle(price_bits: int, spare: float, bits: Any, row: Any, chain: Any, cost: Any, chains: Any) -> float:
    """Move rows along their listed edges (``survey``): steeper than the price all, equal ones in order while they fit.

    Edges as ``survey`` lists them; ``chains`` is updated. Returns what of ``spare`` is left.
    """
    stopped = -1
    for e in range(bits.shape[0]):
        if bits[e] > price_bits:
            chains[row[e]] = chain[e]
        elif bits[e] == price_bits and row[e] != stopped:
            if cost[e] <= spare:
                spare -= cost[e]
                chains[row[e]] = chain[e]
            else:
                stopped = row[e]  # the rest of this row's edges lie behind the one that does not fit
    return spare
