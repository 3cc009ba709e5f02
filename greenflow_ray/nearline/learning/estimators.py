"""What other policies would have earned, estimated from the log of the one that served: pure numpy, no Ray.

With ``w_i = 1[a_i = π(x_i)] / p_i``, where ``p_i`` is the logged propensity of the served chain ``a_i``, and sampling
weights ``s_i`` = 1 ÷ sampling rate, clicks per request under the policy π are

- IPS: ``Σ s w y / Σ s`` (Horvitz and Thompson 1952);
- SNIPS: ``Σ s w y / Σ s w`` (Swaminathan and Joachims 2015);
- doubly robust: ``Σ s (R̂(x, π(x)) + w (y − R̂(x, a))) / Σ s``, with the logged reward row as the model R̂ (Dudík,
  Langford and Li 2011).

All three rest on every chain that π wants having had a chance. Where the log shows that it had none there is no
estimate, and none is given. FLOPs per request need no weights: a chain's cost is known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from greenflow_ray.errors import DataError, InfeasibleBudget
from greenflow_ray.nearline.learning.dataset import Joined
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels.choice import PriceDirective, choose

F64 = npt.NDArray[np.float64]
Verdict = Literal["identified", "weak", "not identifiable"]

CERTAIN = 1.0 - 1e-6
"""A propensity from here on means that no other chain had a chance."""
MOSTLY = 0.8
"""If at least this share of requests was explored, the others (degraded, capped) are left out; else all count."""
ENOUGH = 30.0
"""Below this effective sample size an interval is not to be trusted."""


@dataclass(frozen=True)
class Estimate:
    """A mean per request, its standard error, and a 95 % interval from ``low`` to ``high``."""

    value: float
    error: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Policy:
    """A chain for every logged request: ``choices`` int32 ``[n]``; ``price`` of a price policy, else None."""

    name: str
    choices: npt.NDArray[np.int32]
    price: float | None = None


@dataclass(frozen=True)
class Valuation:
    """What a policy is worth.

    Attributes:
        name, price: of the policy; price None: a fixed chain.
        verdict: ``weak``: the effective sample is below ``ENOUGH``; ``not identifiable``: there is no estimate.
        reason: why, where it is not ``identified``.
        matched: requests that got the chain which the policy wants.
        effective: effective sample size, (Σ s w)² ÷ Σ (s w)².
        mean_weight: Σ s w ÷ Σ s, which is 1 up to chance where propensities are right and every chain had a chance.
        flops: FLOPs per request.
        ips, snips, robust: clicks per request, three times; None where not identifiable.
    """

    name: str
    price: float | None
    verdict: Verdict
    reason: str | None
    matched: int
    effective: float
    mean_weight: float
    flops: Estimate
    ips: Estimate | None = None
    snips: Estimate | None = None
    robust: Estimate | None = None


@dataclass(frozen=True, eq=False)
class Evidence:
    """The requests that policies are valued on.

    Attributes:
        log: their rows.
        explored: share of the usable requests whose propensity is below 1.
        left_out: requests served with certainty (degraded, capped) and left out because most others were explored.
        unusable: requests without a finite reward row, a propensity in (0, 1] or a known chain.
        users: int64 ``[n]``, index of the context of every request; requests of one context are not independent.
    """

    log: Joined
    explored: float
    left_out: int
    unusable: int
    users: npt.NDArray[np.int64]

    @classmethod
    def of(cls, log: Joined) -> Evidence:
        """Choose the requests. Raises DataError if none is usable."""
        width = len(log.costs)
        usable = np.isfinite(log.rewards).all(axis=1) & (log.propensity > 0) & (log.propensity <= 1)
        usable &= (log.chain >= 0) & (log.chain < width) & (log.rate > 0)
        if not usable.any():
            raise DataError("joined samples: none has finite rewards and a propensity in (0, 1]; serve traffic first")
        random = usable & (log.propensity < CERTAIN)
        explored = random.sum() / usable.sum()
        kept = random if explored >= MOSTLY else usable
        rows = log.where(kept)
        users = np.unique(rows.context, return_inverse=True)[1].astype(np.int64)
        return cls(rows, float(explored), int(usable.sum() - kept.sum()), int((~usable).sum()), users)

    @property
    def share(self) -> F64:
        """Sampling weights ``[n]``, which sum to 1."""
        inverse: F64 = 1.0 / self.log.rate
        return np.asarray(inverse / inverse.sum(), np.float64)

    def mean(self, values: F64, support: float = np.inf) -> Estimate:
        """Mean of ``values`` ``[n]``, its error from sums over contexts; ``support``: effective sample behind it."""
        value = float(self.share @ values)
        error = self._error(values - value)
        groups = int(self.users.max()) + 1
        margin = error * float(stats.t.ppf(0.975, max(min(support, groups) - 1.0, 1.0)))
        return Estimate(value, error, value - margin, value + margin)

    def _error(self, deviation: F64) -> float:
        """Standard error of a weighted mean from its deviations ``[n]``, contexts being independent of each other."""
        sums = np.bincount(self.users, self.share * deviation)
        groups = len(sums)
        return float(np.sqrt(groups / (groups - 1) * (sums @ sums))) if groups > 1 else float("nan")


def as_logged(evidence: Evidence) -> tuple[Estimate, Estimate]:
    """Clicks and FLOPs per request of the policy that served: plain means."""
    log = evidence.log
    return evidence.mean(log.clicks), evidence.mean(log.costs[log.chain])


def fixed_chains(log: Joined) -> list[Policy]:
    """One policy a chain, in the chains' order."""
    return [Policy(name, np.full(len(log), j, np.int32)) for j, name in enumerate(log.names)]


def at_price(log: Joined, price: float, name: str | None = None) -> Policy:
    """Every request's best chain at ``price``, clicks per FLOP. Raises PricingInputError unless finite and ≥ 0."""
    cheapest = int(np.argmin(log.costs))
    directive = PriceDirective(price, price, 0.0, 0, False, cheapest)
    choices = choose(log.rewards, log.costs, directive, np.zeros(len(log), np.uint64))
    return Policy(name or f"price {price:.3g}", choices, price)


def within_budget(log: Joined, flops_per_request: float) -> Policy:
    """The price policy that spends ``flops_per_request`` on these requests. Raises InfeasibleBudget below the floor."""
    frontier = Frontier.build(log.rewards, log.costs)
    if flops_per_request < frontier.floor:
        raise InfeasibleBudget(flops_per_request, frontier.floor)
    return at_price(log, frontier.price(flops_per_request), f"budget {flops_per_request / 1e6:.4g} MFLOPs")


def value(evidence: Evidence, policy: Policy) -> Valuation:
    """Estimate what ``policy``, made for ``evidence.log``, earns and costs."""
    log, share = evidence.log, evidence.share
    same = log.chain == policy.choices
    weight = np.where(same, 1.0 / log.propensity, 0.0)
    mass = share * weight
    matched, mean_weight = int(same.sum()), float(mass.sum())
    effective = mean_weight**2 / float(mass @ mass) if matched else 0.0
    reason = _unsupported(evidence, policy, weight)
    flops = evidence.mean(log.costs[policy.choices])
    known = Valuation(policy.name, policy.price, "not identifiable", reason, matched, effective, mean_weight, flops)
    if reason is not None:
        return known
    rows = np.arange(len(log))
    model, served = log.rewards[rows, policy.choices], log.rewards[rows, log.chain]
    ratio = float(mass @ log.clicks) / mean_weight
    turned = evidence.mean(weight * (log.clicks - ratio) / mean_weight, effective)
    snips = Estimate(ratio, turned.error, ratio + turned.low - turned.value, ratio + turned.high - turned.value)
    doubts = []
    if effective < ENOUGH:
        doubts.append(f"effective sample {effective:.0f}: too few to trust the interval")
    spread = evidence.mean(weight, effective)
    if mean_weight - 1 > 4 * spread.error:
        doubts.append(f"mean weight {mean_weight:.2f}, expected 1: the logged propensities are too small")
    return replace(
        known,
        verdict="weak" if doubts else "identified",
        reason="; ".join(doubts) or None,
        ips=evidence.mean(weight * log.clicks, effective),
        snips=snips,
        robust=evidence.mean(model + weight * (log.clicks - served), effective),
    )


def _unsupported(evidence: Evidence, policy: Policy, weight: F64) -> str | None:
    """Why the log cannot tell what the policy earns; None if it can."""
    log = evidence.log
    same = log.chain == policy.choices
    certain = float(evidence.share @ ((log.propensity >= CERTAIN) & ~same))
    if certain > 0:
        return f"{certain:.1%} of requests surely got another chain"
    if not same.any():
        return "no request got the chain it wants"
    # Had every chain a chance of at least the smallest propensity seen, weights would scatter by no more than this.
    scatter = float(np.sqrt((1 / log.propensity.min() - 1) * (evidence.share @ evidence.share)))
    mean = float(evidence.share @ weight)
    if mean + 4 * scatter < 1 - 1e-6:
        return f"mean weight {mean:.2f}, expected 1: for some requests its chain had no chance"
    return None
