"""One repricing under the store's lease: vet the window's samples, aggregate them into a frontier, publish it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError, LeaseLost, StoreError, VersionConflict
from greenflow_ray.nearline.reading.eligible import look, restamp, set_aside, sweep
from greenflow_ray.nearline.reading.vetting import unreadable
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.base import PriceStore
from greenflow_ray.pricing.store.records import PriceDraft

LEASE_S = 30.0
"""A few times what a repricing takes: one that died blocks the next for no longer; one that is slower renews it."""

Reader = Callable[[Sequence[Path], npt.NDArray[np.float64]], tuple[Frontier, int]]
"""From files and their chains' costs to the frontier of all finite rows, and how many rows were refused.

Raises DataError, ArrowException or OSError if a file cannot be read.
"""


@dataclass(frozen=True)
class Repriced:
    """What one repricing did.

    Attributes:
        published: whether a new version was published.
        version: the version now in the store (0: none yet).
        price: dual price at the budget, reward per FLOP; None if the budget is unlimited or unknown.
        requests: sampled requests in the frontier.
        files, bad_files, bad_rows: what was read and refused.
        seconds: wall time.
        reason: why nothing was published, else None.
    """

    published: bool
    version: int
    price: float | None
    requests: float
    files: int
    bad_files: int
    bad_rows: int
    seconds: float
    reason: str | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def reprice_once(
    config: CascadeConfig,
    store: PriceStore,
    reader: Reader,
    clock: Callable[[], float],
    budget_per_second: float | None,
) -> Repriced:
    """Aggregate the last ``sampling.window_s`` seconds and publish, under the store's lease.

    ``reader`` makes files a frontier; ``clock`` gives Unix seconds. Two repricings at once do no harm:
    the second finds the lease taken, or a newer version than it expected, and leaves it. Files that cannot be read are
    set aside. Raises DataError if more than 5 % of the window's files are bad; then nothing is moved, and the published
    price stays.
    """
    started = clock()
    owner = new_owner()
    lease = store.acquire(owner, LEASE_S)
    if lease.owner != owner:
        until = datetime.fromtimestamp(lease.until, UTC).strftime("%H:%M:%S UTC")
        reason = f"another repricing holds the lease until {until}"
        return Repriced(False, _version(store), None, 0.0, 0, 0, 0, max(clock() - started, 0.0), reason)
    with renewed(store, owner):
        outcome = _reprice(config, store, reader, started, budget_per_second, owner)
    return replace(outcome, seconds=max(clock() - started, 0.0))


def _reprice(
    config: CascadeConfig, store: PriceStore, reader: Reader, now: float, budget_per_second: float | None, owner: str
) -> Repriced:
    """What ``reprice_once`` does once it holds the lease; takes 0 seconds."""
    folder = config.paths.samples
    restamp(folder, now)
    sweep(config, now)
    version = _version(store)
    window = look(folder, now - config.sampling.window_s)
    window.refuse_many(folder)
    try:
        frontier, bad_rows = reader(window.files, window.costs) if window.files else (None, 0)
    except (DataError, pa.ArrowException, OSError):
        found = unreadable(window.files, ("reward",))
        if not found:
            raise
        window = window.without(found)
        window.refuse_many(folder)
        frontier, bad_rows = reader(window.files, window.costs) if window.files else (None, 0)
    set_aside(window.bad, folder)
    files, bad_files = len(window.files), len(window.bad)
    if frontier is None:
        return Repriced(False, version, None, 0.0, 0, bad_files, 0, 0.0, "no samples in the window")
    if frontier.requests <= 0:
        return Repriced(False, version, None, 0.0, files, bad_files, bad_rows, 0.0, "no sample row was finite")
    span = max(now - window.oldest, config.sampling.flush_s)
    price = _price(frontier, budget_per_second, span * config.sampling.rate)
    draft = PriceDraft(
        frontier=frontier,
        price=price if price is not None else 0.0,
        requests=frontier.requests,
        meta={"chains": window.chains, "files": files, "bad_files": bad_files, "bad_rows": bad_rows},
    )
    published, reason = False, None
    try:
        version = store.publish(draft, expected_version=version, owner=owner).version
        published = True
    except VersionConflict as conflict:
        version, reason = conflict.found, "another repricing published first"
    except LeaseLost:
        version, reason = _version(store), "the lease expired before it had finished; the next repricing starts afresh"
    return Repriced(published, version, price, frontier.requests, files, bad_files, bad_rows, 0.0, reason)


def new_owner() -> str:
    """A name that nobody else has, and that says where to look."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def renewed(store: PriceStore, owner: str, seconds: float = LEASE_S) -> Iterator[None]:
    """Keep a lease that ``owner`` holds alive while the block runs, and give it up at its end.

    A lease that is lost is not taken again: the publication checks it, and refuses.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(seconds / 3):
            try:
                store.renew(owner, seconds)
            except LeaseLost:
                return
            except StoreError:
                continue  # the store may answer again before the lease expires

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(StoreError):  # it frees itself by expiry
            store.release(owner)


def _version(store: PriceStore) -> int:
    latest = store.latest()
    return latest.version if latest else 0


def _price(frontier: Frontier, budget_per_second: float | None, seconds: float) -> float | None:
    """Dual price at the budget if the sampled requests are what comes in ``seconds``; only to be shown."""
    if budget_per_second is None:
        return None
    return frontier.price(max(budget_per_second * seconds / frontier.requests, frontier.floor))
