"""One repricing: vet the window's samples, aggregate them into a frontier, publish by compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import DataError, VersionConflict
from greenflow_ray.nearline.window import look, retire, set_aside
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.refinement import Refinement, crossing
from greenflow_ray.pricing.store import PriceDraft, PriceStore

MAX_BAD_SHARE = 0.05
"""Above this share of refused files nothing is published: something is wrong that a price must not hide."""


class Samples(Protocol):
    """Sample rows that can be summarised where they lie (on Ray Data in production)."""

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
    """Aggregate the last ``sampling.window_s`` seconds and publish.

    ``reader`` opens files with their chains' costs; ``clock`` gives Unix seconds. Two repricings at
    once do no harm: the second finds a newer version than it expected and leaves it. Raises DataError if more than 5 %
    of the window's files are bad; the published price stays.
    """
    started = clock()
    folder = config.paths.samples
    window = look(folder, started - config.sampling.window_s)
    if window.bad_share > MAX_BAD_SHARE:
        first = window.bad[0]
        raise DataError(
            f"{folder}: {len(window.bad)} of {len(window.bad) + len(window.files)} sample files are bad (first: "
            f"{first.path.name}: {first.reason}); nothing published, remove them or find who writes them"
        )
    set_aside(window.bad, folder)
    latest = store.latest()
    version = latest.version if latest else 0
    files, bad_files = len(window.files), len(window.bad)
    if not window.files:
        return Repriced(False, version, None, 0.0, 0, bad_files, 0, clock() - started, "no samples in the window")
    samples = reader(window.files, window.costs)
    frontier, bad_rows = samples.frontier()
    if frontier.requests <= 0:
        seconds = clock() - started
        return Repriced(False, version, None, 0.0, files, bad_files, bad_rows, seconds, "no sample row was finite")
    span = max(started - min(p.stat().st_mtime for p in window.files), config.sampling.flush_s)
    price = _price(samples, frontier, budget_per_second, span * config.sampling.rate)
    draft = PriceDraft(
        frontier=frontier,
        price=price if price is not None else 0.0,
        requests=frontier.requests,
        meta={"chains": window.chains, "files": files, "bad_files": bad_files, "bad_rows": bad_rows},
    )
    try:
        version = store.publish(draft, expected_version=version).version
        published, reason = True, None
    except VersionConflict as conflict:
        version, published, reason = conflict.found, False, "another repricing published first"
    retire(folder, started - config.sampling.retention_s)
    return Repriced(published, version, price, frontier.requests, files, bad_files, bad_rows, clock() - started, reason)


def _price(samples: Samples, frontier: Frontier, budget_per_second: float | None, seconds: float) -> float | None:
    """Exact dual price at the budget if the sampled requests are what comes in ``seconds`` (equation 9, two passes)."""
    if budget_per_second is None:
        return None
    budget = max(budget_per_second * seconds, frontier.base_cost)
    bucket = crossing(frontier, budget)
    return 0.0 if bucket is None else samples.refine(bucket).solve(frontier, budget).price
