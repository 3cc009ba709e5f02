"""A gateway's account of what it answered: exact sums over receipts, and measurements waiting to be recorded."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.serving.gateway.cascade_path import Answers
from greenflow_ray.serving.wire import Reason, Settlement, Usage, reason_text

RECENT = 2048
"""Batches over which hop percentiles are taken."""


class Receipts:
    """Written by the gateway's event loop, read by its exchange thread; totals of answers only grow."""

    def __init__(self, reporter: str, space: ChainSpace) -> None:
        self._reporter = reporter
        self._lock = threading.Lock()
        self._names = space.names
        self._stages = tuple(stage.name for stage in space.stages)
        self._requests = 0
        self._flops = 0
        self._degraded = 0
        self._uncommitted = 0
        self._correction = 0
        self._chains: Counter[str] = Counter()
        self._chain_flops: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._usages: dict[str, Usage] = {}
        self._recent: dict[str, deque[float]] = {}
        self._new_hops: deque[dict[str, float]] = deque(maxlen=RECENT)
        self._new_latencies: deque[float] = deque(maxlen=32 * RECENT)

    def add(self, answers: Answers, latencies: Iterable[float]) -> None:
        """Take in a batch; ``latencies`` in seconds, one a request."""
        with self._lock:
            self._add(answers)
        self._new_hops.append(answers.seconds)
        self._new_latencies.extend(latencies)

    def late(self, requests: int, flops: int) -> None:
        """An allocator has committed these after all, for requests that had been answered without it."""
        with self._lock:
            self._uncommitted -= requests
            self._correction -= flops

    def _add(self, answers: Answers) -> None:
        flops = answers.flops
        known = answers.committed >= 0
        self._requests += len(flops)
        self._flops += int(flops.sum())
        self._uncommitted += int((~known).sum())
        self._correction += int(flops.sum()) - int(answers.committed[known].sum())
        for chain, count in zip(*np.unique(answers.chains, return_counts=True), strict=True):
            self._chains[self._names[chain]] += int(count)
            self._chain_flops[self._names[chain]] += int(flops[answers.chains == chain].sum())
        degraded = answers.reasons[answers.reasons != Reason.NONE]
        self._degraded += len(degraded)
        for code, count in zip(*np.unique(degraded, return_counts=True), strict=True):
            self._reasons[reason_text(int(code), self._stages) or ""] += int(count)
        for usage in answers.usages:
            self._usages[usage.replica] = usage
        for hop, seconds in answers.seconds.items():
            self._recent.setdefault(hop, deque(maxlen=RECENT)).append(seconds)

    def settlement(self, own: Usage) -> Settlement:
        """The account as the ledger wants it; ``own`` is the gateway's usage."""
        with self._lock:
            recent = {hop: list(seconds) for hop, seconds in self._recent.items()}
            account = Settlement(
                self._reporter,
                self._requests,
                self._flops,
                self._degraded,
                self._uncommitted,
                self._correction,
                dict(self._chains),
                dict(self._chain_flops),
                dict(self._reasons),
                (*self._usages.values(), own),
                {},
            )
        return replace(account, hop_p99={hop: float(np.percentile(s, 99)) for hop, s in recent.items()})

    def counters(self) -> tuple[Counter[str], Counter[str], Counter[str]]:
        """Cumulative answers by chain, FLOPs by chain, and degraded answers by reason."""
        with self._lock:
            return self._chains.copy(), self._chain_flops.copy(), self._reasons.copy()

    def drain(self) -> tuple[list[float], list[dict[str, float]]]:
        """Latencies and hop times since the last call."""
        return (
            [self._new_latencies.popleft() for _ in range(len(self._new_latencies))],
            [self._new_hops.popleft() for _ in range(len(self._new_hops))],
        )
