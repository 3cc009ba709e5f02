"""What a monitoring system sees of serving, in base units, never labelled by user."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ray.serve import metrics

_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]


class GatewayMetrics:
    """Recorded by gateways: from their exchange thread, off the request path."""

    def __init__(self) -> None:
        self._requests = metrics.Histogram(
            "greenflow_request_seconds", "From arrival to answer, by request.", boundaries=_SECONDS
        )
        self._stages = metrics.Histogram(
            "greenflow_stage_seconds", "Wall-clock of a hop, by batch.", boundaries=_SECONDS, tag_keys=("stage",)
        )
        self._flops = metrics.Counter("greenflow_chain_flops", "FLOPs charged, by chain.", tag_keys=("chain",))
        self._answers = metrics.Counter("greenflow_chain_requests", "Answers, by chain.", tag_keys=("chain",))
        self._degraded = metrics.Counter(
            "greenflow_degraded_requests", "Degraded answers, by reason.", tag_keys=("reason",)
        )
        self._shed = metrics.Counter("greenflow_shed_requests", "Requests answered 429.")
        self._dropped = metrics.Counter("greenflow_feedback_dropped", "Clicks lost to a full buffer or a failing disk.")
        self._gauges = {
            "budget": metrics.Gauge("greenflow_budget_flops_per_second", "Budget in force, FLOP/s; infinite: none."),
            "request_rate": metrics.Gauge(
                "greenflow_requests_per_second", "Requests a second, as the ledger sees them."
            ),
            "watts": metrics.Gauge("greenflow_serving_watts", "Power of serving, PUE included."),
            "grams_per_kwh": metrics.Gauge("greenflow_carbon_grams_per_kwh", "Carbon intensity of the grid in use."),
        }

    def follow(self, budget: Mapping[str, Any]) -> None:
        """Show what the ledger says (:meth:`LedgerBook.budget`)."""
        limit = budget["in_force"]["binding"]["flops_per_second"]
        values = {**budget, "budget": math.inf if limit is None else limit}
        for name, gauge in self._gauges.items():
            if values[name] is not None:
                gauge.set(values[name])

    def record(
        self,
        latencies: list[float],
        hops: Sequence[Mapping[str, float]],
        flops: Mapping[str, int],
        answers: Mapping[str, int],
        degraded: Mapping[str, int],
        shed: int,
        dropped: int,
    ) -> None:
        """Add what has come since the last call."""
        for seconds in latencies:
            self._requests.observe(max(seconds, 1e-9))
        for hop in hops:
            for stage, seconds in hop.items():
                self._stages.observe(max(seconds, 1e-9), tags={"stage": stage})
        _count(self._flops, "chain", flops)
        _count(self._answers, "chain", answers)
        _count(self._degraded, "reason", degraded)
        if shed:
            self._shed.inc(shed)
        if dropped:
            self._dropped.inc(dropped)


class AllocatorMetrics:
    """Recorded by allocators, from their exchange thread."""

    def __init__(self) -> None:
        self._price = metrics.Gauge("greenflow_dual_price", "Dual price in force, reward per FLOP.")
        self._age = metrics.Gauge("greenflow_dual_price_age_seconds", "Since the ledger last sent orders.")
        self._samples = metrics.Counter("greenflow_samples", "Rows written to the sample log.")
        self._dropped = metrics.Counter("greenflow_samples_dropped", "Sample rows lost to a full buffer or disk.")
        self._seen = np.zeros(2, dtype=np.int64)

    def record(self, price: float, age_s: float, samples: int, dropped: int) -> None:
        """``samples`` and ``dropped`` are cumulative."""
        self._price.set(price)
        if np.isfinite(age_s):
            self._age.set(age_s)
        now = np.array([samples, dropped], dtype=np.int64)
        for counter, new in zip((self._samples, self._dropped), (now - self._seen).tolist(), strict=True):
            if new > 0:
                counter.inc(new)
        self._seen = now


def _count(counter: Any, tag: str, values: Mapping[str, int]) -> None:
    for name, value in values.items():
        if value > 0:
            counter.inc(value, tags={tag: name})
