from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.errors import ConfigError
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store import PriceRecord
from greenflow_ray.serving.book import MAX_SKIPPED, BudgetOrder, LedgerBook
from greenflow_ray.serving.ledger import StateFile
from greenflow_ray.serving.wire import Commitment, Reason, Settlement, Usage
from tests.serving.fakes import cascade
from tests.worlds import make_world

WORLD = make_world()
SPACE = WORLD.space
HUGE = 2**70 + 1
"""More FLOPs than a 64-bit integer or a float can count exactly."""


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def commitment(requests: int, flops: int, reporter: str = "a1") -> Commitment:
    return Commitment(reporter, requests, flops, 7 * requests, requests, 0, Usage("allocator", reporter, 1.5))


def settlement(requests: int, flops: int, uncommitted: int = 0, correction: int = 0) -> Settlement:
    return Settlement(
        "g1", requests, flops, 0, uncommitted, correction, {SPACE.names[0]: requests}, {},
        (Usage("ranking-din", "d1", 2.0),), {"allocator": 0.004},
    )  # fmt: skip


def book(clock: Clock | None = None, session: str = "s1", **budget: object) -> LedgerBook:
    clock = clock or Clock()
    return LedgerBook(cascade(Path("unused"), budget=budget), SPACE, session, clock=clock, wall=clock)


def record(version: int = 1) -> PriceRecord:
    rewards = np.outer(np.linspace(1, 2, 64), np.sqrt(SPACE.costs / SPACE.costs.max())).astype(np.float32)
    frontier = Frontier.build(rewards, SPACE.costs)
    return PriceRecord(version, frontier, 0.0, frontier.requests, 0.0, {})


def test_the_same_account_twice_counts_once() -> None:
    b = book()
    for _ in range(3):
        b.commit(commitment(10, HUGE))
        b.settle(settlement(10, HUGE))
    stats = b.stats()
    assert (stats["requests"], stats["flops"]) == (10, HUGE)
    assert stats["committed"]["flops"] == HUGE
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == HUGE
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == HUGE


def test_accounts_of_several_replicas_add_up_exactly() -> None:
    b = book()
    b.commit(commitment(1, HUGE, "a1"))
    b.commit(commitment(2, 5, "a2"))
    b.commit(commitment(3, HUGE + 3, "a1"))
    assert b.stats()["committed"]["flops"] == HUGE + 8
    assert b.stats()["allocator_flops"] == 35
    assert b.stats()["samples"] == {"written": 5, "dropped": 0}
    assert b.stats()["cpu_seconds"]["allocator"] == 3.0


def test_what_gateways_answered_otherwise_corrects_the_spend() -> None:
    b = book()
    b.commit(commitment(10, 1000))
    b.settle(settlement(12, 1100, uncommitted=2, correction=100))
    b.tick()
    (point,) = b.stats()["trajectory"]
    assert (point["requests"], point["spend"]) == (12, 1100)


def test_a_negative_correction_is_carried_over_not_lost() -> None:
    b = book()
    b.settle(settlement(0, 0, correction=-400))
    b.tick()
    b.commit(commitment(10, 1000))
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == 600


def test_without_a_frontier_a_budget_means_the_safe_chain() -> None:
    orders = book(flops_per_second=1e6, policy="greenflow").commit(commitment(0, 0))
    assert orders.reason == Reason.NO_PRICE
    assert orders.directive.capped
    assert orders.directive.cheapest == SPACE.cheapest


def test_without_a_budget_the_price_is_zero() -> None:
    orders = book().commit(commitment(0, 0))
    assert (orders.price, orders.reason, orders.allowance, orders.directive.capped) == (0.0, Reason.NONE, None, False)


def test_demand_above_the_budget_gets_a_price_and_an_allowance() -> None:
    clock = Clock()
    mean = float(SPACE.costs.mean())
    b = book(clock, flops_per_second=10 * mean)
    assert b.publish(record())
    assert not b.publish(record())
    for i in range(1, 30):
        clock.now += 0.2
        b.commit(commitment(4 * i, int(4 * i * mean)))
        b.tick()
    orders = b.commit(commitment(4 * 29, int(4 * 29 * mean)))
    assert orders.price > 0
    assert orders.directive.version == 1
    assert orders.allowance is not None
    b.commit(commitment(0, 0, "a2"))
    shared = b.orders().allowance
    assert shared == pytest.approx(orders.allowance / 2)


def test_a_tick_between_two_reports_is_not_taken_for_silence() -> None:
    clock = Clock()
    mean = float(SPACE.costs.mean())
    b = book(clock, flops_per_second=10 * mean)
    b.publish(record())
    for i in range(1, 30):
        clock.now += 0.2
        b.commit(commitment(4 * i, int(4 * i * mean)))
        b.tick()
    before = b.orders()
    for _ in range(MAX_SKIPPED):  # the reports are late; the price stays
        clock.now += 0.2
        b.tick()
        assert b.orders().price == before.price
    for _ in range(400):  # there is no traffic any more: the price falls
        clock.now += 0.2
        b.tick()
    assert b.orders().price == 0.0


def test_a_closed_cap_says_so() -> None:
    clock = Clock()
    b = book(clock, flops_per_second=1000.0)
    b.publish(record())
    clock.now += 0.2
    b.commit(commitment(100, 10**9))
    b.tick()
    assert b.orders().reason == Reason.BUDGET_CAP


def test_the_operators_order_takes_effect_and_a_wrong_one_does_not() -> None:
    b = book()
    b.set_budget(BudgetOrder(None, "fixed", "fullest"))
    assert b.orders().policy == "greenflow", "policy and price change together, at the tick"
    b.tick()
    assert (b.orders().policy, b.orders().fixed_chain) == ("fixed", SPACE.fullest)
    with pytest.raises(ConfigError, match="nonsense"):
        b.set_budget(BudgetOrder(1.0, "fixed", "nonsense"))
    assert b.budget()["fixed_chain"] == "fullest"
    b.set_budget(BudgetOrder(1e9, "greenflow", "fullest"))
    assert b.budget()["flops_per_second"] == 1e9


def test_a_restart_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    first = book()
    first.set_budget(BudgetOrder(None, "fixed", "cheapest"))
    first.commit(commitment(10, HUGE))
    first.settle(settlement(10, HUGE))
    first.tick()
    file = StateFile(tmp_path / "prices" / "ledger.sqlite")
    assert file.load() is None
    file.save(*first.state())
    found = StateFile(tmp_path / "prices" / "ledger.sqlite").load()
    assert found is not None
    second = book()
    assert second.restore(*found)
    second.commit(commitment(11, HUGE + 1))
    second.settle(settlement(11, HUGE + 1))
    second.tick()
    stats = second.stats()
    assert stats["flops"] == stats["committed"]["flops"] == HUGE + 1
    assert sum(p["spend"] for p in stats["trajectory"]) == HUGE + 1
    assert second.budget()["fixed_chain"] == "cheapest"
    file.clear()
    assert file.load() is None


def test_another_sessions_state_is_not_taken_up() -> None:
    first = book(session="s1")
    first.commit(commitment(10, 10))
    later = book(session="s2")
    assert not later.restore(*first.state())
    assert later.stats()["committed"]["flops"] == 0


def test_stats_are_json_and_start_where_asked() -> None:
    clock = Clock()
    b = book(clock)
    for _ in range(5):
        clock.now += 1.0
        b.tick()
    stats = json.loads(json.dumps(b.stats(since=1004.0)))
    assert [p["t"] for p in stats["trajectory"]] == [1004.0, 1005.0]
    assert set(stats["trajectory"][0]) == {"t", "version", "price", "spend", "budget", "requests", "policy"}


def test_an_empty_frontier_is_refused_and_the_old_one_stays() -> None:
    b = book(flops_per_second=1e5)
    b.publish(record(1))
    with pytest.raises(Exception, match="no requests"):
        b.publish(replace(record(2), frontier=Frontier.empty()))
    b.tick()
    assert b.budget()["price_version"] == 1
