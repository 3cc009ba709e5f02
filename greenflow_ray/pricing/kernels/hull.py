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

from greenflow_ray.support.jit import kernel

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
def finite(bits: Any) -> bool:
    """Whether all float32 with these int32 ``bits`` are finite."""
    top = np.int32(0)
    for j in range(bits.shape[0]):
        top = max(top, bits[j] & _EXPONENT)
    return bool(top != _EXPONENT)


# Indices are unsigned throughout: numba then leaves out the test for negative ones, a quarter of the time.


@kernel
def _scan(rewards: Any, order: Any, costs: Any, reward: Any, cost: Any, slope: Any, place: Any) -> Any:
    """Monotone chain over points that come by ascending cost; returns edges and the points that were pushed in vain.

    A point below the best reward so far is dominated and costs one comparison.
    """
    one = np.uint64(1)
    top = np.uint64(0)
    pushed = 0
    best = rewards[order[0]]
    at = np.float64(best)
    spent = costs[0]
    steepness = np.inf
    reward[0] = at
    cost[0] = spent
    slope[0] = steepness
    place[0] = 0
    for j in range(one, np.uint64(order.shape[0])):
        r32 = rewards[order[j]]
        if r32 > best:
            r = np.float64(r32)
            c = costs[j]
            s = (r - at) / (c - spent)  # equal costs: infinite, so the worse of the two is popped
            while s >= steepness:
                if top == 0:
                    s = np.inf
                    top = np.uint64(0xFFFFFFFFFFFFFFFF)  # one more is 0
                    break
                top -= one
                steepness = slope[top]
                s = (r - reward[top]) / (c - cost[top])
            top += one
            pushed += 1
            reward[top] = r
            cost[top] = c
            slope[top] = s
            place[top] = j
            best = r32
            at = r
            spent = c
            steepness = s
    return np.int64(top), pushed - np.int64(top)


@kernel
def _sift(rewards: Any, order: Any, costs: Any, reward: Any, cost: Any, slope: Any, place: Any) -> Any:
    """The same hull where many points rise above the best so far and are popped again: rewards with noise.

    Branches that no processor foresees would take most of the time, so points are thinned without branches first: those
    that are no record, then twice those on or below the segment between their neighbours (none of which is a vertex).
    What is left, few points that are nearly all vertices, goes through a monotone chain.
    """
    one = np.uint64(1)
    count = np.uint64(0)
    best = np.float32(-np.inf)
    for j in range(np.uint64(order.shape[0])):
        r32 = rewards[order[j]]
        place[count] = j
        count += np.uint64(r32 > best)
        best = max(best, r32)
    records = np.int64(count)
    for k in range(count):
        reward[k] = rewards[order[place[k]]]
        cost[k] = costs[place[k]]
    slope[0] = np.inf
    for _ in range(2):
        for k in range(one, count):
            slope[k] = (reward[k] - reward[k - one]) / (cost[k] - cost[k - one])
        slope[count] = 0.0
        kept = np.uint64(0)
        for k in range(count):
            vertex = slope[k] > slope[k + one]
            reward[kept] = reward[k]
            cost[kept] = cost[k]
            place[kept] = place[k]
            kept += np.uint64(vertex)
        if kept == count:
            return np.int64(count) - 1, records - np.int64(count)
        count = kept
    top = np.uint64(0)
    at = reward[0]
    spent = cost[0]
    steepness = np.inf
    for k in range(one, count):
        r = reward[k]
        c = cost[k]
        s = (r - at) / (c - spent)
        while s >= steepness:
            if top == 0:
                s = np.inf
                top = np.uint64(0xFFFFFFFFFFFFFFFF)
                break
            top -= one
            steepness = slope[top]
            s = (r - reward[top]) / (c - cost[top])
        top += one
        reward[top] = r
        cost[top] = c
        slope[top] = s
        place[top] = place[k]
        at = r
        spent = c
        steepness = s
    return np.int64(top), records - 1 - np.int64(top)


@kernel
def hull_row(rewards: Any, order: Any, costs: Any, wasted: int, reward: Any, cost: Any, slope: Any, place: Any) -> Any:
    """Hull of one request: its number of edges ``e``, and how many points a monotone chain pushes in vain.

    ``order`` uint32 ``[J]`` lists columns by cost and ``costs`` ``[J]`` their costs, ascending. ``wasted`` is what the
    row before returned: it tells which of two algorithms will be faster. Vertices 0..e come out in ``reward``, ``cost``
    and ``place`` (position in ``order``), all ``[J + 2]``, and ``slope[k]`` is that of the edge into vertex ``k``.
    """
    if wasted > 8 and 8 * wasted > order.shape[0]:
        return _sift(rewards, order, costs, reward, cost, slope, place)
    return _scan(rewards, order, costs, reward, cost, slope, place)


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
