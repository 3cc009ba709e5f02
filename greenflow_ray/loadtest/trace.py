"""Seeded open-loop traces: who asks when, fixed before the first request is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from greenflow_ray.config import LoadConfig
from greenflow_ray.errors import DataError
from greenflow_ray.support.files import whole

SCHEMA_KEY = b"greenflow.schema"
DURATION_KEY = b"greenflow.duration_s"


@dataclass(frozen=True)
class Rate:
    """Requests per second over time, constant between edges.

    Attributes:
        edges: float64 ``[m + 1]``, seconds from the start, increasing from 0.
        rates: float64 ``[m]``, requests per second from each edge to the next.
    """

    edges: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.rates) + 1 or self.edges[0] != 0 or np.any(np.diff(self.edges) <= 0):
            raise DataError("rate of arrivals: edges must start at 0, increase, and be one more than the rates")
        if not np.all(np.isfinite(self.rates)) or np.any(self.rates < 0):
            raise DataError("rate of arrivals: every rate must be a finite number of at least 0")

    @property
    def duration_s(self) -> float:
        """Seconds from the first edge to the last."""
        return float(self.edges[-1])

    @property
    def expected(self) -> float:
        """Expected number of requests."""
        return float(np.dot(np.diff(self.edges), self.rates))

    def arrivals(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """An inhomogeneous Poisson process with this rate: sorted times, float64 ``[n]``.

        Given their number, arrivals are independent with density rate/expected, so uniform draws are sent through the
        inverse of the cumulative rate.
        """
        cumulative = np.concatenate([[0.0], np.cumsum(np.diff(self.edges) * self.rates)])
        if cumulative[-1] == 0:
            return np.empty(0)
        draws = np.sort(rng.random(rng.poisson(cumulative[-1]))) * cumulative[-1]
        # "right" takes the last of equal entries, so no draw falls into a stretch of rate 0.
        first = np.minimum(np.searchsorted(cumulative, draws, side="right") - 1, len(self.rates) - 1)
        times = self.edges[first] + (draws - cumulative[first]) / self.rates[first]
        return np.asarray(np.minimum(times, np.nextafter(self.duration_s, 0)), dtype=np.float64)


def constant(requests_per_second: float, duration_s: float) -> Rate:
    """The same rate throughout."""
    return Rate(np.array([0.0, duration_s]), np.array([requests_per_second]))


def spike(requests_per_second: float, duration_s: float, factor: float, start: float, length: float) -> Rate:
    """A rate that is multiplied by ``factor`` from ``start`` for ``length``, both shares of the duration."""
    end = min(1.0, start + length)
    edges = np.array([0.0, start, end, 1.0]) * duration_s
    rates = np.array([1.0, factor, 1.0]) * requests_per_second
    keep = np.diff(edges) > 0
    return Rate(np.concatenate([[0.0], edges[1:][keep]]), rates[keep])


def daily(requests_per_second: float, duration_s: float, *, swing: float = 0.6, steps: int = 288) -> Rate:
    """A day squeezed into the duration: a sine around the mean rate, lowest at a quarter, highest at three quarters."""
    if not 0 <= swing <= 1:
        raise DataError(f"daily trace: swing is {swing}; it must lie from 0 to 1")
    edges = np.linspace(0.0, duration_s, steps + 1)
    middle = (np.arange(steps) + 0.5) / steps
    return Rate(edges, requests_per_second * (1 - swing * np.sin(2 * np.pi * middle)))


@dataclass(frozen=True)
class Trace:
    """When each request is due and for whom; both arms of a comparison play the same one.

    Attributes:
        times: float64 ``[n]``, seconds from the start, not decreasing.
        user_ids: int64 ``[n]``, as the outside world names users.
        duration_s: length of the trace; the last stretch may hold no request.
    """

    times: npt.NDArray[np.float64]
    user_ids: npt.NDArray[np.int64]
    duration_s: float

    def __post_init__(self) -> None:
        if self.times.shape != self.user_ids.shape or self.times.ndim != 1:
            raise DataError("trace: times and user_ids must be one column each, of equal length")
        if not np.all(np.isfinite(self.times)) or np.any(np.diff(self.times) < 0):
            raise DataError("trace: times must be finite and not decrease; sort the rows by time")
        if len(self) and (self.times[0] < 0 or self.times[-1] > self.duration_s):
            raise DataError(f"trace: times must lie from 0 to the duration, {self.duration_s:g} s")

    def __len__(self) -> int:
        return len(self.times)

    def save(self, path: Path | str) -> None:
        """Write Parquet with columns ``time`` and ``user_id``, atomically."""
        table = pa.table({"time": self.times, "user_id": self.user_ids})
        table = table.replace_schema_metadata({SCHEMA_KEY: b"1", DURATION_KEY: repr(self.duration_s).encode()})
        with whole(path) as part:
            pq.write_table(table, part)


def generate(rate: Rate, users: npt.NDArray[np.int64], seed: int) -> Trace:
    """Poisson arrivals at ``rate`` for ``users`` (the final users' ids), drawn from one seed.

    Users come in shuffled rounds, each once a round, so that no user weighs more than another by chance.
    """
    if not len(users):
        raise DataError("trace: there are no users to ask for; prepare a data set with final users")
    rng = np.random.default_rng(seed)
    times = rate.arrivals(rng)
    rounds = -(-len(times) // len(users))
    order = np.concatenate([rng.permutation(len(users)) for _ in range(rounds)] or [np.empty(0, np.int64)])
    return Trace(times, np.asarray(users, dtype=np.int64)[order[: len(times)].astype(np.int64)], rate.duration_s)


def from_config(load: LoadConfig, users: npt.NDArray[np.int64], seed: int) -> Trace:
    """The trace that a cascade's configuration declares."""
    mean, seconds = load.requests_per_second, load.duration_s
    if load.shape == "spike":
        rate = spike(mean, seconds, load.spike_factor, load.spike_start, load.spike_length)
    else:
        rate = constant(mean, seconds) if load.shape == "constant" else daily(mean, seconds)
    return generate(rate, users, seed)


def replay(path: Path | str) -> Trace:
    """Read a trace from Parquet or CSV with columns ``time`` (seconds) and ``user_id``. Raises DataError.

    Times of a file that :meth:`Trace.save` did not write may start anywhere, e.g. at unix time; they are shifted to 0.
    """
    path = Path(path)
    try:
        table = pyarrow.csv.read_csv(path) if path.suffix.lower() == ".csv" else pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(
            f"{path}: cannot be read as a trace ({type(error).__name__}); give Parquet or CSV with time and user_id"
        ) from error
    try:
        if table["time"].null_count or table["user_id"].null_count:
            raise ValueError("a value is missing")
        times = np.asarray(table["time"].to_numpy(), dtype=np.float64)
        users = np.asarray(table["user_id"].cast(pa.int64()).to_numpy())
    except (KeyError, ValueError, TypeError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{path}: expected numeric columns 'time' and 'user_id' without gaps ({error})") from error
    if not len(times):
        raise DataError(f"{path}: the trace is empty; give a file with at least one request")
    saved = (table.schema.metadata or {}).get(DURATION_KEY)
    if saved is not None:
        return Trace(times, users, float(saved))
    times = times - times[0]
    return Trace(times, users, max(float(times.max()), 1.0))
