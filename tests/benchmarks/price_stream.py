"""10^9 pairs from Parquet: writes the files, then solves them in a process of its own whose peak memory is read."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.price_data import problem

GROUP = 1 << 15


def write(folder: Path, rows: int, width: int, files: int) -> float:
    """Rewards as fixed-size lists, plain encoding, no compression; returns the budget (half-way from floor to top)."""
    folder.mkdir(parents=True, exist_ok=True)
    each = rows // files
    budget = 0.0
    for number in range(files):
        rewards, _ = problem("noisy", each + (rows % files if number == 0 else 0), width, seed=100 + number)
        costs = problem("noisy", 1, width, seed=7)[1]
        column = pa.FixedSizeListArray.from_arrays(pa.array(rewards.ravel()), width)
        schema = pa.schema(
            [pa.field("reward", column.type)], metadata={b"greenflow.costs": json.dumps(costs.tolist()).encode()}
        )
        path = folder / f"part-{number:03d}.parquet"
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False, write_statistics=False) as out:
            table = pa.table([column], schema=schema)
            for start in range(0, len(rewards), GROUP):
                out.write_table(table.slice(start, GROUP), row_group_size=GROUP)
        with path.open("rb") as file:  # leave nothing in the page cache: the first pass reads the disk
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        budget += len(rewards) * 0.5 * float(costs.min() + costs.max())
    return budget


def main(folder: str, budget: float) -> None:
    from greenflow_ray.pricing.frontier import Frontier
    from greenflow_ray.pricing.stream import solve_stream

    warm, costs = problem("noisy", 64, 64)
    read_only = warm.copy()
    read_only.flags.writeable = False
    Frontier.build(read_only, costs)
    paths = sorted(Path(folder).glob("*.parquet"))
    began = time.perf_counter()
    found = solve_stream(paths, budget)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        json.dumps(
            {
                "seconds": seconds,
                "peak_gib": peak,
                "requests": found.requests,
                "price": found.price,
                "relative_gap": found.gap / found.bound,
                "held": found.cost <= budget,
            }
        )
    )


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main(sys.argv[1], float(sys.argv[2]))
