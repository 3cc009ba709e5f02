"""CPU-seconds of a scorer: points timed in alternating order beside a reference, and a line through them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import nnls
from threadpoolctl import threadpool_limits

from greenflow_ray.datasets.schema import F64
from greenflow_ray.models.costing.costs import Fit

Clock = Callable[[], float]
"""Seconds. The process's own CPU-seconds by default, so that work on a scorer's own threads counts too."""

SHORTEST = 5e-3  # seconds that a measurement lasts at least; shorter work is repeated within it
FEWEST, ROUNDS = 3, 9  # repeats of every point, however long they take, and at most; the median counts
PATIENCE = 3.0  # CPU-seconds for a model after which no further round begins


@dataclass(frozen=True)
class Point:
    """One way to score the same requests."""

    run: Callable[[], object]  # does it once
    calls: int  # how many calls of ``score`` that is, for how many requests and scored items in all
    requests: int
    items: int


@dataclass(frozen=True)
class Reference:
    """Work of known FLOPs, which says what a CPU-second is worth on this machine."""

    run: Callable[[], object]
    flops: int


def matrix_product() -> Reference:
    """A dense float32 matrix product, 512 × 512 × 512, as fast as numpy's library does it."""
    a = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    return Reference(lambda: a @ a, 2 * 512**3)


def time_points(
    points: Sequence[Point],
    reference: Reference,
    clock: Clock = time.process_time,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[F64, F64]:
    """Seconds of every point, ``[P]``, medians over rounds; and seconds of the reference in every round.

    Every other round goes backwards, so that a machine that slows down or speeds up favours no point.
    """
    work = [*(p.run for p in points), reference.run]
    repeats = []
    for run in work:
        run()  # compile, allocate, fill caches
        began = clock()
        run()
        repeats.append(min(1000, max(1, ceil(SHORTEST / max(clock() - began, 1e-6)))))
    rounds: list[F64] = []
    began = clock()
    while len(rounds) < FEWEST or (len(rounds) < ROUNDS and clock() - began < PATIENCE):
        seconds = np.zeros(len(work))
        for i in range(len(work))[:: 1 if len(rounds) % 2 else -1]:
            start = clock()
            for _ in range(repeats[i]):
                work[i]()
            seconds[i] = max(clock() - start, 1e-12) / repeats[i]
        rounds.append(seconds)
        progress(len(rounds) / ROUNDS)
    found = np.array(rounds)
    return np.median(found[:, :-1], axis=0), found[:, -1]


def fit(points: Sequence[Point], values: F64) -> Fit:
    """The line ``calls·a + requests·b + items·c`` nearest to ``values``, ``[P]``, with no part below zero.

    Least squares of relative errors: a point of microseconds counts as much as one of seconds. What the points cannot
    tell apart is the requests': a scorer that is only ever asked for the whole corpus has no cost by the item.
    """
    table = np.array([[p.calls, p.requests, p.items] for p in points], dtype=np.float64)
    used: list[int] = []
    for column in (1, 2, 0):
        if np.linalg.matrix_rank(table[:, [*used, column]] / table.max(axis=0)[[*used, column]]) > len(used):
            used.append(column)
    weighted = table[:, used] / np.maximum(values, 1e-300)[:, None]
    norms = np.linalg.norm(weighted, axis=0)
    solution, _ = nnls(weighted / norms, (values > 0).astype(np.float64))
    parts = np.zeros(3)
    parts[used] = solution / norms
    errors = (table @ parts) / np.maximum(values, 1e-300) - (values > 0)
    per_call, per_request, per_item = parts.tolist()
    error = float(np.sqrt(np.mean(errors**2)))
    return Fit(per_call=per_call, per_request=per_request, per_item=per_item, error=error)


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, torch, BLAS and OpenMP use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(before)


def machine() -> dict[str, str]:
    """What figures of time depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(named, platform.processor() or platform.machine()),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
    }
