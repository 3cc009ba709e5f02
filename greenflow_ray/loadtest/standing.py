"""Where a playing trace stands, for people who wait."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Progress:
    """Where a playing trace stands: counts so far; ``rate`` (answers a second) and ``p99`` (seconds) of late."""

    arm: str
    elapsed_s: float
    duration_s: float
    due: int
    sent: int
    answered: int
    shed: int
    errors: int
    degraded: int
    clicks: int
    flops: int
    rate: float
    p99: float
    total: int


def say(progress: Progress) -> str:
    """One line about a playing trace, for a progress display."""
    p99 = f"{1e3 * progress.p99:,.0f} ms" if np.isfinite(progress.p99) else "–"
    return (
        f"{progress.arm}: {progress.answered:,}/{progress.total:,} answered, {progress.rate:,.0f}/s, p99 {p99}, "
        f"{progress.errors:,} errors, " + (f"{progress.shed:,} shed, " if progress.shed else "")
    ) + f"{progress.degraded:,} degraded"
