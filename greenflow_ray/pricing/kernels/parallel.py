"""Rows split over threads: the kernels release the interpreter's lock, so plain threads use every core."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

SMALL = 1 << 18
"""Pairs below which starting a thread costs more than it saves."""


def cores() -> int:
    """Cores this process may use."""
    return max(1, len(os.sched_getaffinity(0)))


def over_rows(work: Callable[[int, int], T], rows: int, width: int, threads: int | None = None) -> list[T]:
    """Call ``work(start, stop)`` on consecutive blocks of ``rows`` rows of ``width`` values; results in row order.

    numba's own ``parallel=True`` is not used: its default threading layer ends the process when two Python threads
    enter it at once, which a server does.
    """
    count = min(threads or cores(), max(1, rows * width // SMALL), max(1, rows))
    if count == 1:
        return [work(0, rows)]
    cuts = [rows * i // count for i in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, cuts[:-1], cuts[1:]))
