"""How many requests a second: an estimate that is smooth in quiet traffic and jumps when a spike is no accident."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass
class RateEstimator:
    """Gamma-Poisson filter with forgetting, and a test that restarts it.

    Counts and the seconds they took fade with ``memory_s``; their quotient is the rate. A count that a Poisson variable
    of the expected mean would not show within ``surprise`` standard deviations (variance-stabilised, Anscombe 1948)
    means that traffic has changed: the past is dropped and the rate is that of the newest count alone. Where a tick
    holds few requests, the last ticks together, up to ``recent_s`` seconds, are tested in the same way.
    """

    memory_s: float = 20.0
    recent_s: float = 1.0
    surprise: float = 4.0
    count: float = 0.0
    seconds: float = 0.0
    _recent: list[tuple[float, float]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests per second, 0 before the first observation."""
        return self.count / self.seconds if self.seconds > 0 else 0.0

    def observe(self, count: float, seconds: float) -> float:
        """Take in ``count`` ≥ 0 requests seen in ``seconds`` > 0; returns the new rate."""
        self._recent.append((count, seconds))
        while len(self._recent) > 1 and sum(s for _, s in self._recent[1:]) >= self.recent_s:
            self._recent.pop(0)
        most, start = 0.0, 0
        late_count = late_seconds = 0.0
        for k in range(
            len(self._recent) - 1, -1, -1
        ):  # the last tick, the last two, …: whichever is the least like before
            late_count += self._recent[k][0]
            late_seconds += self._recent[k][1]
            surprise = self._surprise(late_count, late_seconds)
            if surprise > most:
                most, start = surprise, k
        if most > self.surprise:
            self._recent = self._recent[start:]
            self.count = sum(c for c, _ in self._recent)
            self.seconds = sum(s for _, s in self._recent)
        else:
            fade = math.exp(-seconds / self.memory_s)
            self.count = self.count * fade + count
            self.seconds = self.seconds * fade + seconds
        return self.rate

    def _surprise(self, count: float, seconds: float) -> float:
        """Distance of a count from the estimate, in standard deviations of their difference."""
        if self.seconds <= 0:
            return math.inf
        expected = self.rate * seconds
        scatter = 0.5 * math.sqrt(1.0 + seconds / self.seconds)
        return abs(math.sqrt(count + 0.375) - math.sqrt(expected + 0.375)) / scatter

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs, JSON-able."""
        return {"count": self.count, "seconds": self.seconds}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up a saved estimate."""
        self.count, self.seconds = float(state["count"]), float(state["seconds"])
        self._recent = []
