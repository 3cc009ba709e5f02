"""The ledger: one named, detached actor that keeps the book, follows the price store and survives its own crashes."""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
import threading
import time
from datetime import UTC, datetime
from typing import Any

import ray

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig, EnergyConfig
from greenflow_ray.energy.carbon.intensity import CarbonSource
from greenflow_ray.energy.carbon.last_known import refresh, source_for
from greenflow_ray.errors import GreenFlowError, InvalidInput, PricingInputError, StoreError
from greenflow_ray.models.costing.costs import core_speed
from greenflow_ray.pricing.store.base import PriceStore, open_store
from greenflow_ray.pricing.store.records import PriceRecord
from greenflow_ray.serving.ledger.book import LedgerBook
from greenflow_ray.serving.ledger.nodes import NodeMeters
from greenflow_ray.serving.ledger.order import BudgetOrder
from greenflow_ray.serving.ledger.state_file import StateFile
from greenflow_ray.serving.usage import this_node, usage
from greenflow_ray.serving.wire import Commitment, Orders, Settlement

log = logging.getLogger(__name__)

NAME = "greenflow-ledger"
NAMESPACE = "greenflow"
HASTE, PATIENCE = 0.5, 1.5
"""Exchange periods from one tick to the next, at least and at most: an allocator that is later is not waited for."""
POLL_S = 1.0
"""The price store is asked, and the book saved, this often."""
CALLS = 32
"""Calls at a time, each in a thread: few, so that they stay warm. Half of them may wait for a tick."""


class Ledger:
    """The actor. Its methods never wait for disk or network: those have threads of their own.

    It has no event loop: an actor with one takes every call through three threads, which costs more than the book.
    """

    def __init__(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        self._lock = threading.Condition()  # of the book, told at every tick
        self._files = threading.Lock()  # of state file and price store, taken before the book's
        self._loops: list[threading.Thread] = []
        self._ticks = self._waiting = 0
        self._last_tick = time.monotonic()
        self._open(session, config, space)

    def _open(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        """Start the book of a session, or take up where its last life stopped."""
        self._config = config
        self._session = session
        self._book = LedgerBook(config, space, session, core=core_speed(config))
        self._file: StateFile | None = None
        self._store: PriceStore | None = None
        try:
            self._file = StateFile(config.paths.ledger)
            found = self._file.load()
            if found is None or not self._book.restore(*found):
                self._file.clear()
        except (sqlite3.Error, OSError, KeyError, TypeError, ValueError, InvalidInput) as error:
            log.warning("%s: state not restored (%s)", config.paths.ledger, error)
            self._book = LedgerBook(config, space, session, core=core_speed(config))
        self._limits = self._book.limits()
        self._carbon = _carbon(config.energy)
        self._publish(self._latest())

    def _wake(self) -> None:
        """Start the loops with the first message: before it, silence says nothing about traffic."""
        if not self._loops:
            self._last_tick = time.monotonic()
            loops = (self._tick_loop, self._poll_loop, self._energy_loop)
            self._loops = [threading.Thread(target=work, name=work.__name__, daemon=True) for work in loops]
            for loop in self._loops:
                loop.start()

    def begin(self, session: str, config: CascadeConfig, space: ChainSpace) -> None:
        """A replica introduces its session; a newer one (session ids sort by time) replaces the book."""
        with self._files, self._lock:
            self._wake()
            if session > self._session:
                self._open(session, config, space)

    def commit(self, session: str, account: Commitment) -> Orders | None:
        """Exchange with an allocator; None: this session is not known here (introduce it) or is over.

        The last of the allocators to report makes the ledger tick, and all get their orders then, from accounts a
        moment old.
        """
        with self._lock:
            self._wake()
            if session != self._session:
                return None
            self._book.reports.commit(account)
            if time.monotonic() - self._last_tick >= HASTE * self._config.budget.exchange_s:
                if self._book.reports.complete:
                    self._tick()
                elif self._waiting < CALLS // 2:  # any more allocators get the last orders at once
                    before = self._ticks
                    self._waiting += 1
                    self._lock.wait_for(lambda: self._ticks != before)
                    self._waiting -= 1
            return self._book.orders() if session == self._session else None

    def settle(self, session: str, account: Settlement) -> dict[str, Any] | None:
        """Exchange with a gateway; returns the budget as ``GET /v1/budget`` shows it."""
        with self._lock:
            self._wake()
            if session != self._session:
                return None
            self._book.reports.settle(account)
            return self._book.budget()

    def budget(self) -> dict[str, Any]:
        """See :meth:`LedgerBook.budget`."""
        with self._lock:
            return self._book.budget()

    def set_budget(self, order: BudgetOrder) -> dict[str, Any]:
        """Follow a new order and answer when it is in force; without a chain the last one named stays."""
        with self._lock:
            before = self._book.order
            self._book.set_budget(order)
            after, self._limits = self._book.order, self._book.limits()
        self._audit("PUT /v1/budget", before.told(), after.told())
        self._save()
        time.sleep(PATIENCE * self._config.budget.exchange_s)  # by then a tick has passed
        return self.budget()

    def _audit(self, by: str, before: dict[str, Any], after: dict[str, Any]) -> None:
        """A line for each change of the budget, beside the prices."""
        line = {"time": datetime.now(UTC).isoformat(), "by": by, "before": before, "after": after}
        log.info("budget changed: %s", line)
        try:
            with self._config.paths.audit.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            log.warning("%s: not written (%s)", self._config.paths.audit, error)

    def stats(self, since: float = 0.0) -> dict[str, Any]:
        """See :meth:`LedgerBook.stats`."""
        with self._lock:
            stats = self._book.stats(since)
        stats["cpu_seconds"]["ledger"] = time.process_time()
        return stats

    def pid(self) -> int:
        """Process id, for operators and fault tests."""
        return os.getpid()

    def _tick(self) -> None:
        """With the lock held."""
        self._last_tick = time.monotonic()
        try:
            self._book.tick()
        except Exception:
            log.exception("tick failed; the last orders stay")
        self._ticks += 1
        self._lock.notify_all()

    def _tick_loop(self) -> None:
        """Ticks when the allocators did not: there is none, or one is late."""
        while True:
            with self._lock:
                early = self._last_tick + PATIENCE * self._config.budget.exchange_s - time.monotonic()
                if early <= 0:
                    self._tick()
            time.sleep(max(early, 0.01))

    def _poll_loop(self) -> None:
        while True:
            time.sleep(POLL_S)
            try:
                self._poll()
            except Exception:
                log.exception("the price store was not followed this time")

    def _poll(self) -> None:
        with self._files:
            record = self._latest()
            with self._lock:
                self._publish(record)
                before, after = self._limits, self._book.limits()
                self._limits = after
        if after != before:
            self._audit("schedule", before.model_dump(), after.model_dump())
        self._save()

    def _energy_loop(self) -> None:
        """Reads the nodes' meters and the grid's carbon intensity; without either, serving goes on as it was."""
        meters: NodeMeters | None = None
        asked = -math.inf
        with self._lock:  # a meter's start takes a second of CPU time: orders come first
            self._lock.wait_for(lambda: self._ticks > 0)
        while True:
            energy, carbon = self._config.energy, self._carbon
            if meters is None or meters.config != energy:  # a new session may declare another
                if meters is not None:
                    meters.close()
                meters, asked = NodeMeters(energy, this_node()), -math.inf
            try:
                if carbon is not None and time.monotonic() - asked >= energy.carbon.refresh_s:
                    asked = time.monotonic()
                    refresh(carbon)
                windows = meters.read() if energy.live else {}
                intensity = None if carbon is None else carbon.at(time.time())
                with self._lock:
                    self._book.meter(windows, intensity, usage("ledger", "ledger"))
            except Exception:
                log.exception("the energy of this window is not known")
            time.sleep(energy.window_s)

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

    def _save(self) -> None:
        with self._files:
            if self._file is None:
                return
            with self._lock:
                state = self._book.state()
            try:
                self._file.save(*state)
            except (sqlite3.Error, OSError) as error:
                log.warning("%s: state not saved (%s)", self._config.paths.ledger, error)


def _carbon(config: EnergyConfig) -> CarbonSource | None:
    """Where carbon intensities come from; None, which leaves grams unknown, if this node lacks a token or a file."""
    try:
        return source_for(config)
    except GreenFlowError as error:
        log.error("no carbon intensity: %s", error)
        return None


def connect(session: str, config: CascadeConfig, space: ChainSpace) -> Any:
    """Handle of the cluster's ledger, which is created if there is none."""
    actor = ray.remote(Ledger).options(
        name=NAME,
        namespace=NAMESPACE,
        get_if_exists=True,
        lifetime="detached",  # it outlives the replica that happened to create it
        max_restarts=-1,
        num_cpus=0,
        max_concurrency=CALLS,
        enable_task_events=False,  # nobody looks for exchanges in a task list
    )
    return actor.remote(session, config, space)
