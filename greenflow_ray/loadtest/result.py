"""What one arm of a load test saw: a row a request, sums, and FLOPs recounted from the receipts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from greenflow_ray.datasets.schema import F64, I16, I32, I64, Mask
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import DataError
from greenflow_ray.support.files import whole

# Statuses below 100 are the client's own; from 100 on they are HTTP's.
TIMED_OUT, NO_CONNECTION, BAD_ANSWER, NOT_SENT = 1, 2, 3, 4
SHED = 429
STATUS_NAMES = {
    TIMED_OUT: "timed out",
    NO_CONNECTION: "no connection",
    BAD_ANSWER: "answer not understood",
    NOT_SENT: "not sent, too many outstanding",
}
BUSY, LATE_S = 0.9, 0.02
"""Share of a core, and p99 of lateness in seconds, from which on the client itself bends what it measures."""


def histogram(seconds: F64) -> tuple[F64, I64]:
    """Edges ``[m + 1]`` of buckets, seconds, 20 a decade, and counts ``[m]`` of latencies ``[n]``, all finite.

    Buckets are the same in every test, so that tests compare; those outside the ones in use are left out. What lies
    beyond 0.1 ms or 1,000 s is counted in the outermost.
    """
    edges = np.logspace(-4, 3, 7 * 20 + 1)
    counts = np.histogram(np.clip(seconds, edges[0], edges[-1]), edges)[0].astype(np.int64)
    used = np.flatnonzero(counts)
    if not len(used):
        return np.empty(0), np.empty(0, np.int64)
    return edges[used[0] : used[-1] + 2], counts[used[0] : used[-1] + 1]


@dataclass(frozen=True)
class Requests:
    """Columns, one entry a request in the order of the trace."""

    user_id: I64
    scheduled: F64  # seconds from the start at which the request was due
    sent: F64  # when it was handed to the network; NaN if never
    latency: F64  # seconds from *scheduled* to the last byte of the answer, or to the failure; NaN if never sent
    status: I16  # HTTP status, or one of :data:`STATUS_NAMES`
    degraded: Mask  # as the receipt says
    reason: I16  # index into the result's ``reasons``; -1 if none
    chain: I32  # index into the result's ``chains``; -1 if there is no receipt, or it names a chain not listed
    flops: I64  # as the receipt says; 0 without one
    clicks: I32  # held-out clicks among the answered items
    price: F64  # as the receipt says; NaN without one
    price_version: I64  # -1 without one

    @classmethod
    def blank(cls, user_id: I64, scheduled: F64) -> Requests:
        """Columns of requests that have not been sent."""
        n = len(user_id)
        return cls(
            np.asarray(user_id, np.int64), np.asarray(scheduled, np.float64), sent=np.full(n, np.nan),
            latency=np.full(n, np.nan), status=np.full(n, NOT_SENT, np.int16), degraded=np.zeros(n, np.bool_),
            reason=np.full(n, -1, np.int16), chain=np.full(n, -1, np.int32), flops=np.zeros(n, np.int64),
            clicks=np.zeros(n, np.int32), price=np.full(n, np.nan), price_version=np.full(n, -1, np.int64),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.user_id)


@dataclass(frozen=True)
class ArmResult:
    """One playing of a trace."""

    name: str  # of the arm, e.g. ``equal`` or ``greenflow``
    started_at: float  # unix seconds of the trace's second 0
    duration_s: float  # of the trace
    k: int | None  # items asked for; None: the server's own number
    requests: Requests  # a row a request
    chains: tuple[str, ...]  # names of the server's chains, as it listed them
    chain_flops: tuple[int, ...]  # FLOPs of each, as it listed them
    reasons: tuple[str, ...] = ()  # texts of degradations and errors
    client_cpu_seconds: float = 0.0  # what the load generator itself used
    feedback_accepted: int = 0  # clicks messages that the server took
    feedback_failed: int = 0  # clicks messages that it did not
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)  # of Serve's processes by deployment; empty: unknown
    processes_lost: int = 0  # Serve processes that ended meanwhile, whose CPU-seconds are missing
    energy: EnergyWindow | None = None  # of the node over the window; None: not watched
    client_cpu_share: float = 0.0  # what the load generator used of one core, the mean over the playing
    client_cpu_peak: float = 0.0  # the same in its busiest second

    @cached_property
    def ok(self) -> Mask:
        """Requests answered with 2xx and a receipt, bool ``[n]``."""
        return (self.requests.status >= 200) & (self.requests.status < 300)

    @property
    def errors(self) -> int:
        """Requests without a usable answer, shed ones among them: what reports call errors."""
        return int(np.count_nonzero(~self.ok))

    @property
    def shed(self) -> int:
        """Requests that an overloaded server refused, as it says it will: HTTP 429."""
        return int(np.count_nonzero(self.requests.status == SHED))

    @property
    def client_was_slow(self) -> bool:
        """Whether the client itself was busy or late enough to bend what it measured."""
        return self.client_cpu_peak >= BUSY or self.send_delay_s["p99"] >= LATE_S

    @cached_property
    def span_s(self) -> float:
        """Seconds from the trace's start to its end, or to the last answer if that came later."""
        ends = (self.requests.scheduled + self.requests.latency)[np.isfinite(self.requests.latency)]
        return max(self.duration_s, float(ends.max(initial=0.0)))

    @cached_property
    def recounted(self) -> I64:
        """FLOPs of every request by its receipt's chain and the server's list of chains, int64 ``[n]``.

        The receipt's own number is not used, so that the two can be compared.
        """
        costs = np.array([*self.chain_flops, 0], dtype=np.int64)  # index -1: no receipt
        return np.asarray(costs[self.requests.chain], dtype=np.int64)

    @property
    def differs(self) -> Mask:
        """Answers whose receipt names other FLOPs than its chain costs, or a chain that is not listed, bool ``[n]``.

        A degraded answer rightly differs if a stage of its chain did not run.
        """
        return np.asarray(self.ok & (self.recounted != self.requests.flops), dtype=np.bool_)

    @property
    def mismatches(self) -> int:
        """Number of answers that :attr:`differs` marks."""
        return int(np.count_nonzero(self.differs))

    @cached_property
    def send_delay_s(self) -> dict[str, float]:
        """By how much the client itself was late to send, seconds: ``p50``, ``p99``, ``max``."""
        late = (self.requests.sent - self.requests.scheduled)[np.isfinite(self.requests.sent)]
        found = np.quantile(late, (0.5, 0.99, 1.0)).tolist() if len(late) else (0.0, 0.0, 0.0)
        return dict(zip(("p50", "p99", "max"), found, strict=True))

    def latency_seconds(self, quantiles: Sequence[float] = (0.5, 0.95, 0.99, 0.999)) -> dict[str, float]:
        """Quantiles of answered requests' latency, named ``p50`` …; NaN if none was answered."""
        answered = self.requests.latency[self.ok]
        return {f"p{100 * q:g}": float(np.quantile(answered, q)) if len(answered) else float("nan") for q in quantiles}

    def chain_counts(self) -> dict[str, int]:
        """Answers by chain, only those served, most frequent first."""
        served = self.requests.chain[self.requests.chain >= 0]
        counts = np.bincount(served, minlength=len(self.chains))
        order = np.argsort(-counts, kind="stable")
        return {self.chains[j]: int(counts[j]) for j in order if counts[j]}

    def error_counts(self) -> dict[str, int]:
        """Requests without a usable answer by HTTP status or by what happened to them."""
        values, counts = np.unique(self.requests.status[~self.ok], return_counts=True)
        return {STATUS_NAMES.get(int(v), f"HTTP {int(v)}"): int(c) for v, c in zip(values, counts, strict=True)}

    def degraded_counts(self) -> dict[str, int]:
        """Degraded answers by reason."""
        found = self.requests.reason[self.requests.degraded]
        counts = np.bincount(found[found >= 0], minlength=len(self.reasons))
        out = {reason: int(c) for reason, c in zip(self.reasons, counts, strict=True) if c}
        return out | ({"no reason given": n} if (n := int(np.count_nonzero(found < 0))) else {})

    def totals(self) -> dict[str, Any]:
        """The sums a person asks for first, JSON-able. ``errors`` are here those that were not shed."""
        requests, answered = len(self.requests), int(np.count_nonzero(self.ok))
        kinds = self.error_counts()
        kinds.pop(f"HTTP {SHED}", None)
        chains = self.chain_counts()
        costs = dict(zip(self.chains, self.chain_flops, strict=True))
        edges, counts = histogram(self.requests.latency[self.ok])
        return {
            "arm": self.name,
            "requests": requests,
            "offered_per_second": requests / self.duration_s,
            "answered": answered,
            "answered_per_second": answered / self.span_s,
            "shed": self.shed,
            "errors": sum(kinds.values()),
            "errors_by_kind": kinds,
            "degraded": int(np.count_nonzero(self.requests.degraded)),
            "degraded_by_reason": self.degraded_counts(),
            "clicks": int(self.requests.clicks.sum()),
            "flops": int(self.recounted.sum()),
            "flops_by_receipts": int(self.requests.flops.sum()),
            "flops_mismatches": self.mismatches,
            "latency_seconds": {k: v if np.isfinite(v) else None for k, v in self.latency_seconds().items()},
            "latency_histogram": {"edges_seconds": [float(f"{e:.6g}") for e in edges], "counts": counts.tolist()},
            "chains": chains,
            "flops_by_chain": {name: count * costs[name] for name, count in chains.items()},
            "send_delay_seconds": self.send_delay_s,
            "client_cpu_seconds": self.client_cpu_seconds,
            "client_cpu_share": self.client_cpu_share,
            "client_cpu_peak": self.client_cpu_peak,
            "client_was_slow": self.client_was_slow,
            "cpu_seconds": dict(self.cpu_seconds),
            "feedback": {"accepted": self.feedback_accepted, "failed": self.feedback_failed},
        }

    def save(self, folder: Path | str) -> None:
        """Write ``<name>.parquet`` (a row a request) and ``<name>.json`` (the rest and the totals), each atomically."""
        folder = Path(folder)
        columns = {f.name: getattr(self.requests, f.name) for f in fields(Requests)}
        table = pa.table(columns).replace_schema_metadata({b"greenflow.schema": b"1"})
        with whole(folder / f"{self.name}.parquet") as part:
            pq.write_table(table, part)
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("requests", "energy")}
        rest["energy"] = asdict(self.energy) if self.energy else None
        rest["cpu_seconds"] = dict(self.cpu_seconds)
        with whole(folder / f"{self.name}.json") as part:
            part.write_text(json.dumps({"schema": 1, **rest, "totals": self.totals()}, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path | str, name: str) -> ArmResult:
        """Read what :meth:`save` wrote. Raises DataError."""
        folder = Path(folder)
        try:
            rest = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            table = pq.read_table(folder / f"{name}.parquet")
            columns = {f.name: table[f.name].to_numpy() for f in fields(Requests)}
            del rest["schema"], rest["totals"]
            rest["energy"] = EnergyWindow(**rest["energy"]) if rest["energy"] else None
            rest |= {key: tuple(rest[key]) for key in ("chains", "chain_flops", "reasons")}
            return cls(requests=Requests(**columns), **rest)
        except (OSError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
            words = f"no result of a load test ({type(error).__name__}); run `greenflow loadtest` first"
            raise DataError(f"{folder}/{name}: {words}") from error
