"""The ledger: one named, detached actor that keeps the book, follows the price store and survives its own crashes."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sqlite3
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import ray

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig, EnergyConfig
from greenflow_ray.energy.carbon import refresh, source_for
from greenflow_ray.errors import InvalidInput, PricingInputError, StoreError
from greenflow_ray.pricing.store import PriceRecord, PriceStore, open_store
from greenflow_ray.serving.book import LedgerBook
from greenflow_ray.serving.messages import Budget
from greenflow_ray.serving.meters import Meters
from greenflow_ray.serving.order import BudgetOrder
from greenflow_ray.serving.wire import Commitment, Orders, Settlement, Usage

log = logging.getLogger(__name__)

NAME = "greenflow-ledger"
NAMESPACE = "greenflow"
HASTE, PATIENCE = 0.5, 1.5
"""Exchange periods from one tick to the next, at least and at most: an allocator that is later is not waited for."""
POLL_S = 1.0
"""The price store is asked, and the book saved, this often."""


class StateFile:
    """A JSON document and the trajectory's points in SQLite: saved whole or not at all, whatever happens."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY CHECK (id = 1), state TEXT)")
        self._db.execute("CREATE TABLE IF NOT EXISTS points (t REAL PRIMARY KEY, point TEXT)")

    def load(self) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
        """Document and points, oldest first; None if there is none. Raises ValueError if it is not JSON."""
        row = self._db.execute("SELECT state FROM ledger").fetchone()
        points = self._db.execute("SELECT point FROM points ORDER BY t").fetchall()
        return (json.loads(row[0]), [json.loads(text) for (text,) in points]) if row else None

    def save(self, state: dict[str, Any], points: list[dict[str, Any]]) -> None:
        """Replace the document, add or replace ``points``."""
        rows = [(point["t"], json.dumps(point)) for point in points]
        self._db.execute("BEGIN")
        try:
            self._db.execute("INSERT OR REPLACE INTO ledger (id, state) VALUES (1, ?)", (json.dumps(state),))
            self._db.executemany("INSERT OR REPLACE INTO points (t, point) VALUES (?, ?)", rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def clear(self) -> None:
        """Forget an earlier session."""
        self._db.execute("DELETE FROM points")
        self._db.execute("DELETE FROM ledger")


class Ledger:
    """The actor. Its methods never wait for disk or network: those have their own loop and threads."""

    def __init__(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        self._saving = asyncio.Lock()
        self._loops: list[asyncio.Task[None]] = []
        self._ticked = asyncio.Event()
        self._last_tick = time.monotonic()
        self._open(session, config, space)

    def _open(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        """Start the book of a session, or take up where its last life stopped."""
        self._config = config
        self._session = session
        self._book = LedgerBook(config, space, session)
        self._file: StateFile | None = None
        self._store: PriceStore | None = None
        try:
            self._file = StateFile(config.paths.ledger)
            found = self._file.load()
            if found is None or not self._book.restore(*found):
                self._file.clear()
        except (sqlite3.Error, OSError, KeyError, TypeError, ValueError, InvalidInput) as error:
            log.warning("%s: state not restored (%s)", config.paths.ledger, error)
            self._book = LedgerBook(config, space, session)
        self._limits = self._book.limits()
        self._carbon = source_for(config.energy)
        self._publish(self._latest())

    def _wake(self) -> None:
        """Start the loops with the first message: a constructor has no event loop yet."""
        if not self._loops:
            loops = (self._tick_loop, self._poll_loop, self._energy_loop)
            self._loops = [asyncio.create_task(work()) for work in loops]

    async def begin(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        """A replica introduces its session; a newer one (session ids sort by time) replaces the book."""
        self._wake()
        if session > self._session:
            self._open(session, config, space)

    async def commit(self, session: str, account: Commitment) -> Orders | None:
        """Exchange with an allocator; None: this session is not known here (introduce it) or is over.

        The last of the allocators to report makes the ledger tick, and all get their orders then, from accounts a
        moment old.
        """
        self._wake()
        if session != self._session:
            return None
        self._book.commit(account)
        if time.monotonic() - self._last_tick >= HASTE * self._config.budget.exchange_s:
            if self._book.complete:
                self._tick()
            else:
                await self._ticked.wait()
        return self._book.orders() if session == self._session else None

    async def settle(self, session: str, account: Settlement) -> dict[str, Any] | None:
        """Exchange with a gateway; returns the budget as ``GET /v1/budget`` shows it."""
        self._wake()
        if session != self._session:
            return None
        self._book.settle(account)
        return self._book.budget()

    async def budget(self) -> dict[str, Any]:
        """See :meth:`LedgerBook.budget`."""
        return self._book.budget()

    async def set_budget(self, order: Budget) -> dict[str, Any]:
        """Follow a new order and answer when it is in force; without a chain the last one named stays."""
        before = self._book.order
        self._book.set_budget(BudgetOrder.of(order, order.policy, order.fixed_chain or before.fixed_chain))
        self._limits = self._book.limits()
        await self._audit("PUT /v1/budget", before.told(), self._book.order.told())
        await self._save()
        await asyncio.sleep(PATIENCE * self._config.budget.exchange_s)  # by then a tick has passed
        return self._book.budget()

    async def _audit(self, by: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """A line for each change of the budget, beside the prices."""
        line = {"time": datetime.now(UTC).isoformat(), "by": by, "before": before, "after": after}

        def write() -> None:
            with self._config.paths.audit.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

        log.info("budget changed: %s", line)
        try:
            await asyncio.to_thread(write)
        except OSError as error:
            log.warning("%s: not written (%s)", self._config.paths.audit, error)

    async def stats(self, since: float = 0.0) -> dict[str, Any]:
        """See :meth:`LedgerBook.stats`."""
        stats = self._book.stats(since)
        stats["cpu_seconds"]["ledger"] = time.process_time()
        return stats

    async def pid(self) -> int:
        """Process id, for operators and fault tests."""
        return os.getpid()

    def _tick(self) -> None:
        self._last_tick = time.monotonic()
        try:
            self._book.tick()
        except Exception:
            log.exception("tick failed; the last orders stay")
        self._ticked.set()
        self._ticked = asyncio.Event()

    async def _tick_loop(self) -> None:
        """Ticks when the allocators did not: there is none, or one is late."""
        late = PATIENCE * self._config.budget.exchange_s
        while True:
            await asyncio.sleep(max(self._last_tick + late - time.monotonic(), 0.01))
            if time.monotonic() - self._last_tick >= late:
                self._tick()

    async def _poll_loop(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            self._publish(await asyncio.to_thread(self._latest))
            limits = self._book.limits()
            if limits != self._limits:
                before, self._limits = self._limits, limits
                await self._audit("schedule", asdict(before), asdict(limits))
            await self._save()

    async def _energy_loop(self) -> None:
        """Reads the nodes' meters and the grid's carbon intensity; without either, serving goes on as it was."""
        energy: EnergyConfig | None = None
        meters: Meters | None = None
        asked = -math.inf
        while True:
            if energy is None or meters is None or energy != self._config.energy:  # a new session may declare another
                energy, asked = self._config.energy, -math.inf
                meters = Meters(energy)
            try:
                if time.monotonic() - asked >= energy.carbon.refresh_s:
                    asked = time.monotonic()
                    await asyncio.to_thread(refresh, self._carbon)
                windows = await meters.read() if energy.live else {}
                self._book.meter(windows, self._carbon.at(time.time()), usage("ledger", "ledger"))
            except Exception:
                log.exception("the energy of this window is not known")
            await asyncio.sleep(energy.window_s)

    def _latest(self) -> PriceRecord | None:
        """The store's newest record; None if the store is not to be had: the frontier in force stays."""
        try:
            if self._store is None:
                self._store = open_store(self._config.paths.prices)
            return self._store.latest()
        except (StoreError, OSError) as error:
            log.warning("price store: %s", error)
            return None

    def _publish(self, record: PriceRecord | None) -> None:
        try:
            if record is not None and self._fits(record.meta):
                self._book.publish(record)
        except PricingInputError as error:
            log.warning("price record %d refused: %s", record.version if record else 0, error)

    def _fits(self, meta: Any) -> bool:
        """A frontier of other chains prices something else; one that does not say is taken at its word."""
        return bool(meta.get("chains", self._book.space.digest) == self._book.space.digest)

    async def _save(self) -> None:
        if self._file is None:
            return
        async with self._saving:
            try:
                await asyncio.to_thread(self._file.save, *self._book.state())
            except (sqlite3.Error, OSError) as error:
                log.warning("%s: state not saved (%s)", self._config.paths.ledger, error)


def connect(session: str, config: CascadeConfig, space: ChainSpace) -> Any:
    """Handle of the cluster's ledger, which is created if there is none."""
    actor = ray.remote(Ledger).options(
        name=NAME,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",  # it outlives the replica that happened to create it
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=256,
    )
    return actor.remote(session, config, space)


def usage(deployment: str, replica: str) -> Usage:
    """CPU-seconds of the calling process."""
    return Usage(deployment, replica, time.process_time(), _node())


@cache
def _node() -> str:
    """Id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())
