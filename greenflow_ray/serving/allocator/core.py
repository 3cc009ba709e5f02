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
from greenflow_ray.pricing.kernels.choice import PriceDirective
from greenflow_ray.reward.traits import RewardEstimator
from greenflow_ray.serving.allocator.kernel import Decision, Rules, decide
from greenflow_ray.serving.logs.samples import SampleLog
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
        self._reward = reward
        self._features = features
        self._samples = samples
        self._ttl_s = config.budget.price_ttl_s
        self._when_fixed = config.sampling.when_fixed
        safe = space.index(config.budget.safe_chain)
        flops = np.array([chain.flops for chain in space.chains], dtype=np.int64)
        self._rules = Rules(space.costs, flops, space.cheapest, safe, config.budget.exploration)
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
        if rewards is None:
            rewards = np.zeros((len(batch.user_ids), len(self._space)), np.float32)
        decide(rewards, PriceDirective(0.0, 1.0, 0.5, 0, False, self._rules.safe), batch.hashes, self._rules)

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
        fixed = standing is not None and standing.orders.policy != "greenflow"
        rewards = None if fixed and not (self._when_fixed or batch.explain) else self._rewards(batch)
        if fixed and standing is not None:  # a fixed chain needs no price, so it does not expire
            version, decision = 0, self._mixed(batch.hashes, *standing.orders.fixed)
        elif standing is None or not fresh or rewards is None:
            missing = Reason.NO_PRICE if standing is None else Reason.PRICE_EXPIRED
            missing = Reason.REWARD_UNAVAILABLE if rewards is None else missing
            version, decision = 0, self._all(size, self._rules.safe, missing)
        else:
            directive = self._paced(standing, size)
            version = directive.version
            decision = decide(
                rewards, directive, batch.hashes, self._rules,
                allowance=self._allowance(standing), reason=standing.orders.reason,
            )  # fmt: skip
        self.requests += size
        self.flops += decision.flops
        if rewards is not None:
            self.own_flops += self._reward.flops_per_request * size
            if self._samples is not None:
                self._samples.add(
                    self._wall(), batch.request_ids, batch.user_ids, batch.hashes, rewards, decision.chains,
                    decision.costs, decision.prices, version, decision.propensities,
                )  # fmt: skip
        shown = rewards if batch.explain else None
        seconds = time.perf_counter() - started
        return Allocation(decision.chains, decision.prices, version, decision.reasons, shown, seconds)

    def _all(self, size: int, chain: int, reason: Reason) -> Decision:
        """One chain for everybody."""
        return Decision(
            np.full(size, chain, dtype=np.int32),
            np.full(size, self._rules.costs[chain]),
            np.zeros(size),
            np.ones(size, dtype=np.float32),
            np.full(size, reason, dtype=np.int16),
            size * int(self._rules.flops[chain]),
        )

    def _mixed(self, hashes: npt.NDArray[np.uint64], chains: tuple[int, ...], upto: tuple[float, ...]) -> Decision:
        """Fixed shares of the requests for each of ``chains``, by their hashes."""
        if len(chains) == 1:
            return self._all(len(hashes), chains[0], Reason.NONE)
        which = np.searchsorted(np.array(upto), hashes.astype(np.float64) / 2.0**64, side="right")
        which = np.minimum(which, len(chains) - 1)
        chosen = np.array(chains, dtype=np.int32)[which]
        shares = np.diff(np.array(upto), prepend=0.0).astype(np.float32)
        return Decision(
            chosen, self._rules.costs[chosen], np.zeros(len(hashes)), shares[which],
            np.full(len(hashes), Reason.NONE, dtype=np.int16), int(self._rules.flops[chosen].sum()),
        )  # fmt: skip

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

    def _allowance(self, standing: _Standing) -> float:
        """FLOPs that these orders still allow; past them each request gets the cheapest chain, without new orders."""
        allowance = standing.orders.allowance
        if allowance is None:
            return np.inf
        if standing.orders.pace is not None:  # it becomes due little by little, and goes on if no more orders come
            allowance += standing.orders.pace.budget * (self._clock() - standing.received - self._interval_s)
        return allowance - (self.flops - standing.reported)
