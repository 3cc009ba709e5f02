"""The price store: where frontiers are published by compare-and-swap. SQLite (WAL) by default, Redis for a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from greenflow_ray.pricing.store.records import Lease, PriceDraft, PriceRecord


class PriceStore(Protocol):
    """What the ledger and the repricing job need. Every method may raise StoreError."""

    def latest(self) -> PriceRecord | None:
        """The newest good record; corrupt ones are passed over. None while there is none."""

    def publish(self, draft: PriceDraft, *, expected_version: int, owner: str | None = None) -> PriceRecord:
        """Publish if the newest good record is ``expected_version`` (0: none yet), with a higher version than any
        before.

        With ``owner``, only while that owner holds the lease, in the same transaction. Raises VersionConflict or
        LeaseLost if it is not so, and PricingInputError if the draft is not finite.
        """

    def acquire(self, owner: str, seconds: float) -> Lease:
        """Take the lease for ``seconds`` if nobody else holds it; returns the one in force, which may be another's.

        No other's lease outlasts ``seconds`` from now: where the clock was set back, it is shortened to that.
        """

    def renew(self, owner: str, seconds: float) -> None:
        """Hold the lease for ``seconds`` from now. Raises LeaseLost if it has expired or is another's."""

    def release(self, owner: str) -> None:
        """Give the lease up if ``owner`` holds it."""

    def history(self, since: float = 0.0, limit: int = 1000) -> list[PriceRecord]:
        """The newest ``limit`` good records published at or after ``since`` (Unix seconds), oldest first."""

    def close(self) -> None:
        """Release the connection."""


def open_store(where: Path | str, *, clock: Callable[[], float] = time.time) -> PriceStore:
    """A store by URL (``redis://…``) or path (SQLite)."""
    if str(where).startswith(("redis://", "rediss://", "unix://")):
        from greenflow_ray.pricing.store.redis_store import RedisPriceStore

        return RedisPriceStore(str(where), clock=clock)
    from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore

    return SqlitePriceStore(where, clock=clock)
