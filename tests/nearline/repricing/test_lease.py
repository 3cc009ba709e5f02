"""Work under a lease: renewed while it lasts, given up at its end, not taken again once lost."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from greenflow_ray.errors import LeaseLost
from greenflow_ray.nearline.repricing.once import new_owner, renewed
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore


class Watched(SqlitePriceStore):
    """A store that says when a renewal has been tried."""

    def __init__(self, path: Path) -> None:
        self.now = 1000.0
        self.tried = threading.Semaphore(0)
        super().__init__(path, clock=lambda: self.now)

    def renew(self, owner: str, seconds: float) -> None:
        try:
            super().renew(owner, seconds)
        finally:
            self.tried.release()

    def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass, and two renewals be tried after that."""
        self.now += seconds
        for _ in range(2):
            assert self.tried.acquire(timeout=30)


def test_slow_work_keeps_its_lease_and_gives_it_up(tmp_path: Path) -> None:
    with Watched(tmp_path / "p.sqlite") as store:
        store.acquire("a", 0.06)
        with renewed(store, "a", 0.06):
            for _ in range(5):
                store.pass_time(0.05)
                assert store.acquire("b", 0.06).owner == "a"
        assert store.acquire("b", 0.06).owner == "b"


def test_a_lost_lease_is_not_taken_again(tmp_path: Path) -> None:
    with Watched(tmp_path / "p.sqlite") as store:
        store.acquire("a", 0.06)
        with renewed(store, "a", 0.06):
            store.now += 1.0
            assert store.tried.acquire(timeout=30)
            with pytest.raises(LeaseLost):
                store.renew("a", 0.06)


def test_no_two_owners_share_a_name() -> None:
    assert new_owner() != new_owner()
