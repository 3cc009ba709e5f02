"""The decision kernel against the same rules written out a request at a time, in Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.pricing.kernels.choice import PriceDirective, choose, request_hashes
from greenflow_ray.serving.allocator.kernel import Decision, Rules, decide
from greenflow_ray.serving.wire import Reason
from tests.examples import many


def expected(
    rewards: np.ndarray,
    directive: PriceDirective,
    hashes: np.ndarray,
    rules: Rules,
    allowance: float,
    reason: int,
) -> list[tuple[int, float, float, int]]:
    """Chain, price, propensity and reason of every request."""
    out = []
    spent = 0
    drawn = request_hashes(hashes)
    for row, hashed, other_bits in zip(rewards, hashes.tolist(), drawn.tolist(), strict=True):
        high = hashed < directive.high_share * 2.0**64
        prices = [directive.price_low, directive.price_high]
        price = prices[high]
        if directive.capped:
            out.append((directive.cheapest, price, 1.0, reason))
            continue
        if not np.isfinite(row).all():
            chain, chance, why = rules.safe, 1.0, int(Reason.REWARD_NOT_FINITE)
        else:
            bought = [
                min(range(len(row)), key=lambda j, p=p: (-(float(row[j]) - p * rules.costs[j]), rules.costs[j]))
                for p in prices
            ]
            chain, why = bought[high], int(Reason.NONE)
            if (other_bits >> 32) < int(rules.exploration * 2**32):
                chain = ((other_bits & 0xFFFFFFFF) * len(row)) >> 32
            share = min(max(directive.high_share, 0.0), 1.0)
            chance = (1 - share) * (chain == bought[0]) + share * (chain == bought[1])
            chance = (1 - rules.exploration) * chance + rules.exploration / len(row)
        spent += int(rules.flops[chain])
        if spent > allowance:
            chain, chance, why = rules.cheapest, 1.0, int(Reason.BUDGET_CAP)
        out.append((chain, price, chance, why))
    return out


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, PriceDirective, np.ndarray, Rules, float, int]:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, width = draw(st.integers(0, 12)), draw(st.integers(1, 9))
    flops = rng.integers(1, 50, width)
    rewards = rng.integers(0, 6, (rows, width)).astype(np.float32)  # whole numbers: ties are common
    if rows and draw(st.booleans()):
        rewards[rng.integers(rows), rng.integers(width)] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    rules = Rules(
        flops.astype(np.float64), flops, int(flops.argmin()), draw(st.integers(0, width - 1)),
        draw(st.sampled_from([0.0, 0.3, 1.0])),
    )  # fmt: skip
    low, high = draw(st.sampled_from([(0.0, 0.0), (0.0, 0.125), (0.125, 0.5), (1.0, 0.25)]))
    directive = PriceDirective(
        low, high, draw(st.sampled_from([0.0, 0.3, 0.5, 1.0])), 7, draw(st.booleans()), draw(st.integers(0, width - 1))
    )
    hashes = rng.integers(0, 2**64, rows, dtype=np.uint64)
    allowance = draw(st.sampled_from([np.inf, 60.0, 0.0, -5.0]))
    return rewards, directive, hashes, rules, allowance, draw(st.sampled_from([0, int(Reason.BUDGET_CAP)]))


@given(worlds())
@settings(max_examples=many(300), deadline=None)
def test_every_request_gets_what_the_rules_say(
    world: tuple[np.ndarray, PriceDirective, np.ndarray, Rules, float, int],
) -> None:
    rewards, directive, hashes, rules, allowance, reason = world
    found = decide(rewards, directive, hashes, rules, allowance=allowance, reason=reason)
    wanted = expected(rewards, directive, hashes, rules, allowance, reason)
    assert found.chains.tolist() == [chain for chain, *_ in wanted]
    assert found.prices.tolist() == [price for _, price, *_ in wanted]
    np.testing.assert_allclose(found.propensities, [chance for *_, chance, _ in wanted], rtol=1e-6, atol=1e-7)
    assert found.reasons.tolist() == [why for *_, why in wanted]
    assert found.costs.tolist() == rules.costs[found.chains].tolist()
    assert found.flops == int(rules.flops[found.chains].sum())


def test_without_exploration_it_chooses_as_the_simulator_does() -> None:
    rng = np.random.default_rng(0)
    flops = rng.integers(1, 50, 60)
    rules = Rules(flops.astype(np.float64), flops, int(flops.argmin()), int(flops.argmin()), 0.0)
    rewards = rng.random((500, 60), dtype=np.float32)
    directive = PriceDirective(0.004, 0.006, 0.4, 1, False, rules.cheapest)
    hashes = rng.integers(0, 2**64, 500, dtype=np.uint64)
    found: Decision = decide(rewards, directive, hashes, rules)
    assert found.chains.tolist() == choose(rewards, rules.costs, directive, hashes).tolist()


@pytest.mark.parametrize("frozen", [False, True])
def test_read_only_messages_are_taken_as_they_are(frozen: bool) -> None:
    rules = Rules(np.array([1.0, 2.0]), np.array([1, 2]), 0, 0, 0.0)
    hashes = np.array([5], np.uint64)
    hashes.flags.writeable = not frozen
    assert decide(np.array([[0.0, 9.0]], np.float32), PriceDirective(0, 0, 0, 1, False, 0), hashes, rules).flops == 2
