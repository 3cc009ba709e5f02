"""Estimates from a log whose truth is known; where the log cannot tell, no estimate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from greenflow_ray.config import SamplingConfig
from greenflow_ray.errors import DataError, InfeasibleBudget, PricingInputError
from greenflow_ray.nearline.learning.dataset import Joined
from greenflow_ray.nearline.learning.estimators import Evidence, as_logged, at_price, fixed_chains, value, within_budget
from greenflow_ray.nearline.learning.match import joined_schema, match, sample_rows
from greenflow_ray.nearline.repricing.aggregate import reward_matrix
from greenflow_ray.pricing.kernels.choice import request_hashes
from greenflow_ray.serving.logs.samples import SampleLog
from greenflow_ray.serving.wire import AllocationBatch
from tests.serving.allocator.test_core import SPACE, allocator, directive, orders
from tests.serving.fakes import ByCost

COSTS = np.array([1e6, 2e6, 4e6, 8e6, 16e6])
GAIN = 1 - np.exp(-0.5 * np.arange(1, 6))
LOGGED, OTHER = 3e-8, 1e-7
"""The price that the log was made at, and another, clicks per FLOP."""


def made(seed: int, n: int = 3000, explore: float = 0.2, users: int = 1000) -> tuple[Joined, npt.NDArray[np.float64]]:
    """A log, and the expected clicks of every request and chain: users of unlike taste, a model that is off."""
    rng = np.random.default_rng(seed)
    taste = rng.gamma(2.0, 1.0, users)
    context = rng.integers(0, users, n)
    truth = taste[context][:, None] * GAIN
    model = (0.7 * truth + 0.2 + 0.1 * rng.normal(size=truth.shape)).astype(np.float32)
    best = np.argmax(model - LOGGED * COSTS, axis=1)
    chain = np.where(rng.random(n) < explore, rng.integers(0, 5, n), best).astype(np.int32)
    propensity = (1 - explore) * (chain == best) + explore / 5
    clicks = rng.poisson(truth[np.arange(n), chain]).astype(np.float64)
    rate, names = np.full(n, 0.5), tuple(f"c{j}" for j in range(5))
    return Joined(model, COSTS, names, chain, propensity, clicks, rate, context, np.ones(n, np.bool_)), truth


def test_the_truth_lies_in_most_intervals() -> None:
    """Of 95 % intervals 100 seeds × 6 policies hold the truth about 570 times; the estimates are unbiased."""
    inside: dict[str, list[bool]] = {"ips": [], "snips": [], "robust": []}
    off: dict[str, list[float]] = {"ips": [], "snips": [], "robust": []}
    everyone, everything = made(999, n=400_000, users=400_000)
    for seed in range(100):
        log, _ = made(seed)
        evidence = Evidence.of(log)
        for policy, other in zip(
            [*fixed_chains(log), at_price(log, OTHER)],
            [*fixed_chains(everyone), at_price(everyone, OTHER)],
            strict=True,
        ):
            found = value(evidence, policy)
            expected = everything[np.arange(len(everyone)), other.choices].mean()
            assert found.verdict == "identified", found
            assert found.mean_weight == pytest.approx(1, abs=0.35)
            for name in inside:
                estimate = getattr(found, name)
                inside[name].append(bool(estimate.low <= expected <= estimate.high))
                off[name].append((estimate.value - expected) / estimate.error)
    for name, hits in inside.items():
        assert 0.90 <= np.mean(hits) <= 0.99, name
        assert abs(np.mean(off[name])) < 0.25, name


def test_the_model_narrows_the_interval() -> None:
    log, _ = made(0)
    found = value(Evidence.of(log), fixed_chains(log)[4])
    assert found.robust is not None
    assert found.snips is not None
    assert found.ips is not None
    assert found.robust.error < found.snips.error < found.ips.error


def test_flops_are_known_without_weights() -> None:
    log, _ = made(0)
    evidence = Evidence.of(log)
    assert value(evidence, fixed_chains(log)[2]).flops.value == pytest.approx(4e6)
    policy = within_budget(log, 5e6)
    assert value(evidence, policy).flops.value == pytest.approx(5e6, rel=0.02)
    assert value(evidence, policy).price == policy.price
    clicks, flops = as_logged(evidence)
    assert clicks.value == pytest.approx(log.clicks.mean())
    assert flops.value == pytest.approx(COSTS[log.chain].mean())
    assert clicks.low < clicks.value < clicks.high


def test_a_log_without_exploration_identifies_only_what_it_served() -> None:
    log, _ = made(0, explore=0.0)
    evidence = Evidence.of(log)
    assert evidence.explored == 0
    for policy in fixed_chains(log):
        found = value(evidence, policy)
        assert (found.verdict, found.ips, found.snips, found.robust) == ("not identifiable", None, None, None)
        assert "surely got another chain" in str(found.reason)
    served = value(evidence, at_price(log, LOGGED))
    assert served.verdict == "identified"
    assert served.ips is not None
    assert served.robust is not None
    assert served.ips.value == pytest.approx(log.clicks.mean())
    assert served.robust.value == pytest.approx(log.clicks.mean())


def test_chains_that_never_had_a_chance_are_not_identifiable() -> None:
    """Two prices shared out by a hash give propensities below 1, but to two chains of five."""
    log, truth = made(0)
    rng = np.random.default_rng(1)
    chain = rng.integers(1, 3, len(log)).astype(np.int32)
    clicks = rng.poisson(truth[np.arange(len(log)), chain]).astype(np.float64)
    two = replace(log, chain=chain, propensity=np.full(len(log), 0.5), clicks=clicks)
    found = [value(Evidence.of(two), policy) for policy in fixed_chains(two)]
    assert [v.verdict == "identified" for v in found] == [False, True, True, False, False]
    assert found[0].reason == "no request got the chain it wants"
    half = np.where(np.arange(len(log)) % 2, chain, 4).astype(np.int32)
    partly = value(Evidence.of(replace(two, chain=half)), fixed_chains(two)[1])
    assert partly.verdict == "not identifiable"
    assert "for some requests its chain had no chance" in str(partly.reason)


def test_few_requests_are_called_weak() -> None:
    log, _ = made(0, n=150)
    found = value(Evidence.of(log), fixed_chains(log)[0])
    assert (found.verdict, found.matched < 30) == ("weak", True)
    assert "effective sample" in str(found.reason)


def test_propensities_that_are_too_small_are_told() -> None:
    log, _ = made(0)
    found = value(Evidence.of(replace(log, propensity=log.propensity / 3)), fixed_chains(log)[1])
    assert found.verdict == "weak"
    assert "propensities are too small" in str(found.reason)


def test_degraded_requests_are_left_out_of_a_log_that_explores() -> None:
    log, _ = made(0)
    capped = np.arange(len(log)) % 10 == 0
    mixed = replace(
        log, propensity=np.where(capped, 1.0, log.propensity), chain=np.where(capped, 0, log.chain).astype(np.int32)
    )
    evidence = Evidence.of(mixed)
    assert (evidence.left_out, len(evidence.log)) == (300, 2700)
    assert value(evidence, fixed_chains(evidence.log)[4]).verdict == "identified"


def test_rows_that_mean_nothing_are_left_out() -> None:
    log, _ = made(0)
    rewards, propensity, chain = log.rewards.copy(), log.propensity.copy(), log.chain.copy()
    rewards[0, 0], propensity[1], propensity[2], chain[3] = np.nan, 0.0, np.nan, 9
    evidence = Evidence.of(replace(log, rewards=rewards, propensity=propensity, chain=chain))
    assert (evidence.unusable, len(evidence.log)) == (4, len(log) - 4)
    with pytest.raises(DataError, match="none has finite rewards"):
        Evidence.of(replace(log, rewards=np.full_like(rewards, np.inf)))


def test_prices_and_budgets_that_make_no_sense_are_refused() -> None:
    log, _ = made(0)
    with pytest.raises(PricingInputError):
        at_price(log, -1.0)
    with pytest.raises(InfeasibleBudget):
        within_budget(log, 1e5)


def test_one_users_requests_count_as_one_observation() -> None:
    log, _ = made(0, users=20)
    wide = as_logged(Evidence.of(log))[0].error
    narrow = as_logged(Evidence.of(replace(log, context=np.arange(len(log)))))[0].error
    assert wide > 2 * narrow


def test_what_an_exploring_allocator_logs_can_be_valued(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, SamplingConfig(), start=False)
    served = allocator(ByCost(SPACE), log, budget={"exploration": 0.3})
    served.follow(orders(directive(1e-5, 3e-5, 0.4)))
    rng = np.random.default_rng(0)
    for batch in range(80):
        users = rng.integers(0, 16, 100)
        ids = tuple(f"{batch}-{i}" for i in range(100))
        served.allocate(AllocationBatch(users, request_hashes(rng.integers(0, 2**62, 100)), ids, False))
    log.close()
    (path,) = tmp_path.glob("*.parquet")
    schema = joined_schema(SPACE.digest, tuple(SPACE.costs.tolist()), SPACE.names)
    table, _ = match(sample_rows(pq.read_table(path), 1), schema, 60.0, 1e9)
    chain = table["chain"].to_numpy()
    rewards = reward_matrix(table["reward"])
    joined = Joined(
        rewards,
        SPACE.costs,
        SPACE.names,
        chain,
        table["propensity"].to_numpy().astype(np.float64),
        rng.poisson(rewards[np.arange(len(chain)), chain]).astype(np.float64),
        table["sampling_rate"].to_numpy().astype(np.float64),
        np.arange(len(chain)),
        table["complete"].to_numpy(),
    )
    evidence = Evidence.of(joined)
    assert (evidence.explored, evidence.left_out) == (1.0, 0)
    for policy in [*fixed_chains(joined), at_price(joined, 1e-5), at_price(joined, 3e-5)]:
        found = value(evidence, policy)
        expected = rewards[np.arange(len(chain)), policy.choices].mean()
        assert found.verdict == "identified", found
        assert found.robust is not None
        assert abs(found.mean_weight - 1) < 0.25
        assert abs(found.robust.value - expected) < 4 * found.robust.error
