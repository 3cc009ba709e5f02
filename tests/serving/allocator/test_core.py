from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import RequestBatch
from greenflow_ray.pricing.kernels.choice import PriceDirective, request_hashes
from greenflow_ray.serving.allocator.core import Allocator
from greenflow_ray.serving.logs.samples import SampleLog
from greenflow_ray.serving.wire import AllocationBatch, Orders, Reason
from tests.serving.fakes import NAN_USER, ByCost, cascade
from tests.worlds import make_world

WORLD = make_world()
SPACE = WORLD.space


def directive(low: float = 0.0, high: float = 0.0, share: float = 0.0, capped: bool = False) -> PriceDirective:
    return PriceDirective(low, high, share, 4, capped, SPACE.cheapest)


def orders(price: PriceDirective | None = None, **changes: object) -> Orders:
    plain = Orders("greenflow", ((SPACE.fullest,), (1.0,)), price or directive(), 1e-5, Reason.NONE, None)
    return replace(plain, **changes)  # type: ignore[arg-type]


def ask(users: list[int], explain: bool = False) -> AllocationBatch:
    ids = np.array(users, dtype=np.int64)
    return AllocationBatch(ids, request_hashes(np.arange(len(ids))), tuple(map(str, users)), explain)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Broken(ByCost):
    def predict(self, requests: RequestBatch) -> npt.NDArray[np.float32]:
        raise RuntimeError("out of order")


def allocator(reward: ByCost | None = None, samples: SampleLog | None = None, **sections: object) -> Allocator:
    config = cascade(Path("unused"), **sections)
    features = TableFeatures(WORLD.dataset.users)
    return Allocator(config, SPACE, reward or ByCost(SPACE), features, samples, clock=Clock(), wall=lambda: 7.0)


def test_without_orders_the_safe_chain_is_served() -> None:
    answer = allocator().allocate(ask([1, 2]))
    assert answer.chains.tolist() == [SPACE.cheapest] * 2
    assert answer.reasons.tolist() == [Reason.NO_PRICE] * 2


def test_each_request_gets_the_best_chain_at_its_price() -> None:
    a = allocator()
    price = 2e-5
    a.follow(orders(directive(price, price)))
    answer = a.allocate(ask([0, 20, 39, 10**9], explain=True))
    assert answer.rewards is not None
    expected = np.argmax(answer.rewards - price * SPACE.costs, axis=1)
    assert answer.chains.tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 1, "the case must tell users apart"
    assert answer.reasons.tolist() == [0, 0, 0, 0]
    assert (answer.version, answer.prices.tolist()) == (4, [price] * 4)


def test_old_orders_are_not_followed_but_a_fixed_chain_does_not_age() -> None:
    a = allocator(budget={"price_ttl_s": 5.0})
    a.follow(orders())
    a._clock.now += 5.1  # type: ignore[attr-defined]
    answer = a.allocate(ask([1]))
    assert (answer.chains.tolist(), answer.reasons.tolist()) == ([SPACE.cheapest], [Reason.PRICE_EXPIRED])
    a.follow(orders(policy="fixed"))
    a._clock.now += 1e6  # type: ignore[attr-defined]
    answer = a.allocate(ask([1]))
    assert (answer.chains.tolist(), answer.reasons.tolist()) == ([SPACE.fullest], [0])


def test_a_row_that_is_not_finite_gets_the_safe_chain_alone() -> None:
    a = allocator()
    a.follow(orders())
    answer = a.allocate(ask([NAN_USER, 3]))
    assert answer.chains.tolist() == [SPACE.cheapest, SPACE.fullest]
    assert answer.reasons.tolist() == [Reason.REWARD_NOT_FINITE, 0]


def test_a_failing_reward_model_degrades() -> None:
    a = allocator(Broken(SPACE))
    a.follow(orders())
    answer = a.allocate(ask([3]))
    assert (answer.chains.tolist(), answer.reasons.tolist()) == ([SPACE.cheapest], [Reason.REWARD_UNAVAILABLE])


def test_capped_orders_say_why() -> None:
    a = allocator()
    a.follow(orders(directive(capped=True), reason=Reason.BUDGET_CAP))
    answer = a.allocate(ask([3, 4]))
    assert answer.chains.tolist() == [SPACE.cheapest] * 2
    assert answer.reasons.tolist() == [Reason.BUDGET_CAP] * 2


def test_past_the_allowance_everyone_gets_the_cheapest_until_new_orders() -> None:
    a = allocator()
    full = float(SPACE.costs[SPACE.fullest])
    a.follow(orders(allowance=2.5 * full))
    answer = a.allocate(ask([1, 2, 3]))
    assert answer.chains.tolist() == [SPACE.fullest, SPACE.fullest, SPACE.cheapest]
    assert answer.reasons.tolist() == [0, 0, Reason.BUDGET_CAP]
    assert a.allocate(ask([4])).chains.tolist() == [SPACE.cheapest]
    a.follow(orders(allowance=2.5 * full), reported=a.flops)
    assert a.allocate(ask([4])).chains.tolist() == [SPACE.fullest]


def test_spend_between_report_and_reply_counts_against_the_new_allowance() -> None:
    a = allocator()
    a.follow(orders())
    reported = a.flops
    a.allocate(ask([1]))
    a.follow(orders(allowance=float(SPACE.costs[SPACE.fullest])), reported=reported)
    assert a.allocate(ask([2])).chains.tolist() == [SPACE.cheapest]


def test_the_account_is_exact() -> None:
    a = allocator()
    a.follow(orders(directive(2e-5, 2e-5)))
    chains = np.concatenate([a.allocate(ask(list(range(n)))).chains for n in (1, 7, 16)])
    assert a.requests == 24
    assert a.flops == sum(SPACE.chains[j].flops for j in chains)
    assert a.own_flops == 24 * ByCost.flops_per_request


def test_a_mix_gives_each_chain_its_share() -> None:
    a = allocator()
    a.follow(orders(policy="fixed", fixed=((SPACE.cheapest, 3, SPACE.fullest), (0.25, 0.5, 1.0))))
    decided = a.allocate(ask(list(range(4000))))
    shares = np.bincount(decided.chains, minlength=len(SPACE)) / 4000
    wanted = np.zeros(len(SPACE))
    wanted[[SPACE.cheapest, 3, SPACE.fullest]] = 0.25, 0.25, 0.5
    assert np.abs(shares - wanted).max() < 0.03
    assert set(decided.reasons.tolist()) == {Reason.NONE}
    assert a.flops == sum(SPACE.chains[j].flops for j in decided.chains)


def test_fixed_policy_need_not_estimate(tmp_path: Path) -> None:
    a = allocator(sampling={"when_fixed": False})
    a.follow(orders(policy="fixed"))
    assert a.allocate(ask([1])).rewards is None
    assert a.own_flops == 0


def test_every_decision_is_sampled_with_its_propensity(tmp_path: Path) -> None:
    log = SampleLog(tmp_path, SPACE, cascade(tmp_path).sampling, start=False)
    a = allocator(samples=log)
    a.follow(orders(directive(1e-6, 5e-5, 0.3)))
    a.allocate(ask(list(range(8))))
    log.close()
    assert log.written == 8


@pytest.mark.parametrize("exploration", [0.0, 0.4])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_propensity_is_the_frequency_over_hashes(tmp_path: Path, share: float, exploration: float) -> None:
    log = SampleLog(tmp_path, SPACE, cascade(tmp_path).sampling, start=False)
    a = allocator(samples=log, budget={"exploration": exploration})
    d = directive(1e-6, 5e-5, share)
    a.follow(orders(d))
    n = 8000
    hashes = request_hashes(np.random.default_rng(0).integers(0, 2**63, n))
    a.allocate(AllocationBatch(np.full(n, 5), hashes, ("r",) * n))
    log.close()
    (file,) = tmp_path.glob("*.parquet")
    found = pq.read_table(file).to_pydict()
    chains, p = np.array(found["chain"]), np.array(found["propensity"])
    assert len(np.unique(chains)) >= (len(SPACE) if exploration else 1 + (0 < share < 1))
    for chain in np.unique(chains):
        assert np.ptp(p[chains == chain]) == 0
        assert p[chains == chain][0] == pytest.approx(float(np.mean(chains == chain)), abs=0.02)
    assert float(np.mean(np.array(found["price"]) == 5e-5)) == pytest.approx(share, abs=0.03)


def test_nobody_explores_under_a_closed_cap() -> None:
    a = allocator(budget={"exploration": 0.9})
    a.follow(orders(directive(capped=True), reason=Reason.BUDGET_CAP))
    assert set(a.allocate(ask(list(range(12)))).chains.tolist()) == {SPACE.cheapest}
