"""What an allocator decides, without Ray: rewards of all chains, the price in memory, argmax, sample, account."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import FeatureSource
from greenflow_ray.pricing.choice import PriceDirective, choose, request_hashes
from greenflow_ray.reward.base import RewardEstimator
from greenflow_ray.serving.sample_log import SampleLog
from greenflow_ray.serving.wire import Allocation, AllocationBatch, Orders, Reason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Standing:
    """Orders, when they came, and up to which spend they count, in one object: a thread replaces all at once."""

    orders: Orders
    received: float
    reported: int


class Allocator:
    """Chooses chains. :meth:`follow` is called by the exchange's thread, :meth:`allocate` by the request path."""

    def __init__(
        self,
        config: CascadeConfig,
        space: ChainSpace,
        reward: RewardEstimator,
        features: FeatureSource,
        samples: SampleLog | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` measures ages, ``wall`` stamps samples (Unix seconds)."""
        self._space = space
        self._costs = space.costs
        self._integer_costs = np.array([chain.flops for chain in space.chains], dtype=np.int64)
        self._reward = reward
        self._features = features
        self._samples = samples
        self._ttl_s = config.budget.price_ttl_s
        self._safe = space.index(config.budget.safe_chain)
        self._when_fixed = config.sampling.when_fixed
        self._exploration = config.budget.exploration
        self._clock = clock
        self._wall = wall
        self._standing: _Standing | None = None
        self._interval_s = config.budget.exchange_s
        self.requests = 0
        self.weight = 0.0
        self.flops = 0
        self.own_flops = 0

    def follow(self, orders: Orders, reported: int = 0) -> None:
        """Act on these orders from now on; ``reported`` is the value of ``flops`` that the ledger knew of."""
        self._standing = _Standing(orders, self._clock(), reported)

    def warm(self, batch: AllocationBatch) -> None:
        """Run everything that compiles or allocates on first use; decides nothing."""
        rewards = self._rewards(batch)
        if rewards is not None:
            self._decide(rewards, PriceDirective(0.0, 1.0, 0.5, 0, False, self._safe), batch.hashes)

    @property
    def price(self) -> float:
        """Dual price of the standing orders, reward per FLOP; 0 without any."""
        return self._standing.orders.price if self._standing else 0.0

    @property
    def price_age_s(self) -> float:
        """Seconds since orders last came; infinite if none ever did."""
        return self._clock() - self._standing.received if self._standing else float("inf")

    def allocate(self, batch: AllocationBatch) -> Allocation:
        """A chain for every request of the batch; never fails for want of a price or a reward."""
        started = time.perf_counter()
        size = len(batch.user_ids)
        standing = self._standing
        fresh = standing is not None and self._clock() - standing.received <= self._ttl_s
        fixed = standing is not None and standing.orders.policy == "fixed"
        rewards = None if fixed and not (self._when_fixed or batch.explain) else self._rewards(batch)
        prices = np.zeros(size)
        version = 0
        reasons = np.zeros(size, dtype=np.int16)
        propensities = np.ones(size, dtype=np.float32)
        if fixed and standing is not None:  # a fixed chain needs no price, so it does not expire
            chains = np.full(size, standing.orders.fixed_chain, dtype=np.int32)
        elif standing is None or not fresh or rewards is None:
            chains = np.full(size, self._safe, dtype=np.int32)
            missing = Reason.NO_PRICE if standing is None else Reason.PRICE_EXPIRED
            reasons[:] = Reason.REWARD_UNAVAILABLE if rewards is None else missing
        else:
            directive = self._paced(standing, size)
            version = directive.version
            prices = paid_prices(directive, batch.hashes)
            chains, propensities = self._decide(rewards, directive, batch.hashes)
            finite = np.isfinite(rewards).all(axis=1)
            if directive.capped:
                reasons[:] = standing.orders.reason
            elif not finite.all():
                chains[~finite] = self._safe
                reasons[~finite] = Reason.REWARD_NOT_FINITE
            if not directive.capped:
                self._hold_cap(standing, chains, reasons)
        propensities[reasons != 0] = 1.0
        self._account(chains, rewards is not None)
        if rewards is not None and self._samples is not None:
            self._samples.add(
                self._wall(), batch.request_ids, batch.user_ids, batch.hashes, rewards, chains, self._costs[chains],
                prices, version, propensities,
            )  # fmt: skip
        shown = rewards if batch.explain else None
        return Allocation(chains, prices, version, reasons, shown, time.perf_counter() - started)

    def _rewards(self, batch: AllocationBatch) -> npt.NDArray[np.float32] | None:
        """Reward rows, ``[B, J]``; None if the model fails, which must not fail the request."""
        try:
            rewards = self._reward.predict(self._features.lookup(batch.user_ids))
            if rewards.shape != (len(batch.user_ids), len(self._space)):
                raise ValueError(f"shape {rewards.shape}, expected ({len(batch.user_ids)}, {len(self._space)})")
        except Exception:
            log.exception("the reward model failed; the safe chain is served")
            return None
        return rewards

    def _paced(self, standing: _Standing, size: int) -> PriceDirective:
        """The orders' prices, moved by how far this allocator's spend is off their pace."""
        orders = standing.orders
        multiplier = 1.0
        if orders.pace is not None and not orders.directive.capped:
            elapsed = self._clock() - standing.received
            multiplier = orders.pace.multiplier(self.flops - standing.reported, elapsed)
        self.weight += multiplier * size
        if orders.pace is None or multiplier == 1.0:
            return orders.directive
        return orders.pace.priced(orders.directive, multiplier)

    def _decide(
        self, rewards: npt.NDArray[np.float32], directive: PriceDirective, hashes: npt.NDArray[np.uint64]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """Chains, int32 ``[B]``, some of them at random if exploring, and the probability of each."""
        best = choose(rewards, self._costs, directive, hashes)
        explore = 0.0 if directive.capped else self._exploration
        chains = explored(best, explore, len(self._space), hashes) if explore else best
        probability = propensity(rewards, self._costs, directive, hashes, best, chains)
        return chains, (1.0 - explore) * probability + np.float32(explore / len(self._space))

    def _hold_cap(self, standing: _Standing, chains: npt.NDArray[np.int32], reasons: npt.NDArray[np.int16]) -> None:
        """Past the orders' allowance every further request gets the cheapest chain, without waiting for new orders."""
        if standing.orders.allowance is None:
            return
        allowance = standing.orders.allowance
        if standing.orders.pace is not None:  # it becomes due little by little, and goes on if no more orders come
            allowance += standing.orders.pace.budget * (self._clock() - standing.received - self._interval_s)
        spent = self.flops - standing.reported + np.cumsum(self._integer_costs[chains])
        over = spent > allowance
        if over.any():
            chains[over] = self._space.cheapest
            reasons[over] = Reason.BUDGET_CAP

    def _account(self, chains: npt.NDArray[np.int32], estimated: bool) -> None:
        """Exact integers: FLOPs committed to chains, and the allocator's own."""
        flops = int(self._integer_costs[chains].sum())
        self.requests += len(chains)
        self.flops += flops
        if estimated:
            self.own_flops += self._reward.flops_per_request * len(chains)


def paid_prices(directive: PriceDirective, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """The price that each request pays, float64 ``[B]``."""
    high = hashes.astype(np.float64) < directive.high_share * 2.0**64
    return np.where(high, directive.price_high, directive.price_low)


def explored(
    best: npt.NDArray[np.int32], share: float, width: int, hashes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int32]:
    """``best``, int32 ``[B]``, but for ``share`` of the requests one of ``width`` chains, all equally likely.

    Who, and which chain, follow from the request's hash alone, by bits that are independent of who pays which price and
    of who is sampled.
    """
    drawn = request_hashes(hashes)
    out = best.copy()
    who = (drawn >> np.uint64(32)) < np.uint64(share * 2**32)
    out[who] = ((drawn[who] & np.uint64(0xFFFFFFFF)) * np.uint64(width)) >> np.uint64(32)
    return out


def propensity(
    rewards: npt.NDArray[np.float32],
    costs: npt.NDArray[np.float64],
    directive: PriceDirective,
    hashes: npt.NDArray[np.uint64],
    best: npt.NDArray[np.int32],
    chains: npt.NDArray[np.int32],
) -> npt.NDArray[np.float32]:
    """Probability, over the request's hash, that the prices buy ``chains``, float32 ``[B]``.

    ``best``, int32 ``[B]``, is what each request's own price buys. 1 where both prices buy the same chain and that is
    it; where they do not, the share of requests that pay the price which buys it; 0 if neither does.
    """
    share = directive.high_share
    if directive.capped or not 0.0 < share < 1.0 or directive.price_low == directive.price_high:
        return np.asarray(chains == best, np.float32)
    swapped = PriceDirective(
        directive.price_high, directive.price_low, share, directive.version, False, directive.cheapest
    )
    other = choose(rewards, costs, swapped, hashes)
    own = np.where(hashes.astype(np.float64) < share * 2.0**64, share, 1.0 - share)
    return np.asarray(own * (chains == best) + (1.0 - own) * (chains == other), np.float32)
