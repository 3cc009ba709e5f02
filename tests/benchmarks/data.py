"""Measure how fast big files are read and in how much memory: Ali-CCP's raw shape, and MovieLens' ratings.csv.

``python -m tests.benchmarks.data --out runs/bench/data.json``; each reading runs in a process of its own, so that the
largest resident set is its own too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from greenflow_ray.datasets.aliccp import source
from greenflow_ray.datasets.formats import movielens
from tests.benchmarks import figures


def write_aliccp(folder: Path, rows: int, users: int = 20_000, items: int = 50_000, seed: int = 0) -> None:
    """Raw files with ``rows`` impressions: about 4 % clicks, histories of about 100 ids with weights."""
    rng = np.random.default_rng(seed)
    item_lists = []
    for item in range(1, items + 1):
        pairs = [("205", item), ("206", 1 + item % 500), ("207", 1 + item % 9000), ("216", 1 + item % 3000)]
        pairs += [("210", int(i)) for i in rng.integers(1, 2000, rng.integers(1, 6))]
        pairs += [("301", 1), ("508", 1 + item % 700), ("853", 1 + item % 77)]
        item_lists.append(f"{len(pairs)}," + "\x01".join(f"{f}\x02{i}\x031.0" for f, i in pairs))
    with (folder / "sample_skeleton_train.csv").open("w") as file:
        for start in range(0, rows, 100_000):
            n = min(100_000, rows - start)
            click, user, item = rng.random(n) < 0.04, rng.integers(users, size=n), rng.integers(items, size=n)
            file.writelines(
                f"{start + k},{int(c)},0,{u:016x},{item_lists[i]}\n"
                for k, (c, u, i) in enumerate(zip(click.tolist(), user.tolist(), item.tolist(), strict=True))
            )
    with (folder / "common_features_train.csv").open("w") as file:
        for user in range(users):
            one = [("101", user + 1), ("124", 1 + user % 2), ("125", 1 + user % 7), ("129", 1 + user % 4)]
            past = [
                f"{field}\x02{i}\x03{w:.5f}"
                for field, most in (("109_14", 500), ("110_14", 9000), ("127_14", 3000), ("150_14", 2000))
                for i, w in zip(rng.integers(1, most, 25).tolist(), rng.uniform(0.7, 6, 25).tolist(), strict=True)
            ]
            listed = [f"{f}\x02{i}\x031.0" for f, i in one] + past
            file.write(f"{user:016x},{len(listed)}," + "\x01".join(listed) + "\n")


def write_ratings(folder: Path, rows: int, seed: int = 0) -> None:
    """``ratings.csv`` as of the newer sets."""
    rng = np.random.default_rng(seed)
    with (folder / "ratings.csv").open("w") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for start in range(0, rows, 500_000):
            n = min(500_000, rows - start)
            columns = (rng.integers(1, 160_000, n), rng.integers(1, 60_000, n), rng.integers(10**9, 15 * 10**8, n))
            file.writelines(f"{u},{m},3.5,{t}\n" for u, m, t in zip(*(c.tolist() for c in columns), strict=True))


def _read(reader: str, folder: Path) -> dict[str, float]:
    """Read in this process; resident set before and at most, in MiB."""
    module = {"aliccp": source, "movielens": movielens}[reader]
    with tempfile.TemporaryDirectory() as small:  # compile, and load what is loaded once
        (write_aliccp if reader == "aliccp" else write_ratings)(Path(small), 10)
        module.read(Path(small))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    got = module.read(folder)
    seconds = time.perf_counter() - start
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "events": len(got.users), "rss_before_mib": before, "rss_most_mib": most}


def measure(reader: str, rows: int) -> dict[str, float]:
    """Write ``rows`` rows, read them in a fresh process, tell speed and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (write_aliccp if reader == "aliccp" else write_ratings)(folder, rows)
        size = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
        command = [sys.executable, "-m", "tests.benchmarks.data", "--read", reader, "--folder", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        told: dict[str, float] = json.loads(done.stdout)
        return {"rows": rows, "file_mib": size, "rows_per_s": rows / told["seconds"], **told}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/data.json"))
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--read")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.read:
        print(json.dumps(_read(options.read, options.folder)))
        return
    cases = (("aliccp", 500_000), ("aliccp", 2_000_000), ("movielens", 5_000_000))
    results = {f"{name} {rows}": measure(name, int(rows * options.scale)) for name, rows in cases}
    figures.save(options.out, results)
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
