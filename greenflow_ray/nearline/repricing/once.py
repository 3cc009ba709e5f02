"""One repricing: vet the window's samples, aggregate them into a frontier, publish by compare-and-swap and lease."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError, LeaseLost, VersionConflict
from greenflow_ray.nearline.reading.eligible import Window, look, refuse_many, restamp, set_aside
from greenflow_ray.nearline.reading.retention import sweep
from greenflow_ray.nearline.reading.vetting import unreadable
from greenflow_ray.nearline.repricing.lease import LEASE_S, new_owner, renewed
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.refinement import Refinement, crossing
from greenflow_ray.pricing.store.base import PriceDraft, PriceStore


class Samples(Protocol):
    """Sample rows that can be summarised where they lie (on Ray Data in production).

    Opening or summarising them raises DataError, ArrowException or OSError if a file cannot be read.
    """

    def frontier(self) -> tuple[Frontier, int]:
        """The frontier of all finite rows, and how many rows were refused."""
        ...

    def refine(self, bucket: int) -> Refinement:
        """The hull edges of one bucket, in full float32."""
        ...


Reader = Callable[[Sequence[Path], npt.NDArray[np.float64]], Samples]


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

    ``reader`` opens files with their chains' costs; ``clock`` gives Unix seconds. Two repricings at once do no harm:
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
    config: CascadeConfig,
    store: PriceStore,
    reader: Reader,
    now: float,
    budget_per_second: float | None,
    owner: str,
) -> Repriced:
    """What ``reprice_once`` does once it holds the lease; takes 0 seconds."""
    folder = config.paths.samples
    restamp(folder, now)
    sweep(config, now)
    version = _version(store)
    window = look(folder, now - config.sampling.window_s)
    refuse_many(window.bad, window.seen, folder)
    read: _Read | None = None
    try:
        read = _aggregate(reader, window)
    except (DataError, pa.ArrowException, OSError):
        found = unreadable(window.files, ("reward",))
        if not found:
            raise
        window = window.without(found)
        refuse_many(window.bad, window.seen, folder)
        read = _aggregate(reader, window)
    set_aside(window.bad, folder)
    files, bad_files = len(window.files), len(window.bad)
    if read is None:
        return Repriced(False, version, None, 0.0, 0, bad_files, 0, 0.0, "no samples in the window")
    samples, frontier, bad_rows = read
    if frontier.requests <= 0:
        return Repriced(False, version, None, 0.0, files, bad_files, bad_rows, 0.0, "no sample row was finite")
    span = max(now - window.oldest, config.sampling.flush_s)
    price = _price(samples, frontier, budget_per_second, span * config.sampling.rate)
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


_Read = tuple[Samples, Frontier, int]


def _aggregate(reader: Reader, window: Window) -> _Read | None:
    """The window's samples with their frontier and refused rows; None if there is no file."""
    if not window.files:
        return None
    samples = reader(window.files, window.costs)
    return samples, *samples.frontier()


def _version(store: PriceStore) -> int:
    latest = store.latest()
    return latest.version if latest else 0


def _price(samples: Samples, frontier: Frontier, budget_per_second: float | None, seconds: float) -> float | None:
    """Exact dual price at the budget if the sampled requests are what comes in ``seconds`` (equation 9, two passes)."""
    if budget_per_second is None:
        return None
    budget = max(budget_per_second * seconds, frontier.base_cost)
    bucket = crossing(frontier, budget)
    return 0.0 if bucket is None else samples.refine(bucket).solve(frontier, budget).price
