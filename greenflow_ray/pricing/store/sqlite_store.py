"""The price store in one SQLite file that several processes of one machine share."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from greenflow_ray.errors import LeaseLost, StoreError, VersionConflict
from greenflow_ray.pricing.store import records
from greenflow_ray.pricing.store.records import Lease, PriceDraft, PriceRecord

_PRICES = """CREATE TABLE IF NOT EXISTS prices (
  version INTEGER PRIMARY KEY CHECK (version >= 1), published_at REAL NOT NULL, record BLOB NOT NULL
) STRICT"""
_LEASE = """CREATE TABLE IF NOT EXISTS lease (
  one INTEGER PRIMARY KEY CHECK (one = 1), owner TEXT NOT NULL, until REAL NOT NULL
) STRICT"""


class SqlitePriceStore:
    """A file that several processes of one machine share: write-ahead log, so readers never wait for a writer.

    ``keep`` newest records stay, older ones are deleted at publication; ``clock`` gives ``published_at``.
    """

    def __init__(self, path: Path | str, *, clock: Callable[[], float] = time.time, keep: int = 1000) -> None:
        self.path = Path(path)
        self._clock = clock
        self._keep = keep
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path}: folder cannot be made ({error.strerror}); give another path") from error
        with self._session():
            pass

    def _file(self) -> tuple[int, int] | None:
        """Which file lies at the path now; None: none."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def __enter__(self) -> SqlitePriceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _session(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._opened != self._file():
                    self._disconnect()  # deleted, or replaced: what is published from now on lies elsewhere
                if self._connection is None:
                    self._connection = sqlite3.connect(
                        self.path, timeout=5.0, isolation_level=None, check_same_thread=False
                    )
                    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", _PRICES, _LEASE):
                        self._connection.execute(statement)
                    self._opened = self._file()
                yield self._connection
            except sqlite3.Error as error:
                self._disconnect()
                raise StoreError(
                    f"{self.path}: price store cannot be used ({error}); move the file away and publish again"
                ) from error

    @staticmethod
    def _newest_good(db: sqlite3.Connection) -> PriceRecord | None:
        return next(records.good(db.execute("SELECT version, record FROM prices ORDER BY version DESC")), None)

    def latest(self) -> PriceRecord | None:
        """See ``PriceStore``."""
        with self._session() as db:
            return self._newest_good(db)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing, with every other writer kept out meanwhile."""
        with self._session() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def publish(self, draft: PriceDraft, *, expected_version: int, owner: str | None = None) -> PriceRecord:
        """See ``PriceStore``."""
        draft.check()
        with self._transaction() as db:
            if owner is not None:
                self._check_lease(db, owner)
            newest = self._newest_good(db)
            found = newest.version if newest else 0
            if found != expected_version:
                raise VersionConflict(expected_version, found)
            (highest,) = db.execute("SELECT coalesce(max(version), 0) FROM prices").fetchone()
            record, blob = records.encode(draft, highest + 1, self._clock())
            row = (record.version, record.published_at, blob)
            db.execute("INSERT INTO prices (version, published_at, record) VALUES (?, ?, ?)", row)
            db.execute("DELETE FROM prices WHERE version <= ?", (record.version - self._keep,))
        return record

    def acquire(self, owner: str, seconds: float) -> Lease:
        """See ``PriceStore``."""
        with self._transaction() as db:
            held, now = self._lease(db), self._clock()
            mine = held is None or held.owner == owner or held.until <= now
            lease = Lease(owner, now + seconds)
            if held is not None and not mine:
                lease = Lease(held.owner, min(held.until, now + seconds))
            if lease != held:
                db.execute("REPLACE INTO lease (one, owner, until) VALUES (1, ?, ?)", (lease.owner, lease.until))
        return lease

    def renew(self, owner: str, seconds: float) -> None:
        """See ``PriceStore``."""
        with self._transaction() as db:
            self._check_lease(db, owner)
            db.execute("UPDATE lease SET until = ?", (self._clock() + seconds,))

    def release(self, owner: str) -> None:
        """See ``PriceStore``."""
        with self._transaction() as db:
            db.execute("DELETE FROM lease WHERE owner = ?", (owner,))

    @staticmethod
    def _lease(db: sqlite3.Connection) -> Lease | None:
        row = db.execute("SELECT owner, until FROM lease").fetchone()
        return None if row is None else Lease(*row)

    def _check_lease(self, db: sqlite3.Connection, owner: str) -> None:
        lease = self._lease(db)
        if lease is None or lease.owner != owner or lease.until <= self._clock():
            raise LeaseLost(owner)

    def history(self, since: float = 0.0, limit: int = 1000) -> list[PriceRecord]:
        """See ``PriceStore``."""
        query = "SELECT version, record FROM prices WHERE published_at >= ? ORDER BY version DESC LIMIT ?"
        with self._session() as db:
            return list(records.good(db.execute(query, (since, limit))))[::-1]
