"""The frontier: one small mergeable histogram from which the price for any budget per request is a look-up."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import InfeasibleBudget, PricingInputError
from greenflow_ray.pricing import inputs
from greenflow_ray.pricing.inputs import F64
from greenflow_ray.pricing.kernels import hull
from greenflow_ray.pricing.kernels.tally import Problem, Tally, tally

_MAGIC = b"GFFR"
_HEADER = struct.Struct("<4sHHIddd")
_FORMAT = 1
DIGEST = 16
"""Bytes of the checksum at the end of a record."""


Histogram = tuple[npt.NDArray[np.int32], F64, F64]
"""Keys int32 ``[k]``, ascending, and Σ Δc and Σ ΔR of the hull edges of each, float64 ``[k]``."""


def bucket_edge(bucket: npt.ArrayLike) -> F64:
    """Lower edge, as a price, of buckets 0..BUCKETS; the one past the last is held to the largest float32."""
    bits = np.minimum(np.asarray(bucket, np.int64) << 16, 0x7F7FFFFF).astype(np.int32)
    return np.asarray(bits.view(np.float32), np.float64)


def below_edge(bucket: int) -> float:
    """Largest float32 price at which every edge of ``bucket`` is still bought: one step below its lower edge."""
    bits = np.int32(min(max((bucket << 16) - 1, 0), 0x7F7FFFFF))
    return float(bits.view(np.float32))


def added(a: Histogram, b: Histogram) -> Histogram:
    """Two sparse histograms as one."""
    keys, where = np.unique(np.concatenate([a[0], b[0]]), return_inverse=True)
    cost, reward = (
        np.bincount(where, np.concatenate(pair), len(keys)).astype(float) for pair in zip(a[1:], b[1:], strict=True)
    )
    return keys, cost, reward


def occupied(table: F64) -> Histogram:
    """What a table ``[k, 2]`` of Σ Δc and Σ ΔR holds, without its empty rows."""
    keys = np.flatnonzero(table[:, 0]).astype(np.int32)
    return keys, table[keys, 0], table[keys, 1]


def sealed(body: bytes) -> bytes:
    """``body`` and its checksum."""
    return body + hashlib.blake2b(body, digest_size=DIGEST).digest()


@dataclass(frozen=True)
class Mix:
    """Two neighbouring prices, shared out over requests so that *expected* spend meets the budget, atoms included."""

    low: float
    high: float
    high_share: float


@dataclass(frozen=True, eq=False)
class Frontier:
    """Mean computation and mean reward per request as functions of the dual price.

    The edges of every request's upper concave hull, summed by slope (``hull``): buying them from the steepest down
    until the budget is spent is the optimum of the LP relaxation of equation (3), and the slope reached is the dual
    price λ of equation (9). So λ is a weighted quantile of slopes, and histograms of them add up across workers and
    time.

    Attributes:
        requests: how many requests went in (a weight: ``decay`` makes it fractional).
        base_cost, base_reward: Σ over requests of the cheapest chain's cost and reward.
        buckets: int32 ``[k]``, ascending, those that hold edges.
        cost, reward_gain: float64 ``[k]``, Σ Δc and Σ ΔR of their edges.
    """

    requests: float
    base_cost: float
    base_reward: float
    buckets: npt.NDArray[np.int32]
    cost: F64
    reward_gain: F64

    @classmethod
    def empty(cls) -> Frontier:
        """The frontier of no requests: adding it changes nothing."""
        return cls(0.0, 0.0, 0.0, np.empty(0, np.int32), np.empty(0), np.empty(0))

    @classmethod
    def build(cls, rewards: Any, costs: Any, *, skip_bad: bool = False, workers: int | None = None) -> Frontier:
        """One pass over ``rewards`` ``[n, J]`` and ``costs`` ``[J]`` in any order, or ``[n, J]``.

        Rows that are not finite raise PricingInputError, or with ``skip_bad`` are left out (``n - requests`` of them).
        """
        found = tally(Problem.of(rewards, costs), workers=workers)
        if not skip_bad:
            inputs.refuse_rows(found.first_bad, found.bad)
        return cls.from_tally(found)

    @classmethod
    def from_tally(cls, found: Tally) -> Frontier:
        """Keep the buckets that hold something."""
        return cls(found.requests, found.base_cost, found.base_reward, *occupied(found.table))

    def __add__(self, other: Frontier) -> Frontier:
        """The frontier of both sets of requests together."""
        if not isinstance(other, Frontier):
            return NotImplemented
        return Frontier(
            self.requests + other.requests,
            self.base_cost + other.base_cost,
            self.base_reward + other.base_reward,
            *added((self.buckets, self.cost, self.reward_gain), (other.buckets, other.cost, other.reward_gain)),
        )

    def __radd__(self, other: object) -> Frontier:
        """Let ``sum(frontiers)`` start from 0."""
        return self if other == 0 else NotImplemented

    def decay(self, factor: float) -> Frontier:
        """The same frontier weighing ``factor`` in [0, 1]: old windows fade before new ones are added."""
        factor = inputs.number("factor", factor)
        if factor > 1:
            raise PricingInputError(f"factor: {factor:g} exceeds 1; a window can only fade")
        if factor == 0:
            return Frontier.empty()
        base = (self.requests * factor, self.base_cost * factor, self.base_reward * factor)
        return Frontier(*base, self.buckets, self.cost * factor, self.reward_gain * factor)

    # Steepest first: k buckets bought cost self._bought[k] and are worth self._worth[k].

    @cached_property
    def _falling(self) -> npt.NDArray[np.int32]:
        return self.buckets[::-1]

    @cached_property
    def _bought(self) -> F64:
        return np.concatenate([[0.0], np.cumsum(self.cost[::-1])])

    @cached_property
    def _worth(self) -> F64:
        return np.concatenate([[0.0], np.cumsum(self.reward_gain[::-1])])

    @cached_property
    def floor(self) -> float:
        """Mean cost of the cheapest chain: no budget per request below it can be met."""
        self._refuse_empty()
        return self.base_cost / self.requests

    @cached_property
    def top(self) -> float:
        """Mean cost per request at price 0: a budget above it is not spent."""
        self._refuse_empty()
        return (self.base_cost + float(self._bought[-1])) / self.requests

    @cached_property
    def ceiling(self) -> float:
        """A price at which every request takes its cheapest chain (0 where nothing is ever worth more)."""
        return float(bucket_edge(self.buckets[-1] + 1)) if len(self.buckets) else 0.0

    def _refuse_empty(self) -> None:
        if not self.requests > 0:
            raise PricingInputError("frontier: holds no requests; build it from at least one")

    def _cross(self, budget_per_request: float) -> tuple[float, int]:
        """Computation left to buy edges with, in total, and the position (steepest first) of the bucket it ends in."""
        self._refuse_empty()
        left = inputs.number("budget_per_request", budget_per_request) * self.requests - self.base_cost
        return left, int(np.searchsorted(self._bought[1:], left))

    def price(self, budget_per_request: float) -> float:
        """Dual price λ ≥ 0 (reward per unit of cost) at which mean spend meets ``budget_per_request``.

        Within the crossing bucket linear in the slope, hence within 0.8 %. At or below ``floor`` it is ``ceiling``.
        """
        left, k = self._cross(budget_per_request)
        if left <= 0:
            return self.ceiling
        if k == len(self.buckets):
            return 0.0
        bucket = self._falling[k]
        low, high = float(bucket_edge(bucket)), float(bucket_edge(bucket + 1))
        share = (left - self._bought[k]) / (self._bought[k + 1] - self._bought[k])
        return float(high - share * (high - low))

    def spend(self, price: float) -> float:
        """Mean cost per request at ``price``: non-increasing, and the inverse of ``price``."""
        self._refuse_empty()
        price = inputs.number("price", price)
        bucket = int(np.float32(min(price, 3.4e38)).view(np.int32)) >> 16
        k = int(np.searchsorted(-self._falling, -bucket))  # buckets steeper than the price's own
        bought = float(self._bought[k])
        if k < len(self.buckets) and self._falling[k] == bucket:
            low, high = float(bucket_edge(bucket)), float(bucket_edge(bucket + 1))
            share = min(max((high - price) / (high - low), 0.0), 1.0)
            bought += share * float(self._bought[k + 1] - self._bought[k])
        return (self.base_cost + bought) / self.requests

    def reward(self, budget_per_request: float) -> float:
        """Mean reward per request that ``budget_per_request`` can buy: concave and non-decreasing.

        Raises InfeasibleBudget below ``floor``, where no answer could be given to every request.
        """
        left, _ = self._cross(budget_per_request)
        if left < -1e-9 * self.base_cost:
            raise InfeasibleBudget(float(budget_per_request), self.floor)
        return (self.base_reward + float(np.interp(left, self._bought, self._worth))) / self.requests

    def needed(self, reward_per_request: float) -> float:
        """The least mean cost per request that buys this mean reward: the inverse of ``reward``, ``top`` beyond it."""
        self._refuse_empty()
        wanted = inputs.number("reward_per_request", reward_per_request) * self.requests - self.base_reward
        return (self.base_cost + float(np.interp(wanted, self._worth, self._bought))) / self.requests

    def marginal(self, budget_per_request: float) -> float:
        """Slope of ``reward`` there: what one more unit of computation per request would buy."""
        left, k = self._cross(budget_per_request)
        if k == len(self.buckets):
            return 0.0
        k = k if left > 0 else 0
        return float((self._worth[k + 1] - self._worth[k]) / (self._bought[k + 1] - self._bought[k]))

    def crossing(self, budget_per_request: float) -> int | None:
        """Bucket that holds the exact price; None where it is 0 (budget above ``top``) or no edge is bought at all."""
        left, k = self._cross(budget_per_request)
        if k == len(self.buckets):
            return None
        return int(self._falling[k if left > 0 else 0])

    def above(self, bucket: int) -> tuple[float, float]:
        """Σ cost and Σ reward of all requests once every edge steeper than ``bucket`` is bought."""
        k = int(np.searchsorted(-self._falling, -bucket))
        return self.base_cost + float(self._bought[k]), self.base_reward + float(self._worth[k])

    def mix(self, budget_per_request: float, *, width: int = 1) -> Mix:
        """Two bucket edges around the price, ``width`` buckets beyond the crossing one, and the share of the dearer.

        Spend is known exactly at bucket edges, so the expectation over requests meets the budget even where many flip
        at one price; the reward lost against one exact price is of second order in the distance of the two.
        """
        left, k = self._cross(budget_per_request)
        if left <= 0:
            return Mix(self.ceiling, self.ceiling, 0.0)
        if k == len(self.buckets):
            return Mix(0.0, 0.0, 0.0)
        bucket = int(self._falling[k])
        lower, upper = max(bucket - width, 0), min(bucket + width + 1, hull.BUCKETS)
        cheap = float(self._bought[np.searchsorted(-self._falling, -lower, side="right")])
        dear = float(self._bought[np.searchsorted(-self._falling, -upper, side="right")])
        return Mix(below_edge(lower), below_edge(upper), min(max((cheap - left) / (cheap - dear), 0.0), 1.0))

    def to_bytes(self) -> bytes:
        """Versioned, checksummed and sparse: 18 bytes for each bucket that holds something."""
        header = _HEADER.pack(_MAGIC, _FORMAT, 0, len(self.buckets), self.requests, self.base_cost, self.base_reward)
        columns = (self.buckets.astype("<u2"), self.cost.astype("<f8"), self.reward_gain.astype("<f8"))
        return sealed(header + b"".join(column.tobytes() for column in columns))

    @classmethod
    def from_bytes(cls, blob: bytes) -> Frontier:
        """Read ``to_bytes``'s output. Raises PricingInputError if it is foreign, truncated, altered or not finite."""
        blob = bytes(blob)
        if blob[:4] != _MAGIC:
            raise PricingInputError("frontier blob: foreign, it does not begin with GFFR; read it from a price store")
        if len(blob) < _HEADER.size + DIGEST:
            raise PricingInputError(f"frontier blob: truncated to {len(blob)} bytes; publish it again")
        _, version, _, count, requests, base_cost, base_reward = _HEADER.unpack_from(blob)
        if version != _FORMAT:
            raise PricingInputError(
                f"frontier blob: format {version} is not {_FORMAT}, the one this release reads; upgrade"
            )
        body = blob[:-DIGEST]
        if len(body) != _HEADER.size + 18 * count or sealed(body) != blob:
            raise PricingInputError("frontier blob: truncated or altered (its checksum does not match); publish again")
        buckets = np.frombuffer(body, "<u2", count, _HEADER.size).astype(np.int32)
        cost = np.frombuffer(body, "<f8", count, _HEADER.size + 2 * count).astype(np.float64)
        gain = np.frombuffer(body, "<f8", count, _HEADER.size + 10 * count).astype(np.float64)
        result = cls(requests, base_cost, base_reward, buckets, cost, gain)
        result.check()
        return result

    def check(self) -> None:
        """Raise PricingInputError unless every number is finite, weights are positive and buckets ascend."""
        numbers = np.concatenate([[self.requests, self.base_cost, self.base_reward], self.cost, self.reward_gain])
        if not np.isfinite(numbers).all():
            raise PricingInputError("frontier: holds NaN or infinity; rebuild it from finite rewards and costs")
        if self.requests < 0 or self.base_cost < 0 or (self.cost < 0).any() or (self.reward_gain < 0).any():
            raise PricingInputError("frontier: holds a negative weight; rebuild it")
        if len(self.buckets) and (np.diff(self.buckets).min(initial=1) < 1 or self.buckets[-1] >= hull.BUCKETS):
            raise PricingInputError("frontier: buckets do not ascend; rebuild it")
