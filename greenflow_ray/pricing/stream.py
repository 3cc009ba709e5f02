"""Out of core: the exact price of more requests than fit in memory, in two passes over shards; only histograms stay."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from greenflow_ray.pricing import inputs, refinement, shards
from greenflow_ray.pricing.exact import survey
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.kernels import parallel
from greenflow_ray.pricing.kernels.tally import Problem
from greenflow_ray.pricing.refinement import ExactPrice, Refinement
from greenflow_ray.support.progress import Progress, silent

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class StreamSolution(ExactPrice):
    """The price of everything streamed, and what it leads to; ``assign`` settles its ties.

    Attributes:
        requests, skipped: rows taken in, and rows left out because they are not finite.
        frontier: of all rows, for any other budget.
    """

    requests: int
    skipped: int
    frontier: Frontier


def _fold(start: Callable[[], Iterator[shards.Piece]], work: Callable[[shards.Piece], T], workers: int) -> T | None:
    """Reduce by addition, ``workers`` pieces in memory at a time; each thread adds up its own, so order is free."""
    source, lock = start(), threading.Lock()

    def run() -> T | None:
        total: T | None = None
        while True:
            with lock:
                piece = next(source, None)
            if piece is None:
                return total
            result = work(piece)
            total = result if total is None else total + result  # type: ignore[operator]

    with ThreadPoolExecutor(workers) as pool:
        parts = [f.result() for f in [pool.submit(run) for _ in range(workers)]]
    found = [p for p in parts if p is not None]
    return sum(found[1:], found[0]) if found else None  # type: ignore[call-overload]


def solve_stream(
    source: Any,
    budget: float,
    *,
    costs: Any = None,
    column: str = "reward",
    skip_bad: bool = False,
    workers: int | None = None,
    progress: Progress = silent,
) -> StreamSolution:
    """The exact price of all shards for a total ``budget``, in two passes with bounded memory.

    Args:
        source: a list, or a function that returns a new iterator, of ``(rewards, costs)`` pairs or Parquet paths
            (``shards``).
        budget: total cost allowed over all requests.
        costs, column: for Parquet: chain costs (default: the file's metadata) and the column of rewards.
        skip_bad: leave rows out that are not finite, and count them, instead of raising.
        workers: threads, each with one shard in memory; default one a core.
        progress: told after every shard; where ``source`` is a function the first pass cannot know its share.

    Raises as ``solve`` does. Without any request the price is 0.
    """
    budget = inputs.number("budget", budget)
    start = shards.pieces(source, costs, column)
    count = workers or parallel.cores()
    pieces = 0 if callable(source) else sum(1 for _ in start())
    lock, rows, done = threading.Lock(), [0, 0], [0, 0]

    def told(number: int, seen: int) -> None:
        with lock:
            rows[number - 1] += seen
            done[number - 1] += 1
            known = pieces if number == 1 else done[0]
            share = done[number - 1] / known if known else 0.0
            progress(f"pass {number} of 2: {rows[number - 1]:,} requests", min(share, 1.0))

    def summed(number: int, build: Callable[..., T]) -> T | None:
        def work(piece: shards.Piece) -> T:
            rewards, prices = piece()
            part = build(rewards, prices, skip_bad=skip_bad, workers=1)
            told(number, len(rewards))
            return part

        return _fold(start, work, count)

    frontier = summed(1, Frontier.build) or Frontier.empty()
    if not frontier.requests > 0:
        return StreamSolution(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, rows[0], frontier)
    bucket = refinement.crossing(frontier, budget)
    if bucket is None:
        exact = refinement.unpriced(frontier, budget)
    else:
        refined = summed(2, partial(Refinement.build, bucket=bucket))
        assert refined is not None
        exact = refined.solve(frontier, budget)
    requests = round(frontier.requests)
    return StreamSolution(**vars(exact), requests=requests, skipped=rows[0] - requests, frontier=frontier)


def assign(rewards: Any, costs: Any, solved: ExactPrice, spare: float = 0.0) -> tuple[npt.NDArray[np.int32], float]:
    """Chains of one shard at an exact price, int32 ``[n]``, and what of ``spare`` is left.

    Edges of exactly the price's slope are bought in order while ``spare`` lasts: begin with ``solved.spare`` and hand
    what is left to the next shard, and all shards together keep the budget to within one edge.
    """
    problem = Problem.of(rewards, costs)
    bits = int(np.float32(solved.price).view(np.int32))
    seen = survey(problem, bits >> 16, bits >> 16, None)
    inputs.refuse_rows(seen.found.first_bad, seen.found.bad)
    left, _ = seen.settle(bits, spare, seen.chains)
    return seen.chains, float(left)
