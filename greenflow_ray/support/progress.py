"""How long-running work tells its caller where it stands."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Called with a short message and the share done, from 0 to 1."""


Steps = Callable[[int, int], None]
"""Called with how many of a job's equal steps are done, and of how many."""


def silent(message: str, share: float) -> None:
    """Report nothing."""


def uncounted(done: int, of: int) -> None:
    """Count nothing."""


def part(progress: Progress, start: float, end: float) -> Progress:
    """A callback for one step of a longer job: its shares fill the whole's from ``start`` to ``end``."""

    def report(message: str, share: float) -> None:
        progress(message, start + (end - start) * share)

    return report
