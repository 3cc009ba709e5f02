from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.limits import Limits
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import ConfigError
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.records import PriceRecord
from greenflow_ray.serving.ledger.book import MAX_SKIPPED, SLACK, LedgerBook, Point
from greenflow_ray.serving.ledger.order import BudgetOrder
from greenflow_ray.serving.ledger.reports import LIVE_S
from greenflow_ray.serving.ledger.state_file import StateFile
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
    return Commitment(
        reporter, requests, float(requests), flops, 7 * requests, requests, 0, Usage("allocator", reporter, 1.5)
    )


def settlement(requests: int, flops: int, uncommitted: int = 0, correction: int = 0) -> Settlement:
    return Settlement(
        "g1", requests, flops, 0, uncommitted, correction, {SPACE.names[0]: requests}, {SPACE.names[0]: flops}, {},
        (Usage("ranking-din", "d1", 2.0),), {"allocator": 0.004},
    )  # fmt: skip


def order(policy: str, chain: str, flops_per_second: float | None = None) -> BudgetOrder:
    return BudgetOrder(flops_per_second=flops_per_second, policy=policy, fixed_chain=chain)  # type: ignore[arg-type]


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
        b.reports.commit(commitment(10, HUGE))
        b.reports.settle(settlement(10, HUGE))
    stats = b.stats()
    assert (stats["requests"], stats["flops"]) == (10, HUGE)
    assert stats["committed"]["flops"] == HUGE
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == HUGE
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == HUGE


def test_an_account_that_a_later_one_overtook_changes_nothing() -> None:
    b = book()
    for requests in (10, 30, 20, 31):
        b.reports.commit(commitment(requests, 100 * requests))
        b.reports.settle(settlement(requests, 90 * requests, correction=-10 * requests))
    stats = b.stats()
    assert (stats["requests"], stats["flops"], stats["committed"]["flops"]) == (31, 2790, 3100)
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == 2790


def test_accounts_of_several_replicas_add_up_exactly() -> None:
    b = book()
    b.reports.commit(commitment(1, HUGE, "a1"))
    b.reports.commit(commitment(2, 5, "a2"))
    b.reports.commit(commitment(3, HUGE + 3, "a1"))
    assert b.stats()["committed"]["flops"] == HUGE + 8
    assert b.stats()["allocator_flops"] == 35
    assert b.stats()["samples"] == {"written": 5, "dropped": 0}
    assert b.stats()["cpu_seconds"]["allocator"] == 3.0


def test_what_gateways_answered_otherwise_corrects_the_spend() -> None:
    b = book()
    b.reports.commit(commitment(10, 1000))
    b.reports.settle(settlement(12, 1100, uncommitted=2, correction=100))
    b.tick()
    (point,) = b.stats()["trajectory"]
    assert (point["requests"], point["spend"]) == (12, 1100)


def test_a_negative_correction_is_carried_over_not_lost() -> None:
    b = book()
    b.reports.settle(settlement(0, 0, correction=-400))
    b.tick()
    b.reports.commit(commitment(10, 1000))
    b.tick()
    assert sum(p["spend"] for p in b.stats()["trajectory"]) == 600


def test_without_a_frontier_a_budget_means_the_safe_chain() -> None:
    orders = book(flops_per_second=1e6, policy="greenflow").orders()
    assert orders.reason == Reason.NO_PRICE
    assert orders.directive.capped
    assert orders.directive.cheapest == SPACE.cheapest


def test_without_a_budget_the_price_is_zero() -> None:
    orders = book().orders()
    assert (orders.price, orders.reason, orders.allowance, orders.directive.capped) == (0.0, Reason.NONE, None, False)


def test_demand_above_the_budget_gets_a_price_and_an_allowance() -> None:
    clock = Clock()
    mean = float(SPACE.costs.mean())
    b = book(clock, flops_per_second=10 * mean)
    assert b.publish(record())
    assert not b.publish(record())
    for i in range(1, 30):
        clock.now += 0.2
        b.reports.commit(commitment(4 * i, int(4 * i * mean)))
        b.tick()
    orders = b.orders()
    assert orders.price > 0
    assert orders.directive.version == 1
    assert orders.allowance is not None
    b.reports.commit(commitment(0, 0, "a2"))
    assert b.orders().allowance == pytest.approx(orders.allowance * SLACK / 2)


def test_a_tick_need_not_wait_once_every_living_allocator_has_reported() -> None:
    clock = Clock()
    b = book(clock)
    b.reports.commit(commitment(1, 1, "a1"))
    assert b.reports.complete
    b.reports.commit(commitment(1, 1, "a2"))
    b.tick()
    b.reports.commit(commitment(2, 2, "a1"))
    assert not b.reports.complete
    clock.now += LIVE_S + 0.1
    b.reports.commit(commitment(3, 3, "a1"))
    assert b.reports.complete, "an allocator that has not been heard for long is not waited for"


def test_limits_by_the_hour_and_in_watts() -> None:
    clock = Clock()
    clock.now = 86400.0 * 3
    b = book(clock, schedule=[{"from_hour": 6, "flops_per_second": 1e6}, {"from_hour": 20, "watts": 30.0}])
    b.tick()
    assert b.limits() == Limits(watts=30.0), "before the first entry the last one holds"
    assert b.orders().reason == Reason.BUDGET_UNKNOWN, "nobody knows yet what a FLOP draws"
    assert (b.orders().directive.capped, b.orders().directive.cheapest) == (True, SPACE.cheapest)
    clock.now += 6 * 3600.0
    b.tick()
    assert b.budget()["in_force"]["binding"]["by"] == "flops_per_second"
    assert b.stats()["trajectory"][-1]["budget"] == 1e6


@pytest.mark.parametrize(("hour", "watts"), [(0, 9.0), (5.9, 9.0), (6, 7.0), (21.9, 7.0), (22, 9.0)])
def test_limits_beside_a_schedule_and_of_one_hour_hold_together(hour: float, watts: float) -> None:
    clock = Clock()
    clock.now = 86400.0 * 9 + 3600.0 * hour
    entries = [{"from_hour": 22, "watts": 50.0}, {"from_hour": 6, "watts": 8.0}, {"from_hour": 6, "watts": 7.0}]
    assert book(clock, watts=9.0, schedule=entries).limits() == Limits(watts=watts)


def test_a_grid_so_dirty_that_nothing_is_left_closes_the_cap() -> None:
    clock = Clock()
    b = book(clock, grams_per_hour=1.0)
    b.publish(record())
    window = EnergyWindow(5.0, 100.0, 100.0, 0.0, 0.0, "estimated", "estimated", "made up", 5.0)
    for i, flops in enumerate([10**9, 3 * 10**9] * 15, start=1):  # 10 W at rest and 10 W for each 1e9 FLOP/s
        clock.now += 5.0
        b.reports.settle(replace(settlement(i, (i + 1) // 2 * 5 * 10**9 + i // 2 * 15 * 10**9), usages=(
            Usage("ranking-din", "d1", 5.0 * i, "n1"),)))  # fmt: skip
        joules = 5.0 * (10.0 + flops / 1e8)
        b.meter({"n1": replace(window, joules=joules)}, CarbonIntensity(20.0, "made up", "average", 0.0),
                Usage("ledger", "ledger", 0.0, "n1"))  # fmt: skip
        b.tick()
    assert b.budget()["in_force"]["binding"]["flops_per_second"] == pytest.approx(4e9, rel=0.05)
    assert not b.orders().directive.capped
    dirty = CarbonIntensity(2000.0, "made up", "average", 0.0)
    b.meter({}, dirty, Usage("ledger", "ledger", 0.0, "n1"))
    clock.now += 0.3
    b.tick()
    assert b.budget()["in_force"]["binding"]["flops_per_second"] == 0.0
    assert (b.orders().directive.capped, b.orders().reason) == (True, Reason.BUDGET_CAP)


def test_a_budget_in_watts_becomes_flops_by_what_serving_was_seen_to_draw() -> None:
    clock = Clock()
    b = book(clock, watts=10.0)
    for i in range(1, 40):  # 20 W for 1e9 FLOP/s, all of it serving's
        clock.now += 5.0
        b.reports.settle(replace(settlement(i, 5 * 10**9 * i), usages=(Usage("ranking-din", "d1", 5.0 * i, "n1"),)))
        window = EnergyWindow(5.0, 100.0, 100.0, 0.0, 0.0, "estimated", "estimated", "made up", 5.0)
        b.meter({"n1": window}, None, Usage("ledger", "ledger", 0.0, "n1"))
        b.tick()
    told = b.budget()
    assert told["in_force"]["binding"]["flops_per_second"] == pytest.approx(5e8, rel=0.01)
    energy = b.stats()["energy"]
    assert energy["joules_attributed"] + energy["joules_unattributed"] == pytest.approx(energy["joules"])
    point = b.stats()["trajectory"][-1]
    assert (point["bound_by"], point["watts"], point["replicas"]) == ("watts", pytest.approx(20.0), {"ranking-din": 1})
    second = book(clock, watts=10.0)
    assert second.restore(json.loads(json.dumps(b.state()[0])), [])
    assert second.budget()["in_force"] == told["in_force"]


def test_a_tick_between_two_reports_is_not_taken_for_silence() -> None:
    clock = Clock()
    mean = float(SPACE.costs.mean())
    b = book(clock, flops_per_second=10 * mean)
    b.publish(record())
    for i in range(1, 30):
        clock.now += 0.2
        b.reports.commit(commitment(4 * i, int(4 * i * mean)))
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
    b.reports.commit(commitment(100, 10**9))
    b.tick()
    assert b.orders().reason == Reason.BUDGET_CAP


def test_the_operators_order_takes_effect_and_a_wrong_one_does_not() -> None:
    b = book()
    b.set_budget(order("fixed", "fullest"))
    assert b.orders().policy == "greenflow", "policy and price change together, at the tick"
    b.tick()
    assert (b.orders().policy, b.orders().fixed) == ("fixed", ((SPACE.fullest,), (1.0,)))
    with pytest.raises(ConfigError, match="nonsense"):
        b.set_budget(order("fixed", "nonsense"))
    assert b.budget()["fixed_chain"] == "fullest"
    cheap, full = SPACE.names[SPACE.cheapest], SPACE.names[SPACE.fullest]
    b.set_budget(BudgetOrder(watts=None, policy="fixed", mix={cheap: 1.0, full: 3.0}))
    b.tick()
    assert b.orders().fixed == ((SPACE.cheapest, SPACE.fullest), (0.25, 1.0))
    with pytest.raises(ConfigError, match="nonsense"):
        b.set_budget(BudgetOrder(watts=None, policy="fixed", mix={cheap: 0.5, "nonsense": 0.5}))
    with pytest.raises(ValueError, match="greater than 0"):
        BudgetOrder(watts=None, policy="fixed", mix={cheap: 0.0})
    b.set_budget(order("greenflow", "fullest", 1e9))
    assert b.budget()["flops_per_second"] == 1e9


def test_a_restart_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    first = book()
    first.set_budget(order("fixed", "cheapest"))
    first.reports.commit(commitment(10, HUGE))
    first.reports.settle(settlement(10, HUGE))
    first.tick()
    file = StateFile(tmp_path / "prices" / "ledger.sqlite")
    assert file.load() is None
    file.save(*first.state())
    found = StateFile(tmp_path / "prices" / "ledger.sqlite").load()
    assert found is not None
    second = book()
    assert second.restore(*found)
    second.reports.commit(commitment(11, HUGE + 1))
    second.reports.settle(settlement(11, HUGE + 1))
    second.tick()
    stats = second.stats()
    assert stats["flops"] == stats["committed"]["flops"] == HUGE + 1
    assert sum(p["spend"] for p in stats["trajectory"]) == HUGE + 1
    assert second.budget()["fixed_chain"] == "cheapest"
    file.clear()
    assert file.load() is None


def test_a_restarted_ledger_prices_from_its_first_frontier_on() -> None:
    clock = Clock()
    first = book(clock, flops_per_second=1e6)
    first.publish(record())
    first.tick()
    second = book(clock, flops_per_second=1e6)
    assert second.restore(*first.state())
    assert second.publish(record())
    assert (second.orders().reason, second.orders().directive.version) == (Reason.NONE, 1)


@pytest.mark.parametrize("survivors", [("a1", "a2"), ("a1",)])
def test_what_was_spent_while_the_ledger_was_away_is_set_against_that_times_budget(survivors: tuple[str, ...]) -> None:
    clock = Clock()
    mean = float(SPACE.costs.mean())
    first = book(clock, flops_per_second=40 * mean)
    first.publish(record())
    spent = dict.fromkeys(("a1", "a2"), 0)

    def passes(seconds: float, allocators: Iterable[str]) -> None:
        """They spend just the budget."""
        clock.now += seconds
        for allocator in allocators:
            spent[allocator] += round(40 * seconds / len(survivors))

    def report(to: LedgerBook, allocator: str) -> None:
        to.reports.commit(commitment(spent[allocator], int(spent[allocator] * mean), allocator))

    for _ in range(50):
        passes(0.2, spent if len(survivors) == 2 else ("a1",))
        for allocator in spent:
            report(first, allocator)
        first.tick()
    second = book(clock, flops_per_second=40 * mean)
    state = json.loads(json.dumps(first.state()))
    passes(2.0, survivors)  # four times as long as budget is saved up for
    assert second.restore(*state)
    assert second.publish(record())
    late = [second.orders().reason]
    for allocator in survivors:
        passes(0.6, survivors)
        report(second, allocator)
        second.tick()
        late.append(second.orders().reason)
    assert second.reports.awaited == (survivors == ("a1",))
    for pause in (LIVE_S, 0.2, 0.2, 0.2):  # then who has not come back is not waited for any more
        passes(pause, survivors)
        for allocator in survivors:
            report(second, allocator)
        second.tick()
        late.append(second.orders().reason)
    assert set(late) == {Reason.NONE}
    assert not second.reports.awaited


def test_the_same_version_of_a_store_begun_anew_is_another_record() -> None:
    b = book(flops_per_second=1e6)
    assert b.publish(record())
    assert not b.publish(record())
    assert b.publish(replace(record(), published_at=1.0))


def test_another_sessions_state_is_not_taken_up() -> None:
    first = book(session="s1")
    first.reports.commit(commitment(10, 10))
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
    assert set(stats["trajectory"][0]) == {field.name for field in fields(Point)}


def test_an_empty_frontier_is_refused_and_the_old_one_stays() -> None:
    b = book(flops_per_second=1e5)
    b.publish(record(1))
    with pytest.raises(Exception, match="no requests"):
        b.publish(replace(record(2), frontier=Frontier.empty()))
    b.tick()
    assert b.budget()["price_version"] == 1
