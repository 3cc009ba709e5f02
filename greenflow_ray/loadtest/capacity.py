"""The greatest rate that an application serves within a latency limit, shedding nothing: machines, in a figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult

LEAST, MOST = 0.25, 20_000.0
"""Rates that are tried, requests a second."""


@dataclass(frozen=True)
class Step:
    """One rate and what became of it."""

    rate: float
    p99_s: float
    errors: int
    why: str  # what was missed; empty: nothing

    @property
    def held(self) -> bool:
        """Whether the limit was kept."""
        return not self.why


@dataclass(frozen=True)
class Capacity:
    """What was found."""

    rate: float  # the greatest that was held, requests a second; 0: none was
    limit_s: float  # the p99 that had to be kept
    steps: tuple[Step, ...]  # every rate that was tried, in order

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def judge(rate: float, result: ArmResult, limit_s: float) -> Step:
    """Whether an arm that was played at ``rate`` kept the limit."""
    p99 = result.latency_seconds((0.99,))["p99"]
    why = ""
    if result.errors:
        why = f"{result.errors} of {len(result.requests)} requests shed or failed"
    elif not p99 <= limit_s:
        why = f"p99 {1e3 * p99:.0f} ms"
    elif result.client_was_slow:
        why = "the load generator itself was too slow"  # it may hold: try from another machine
    return Step(rate, p99, result.errors, why)


def find(play: Callable[[float], ArmResult], limit_s: float, start: float = 10.0, precision: float = 1.06) -> Capacity:
    """Double or halve from ``start`` until the answer lies between two rates, then bisect to a factor of ``precision``.

    ``play`` plays some seconds at a rate, warmed before. Raises DataError on impossible arguments.
    """
    if not (limit_s > 0 and LEAST <= start <= MOST and precision > 1):
        raise DataError(f"capacity: limit_s {limit_s}, start {start}, precision {precision}: give positive numbers")
    steps: list[Step] = []
    rate, held, missed = start, 0.0, 0.0
    while LEAST <= rate <= MOST and not (held and missed and missed / held <= precision):
        steps.append(judge(rate, play(rate), limit_s))
        held, missed = (rate, missed) if steps[-1].held else (held, rate)
        rate = 2 * held if not missed else missed / 2 if not held else (held * missed) ** 0.5
    return Capacity(held, limit_s, tuple(steps))
