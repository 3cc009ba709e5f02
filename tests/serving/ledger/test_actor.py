"""The ledger actor's class in this process: exchanges from several threads, sessions, and what is saved."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from greenflow_ray.config import CascadeConfig
from greenflow_ray.serving.ledger.actor import CALLS, Ledger
from greenflow_ray.serving.ledger.order import BudgetOrder
from greenflow_ray.serving.wire import Orders, Reason
from tests.serving.fakes import cascade
from tests.serving.ledger.test_book import SPACE, commitment, settlement


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens by itself: a test does what the loops would."""
    for loop in ("_tick_loop", "_poll_loop", "_energy_loop"):
        monkeypatch.setattr(Ledger, loop, lambda _: None)


def made(folder: Path, session: str = "s1", **sections: Any) -> tuple[Ledger, CascadeConfig]:
    config = cascade(folder, budget={"exchange_s": 0.05}, **sections)
    return Ledger(session, config, SPACE), config


def tick(ledger: Ledger) -> None:
    """A tick, and then an exchange period."""
    with ledger._lock:
        ledger._tick()
    ledger._last_tick = -1e9


def test_allocators_wait_for_the_last_of_them_and_all_get_orders(tmp_path: Path) -> None:
    ledger, _ = made(tmp_path)
    for name in "abcd":  # allocators that nobody has heard of are not waited for
        assert ledger.commit("s1", commitment(10, 100, name)) is not None
    with ThreadPoolExecutor(8) as pool:
        for round_ in (2, 3):
            tick(ledger)
            early = [pool.submit(ledger.commit, "s1", commitment(10 * round_, 100 * round_, n)) for n in "abc"]
            assert not wait(early, timeout=0.1).done
            assert isinstance(ledger.commit("s1", commitment(10 * round_, 100 * round_, "d")), Orders)
            assert all(isinstance(answer.result(timeout=5), Orders) for answer in early)
    stats = ledger.stats()
    assert (stats["committed"]["requests"], stats["committed"]["flops"]) == (120, 1200)


def test_more_allocators_than_may_wait_get_the_last_orders_at_once(tmp_path: Path) -> None:
    ledger, _ = made(tmp_path)
    names = [f"a{i}" for i in range(CALLS // 2 + 3)]
    for name in names:
        assert ledger.commit("s1", commitment(1, 1, name)) is not None
    tick(ledger)
    with ThreadPoolExecutor(len(names)) as pool:
        early = [pool.submit(ledger.commit, "s1", commitment(2, 2, name)) for name in names[:-1]]
        done = wait(early, timeout=5, return_when="FIRST_COMPLETED").done
        assert all(isinstance(answer.result(), Orders) for answer in done)
        assert isinstance(ledger.commit("s1", commitment(2, 2, names[-1])), Orders)
        assert all(isinstance(answer.result(timeout=5), Orders) for answer in early)
    assert ledger.stats()["committed"]["requests"] == 2 * len(names)


def test_a_late_allocator_does_not_hold_the_others(tmp_path: Path) -> None:
    ledger, _ = made(tmp_path)
    for name in "ab":
        assert ledger.commit("s1", commitment(1, 1, name)) is not None
    tick(ledger)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ledger.commit, "s1", commitment(2, 2, "a"))
        assert not wait([waiting], timeout=0.1).done
        tick(ledger)
        assert isinstance(waiting.result(timeout=5), Orders)


def test_a_newer_session_takes_over_and_an_older_one_is_told(tmp_path: Path) -> None:
    ledger, config = made(tmp_path)
    assert ledger.commit("s2", commitment(1, 1)) is None
    assert ledger.settle("s2", settlement(1, 1)) is None
    ledger.begin("s2", config, SPACE)
    assert ledger.commit("s1", commitment(1, 1)) is None
    assert ledger.commit("s2", commitment(1, 1)) is not None
    ledger.begin("s1", config, SPACE)
    assert ledger.settle("s1", settlement(1, 1)) is None


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    ledger, _ = made(tmp_path)
    ledger.commit("s1", commitment(30, 3000))
    ledger.settle("s1", settlement(29, 2900))
    tick(ledger)
    answer = ledger.set_budget(BudgetOrder(flops_per_second=1e6, policy="greenflow"))
    assert answer["flops_per_second"] == 1e6
    again, _ = made(tmp_path)
    before, after = ledger.stats(), again.stats()
    for key in ("requests", "flops", "committed", "chains", "trajectory"):
        assert after[key] == before[key]
    assert again.budget()["flops_per_second"] == 1e6
    fresh, _ = made(tmp_path, "s2")
    assert fresh.stats()["requests"] == 0


def test_a_node_without_the_grids_token_keeps_the_book_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ELECTRICITY_MAPS_TOKEN", raising=False)
    carbon = {"source": "electricity-maps", "zone": "DE", "token_env": "ELECTRICITY_MAPS_TOKEN"}
    ledger, _ = made(tmp_path, energy={"carbon": carbon})
    assert isinstance(ledger.commit("s1", commitment(1, 1)), Orders)
    ledger.set_budget(BudgetOrder(grams_per_hour=1.0))
    tick(ledger)
    orders = ledger.commit("s1", commitment(2, 2))
    assert orders is not None
    assert Reason(orders.reason) is Reason.BUDGET_UNKNOWN, "grams without an intensity cannot be kept: the safe chain"
