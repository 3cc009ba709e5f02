"""Measures the pricing engine and its baselines in one run: ``python -m tests.benchmarks.price --out FILE.json``.

Prints the table of figures, bars and moonshots, and writes it with machine and versions. Ratios use the best of several
interleaved repetitions. ``--quick`` shrinks every problem, to try the script out; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from greenflow_ray.pricing.control.controller import PriceController
from greenflow_ray.pricing.exact import solve
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.rivals import daily, online
from greenflow_ray.pricing.several.problem import solve_many
from greenflow_ray.pricing.simulator import world
from tests.benchmarks import figures, price_stream
from tests.benchmarks.figures import Row, row
from tests.benchmarks.price_data import SHAPES, pools, problem


def best_of(works: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Best wall time of each, their repetitions interleaved so that all meet the same machine."""
    times = [[] for _ in works]
    for _ in range(repeats):
        for work, found in zip(works, times, strict=True):
            began = time.perf_counter()
            work()
            found.append(time.perf_counter() - began)
    return [min(t) for t in times]


def middle(rewards: Any, costs: Any) -> float:
    """A budget half-way between the cheapest chains and what price 0 would spend."""
    frontier = Frontier.build(rewards, costs)
    return 0.5 * (frontier.floor + frontier.top) * len(rewards)


def kernels(quick: bool) -> list[Row]:
    """Frontier against a sum, and the exact solve against the frontier, on each shape of rewards."""
    n = 5_000 if quick else 200_000
    rows = []
    for shape in SHAPES:
        rewards, costs = problem(shape, n, 128)
        budget = middle(rewards, costs)
        solution = solve(rewards, costs, budget)
        total, build, exact = best_of(
            [
                rewards.sum,
                lambda r=rewards, c=costs: Frontier.build(r, c),
                lambda r=rewards, c=costs, b=budget: solve(r, c, b),
            ],
            25,
        )
        size = len(Frontier.build(rewards, costs).to_bytes())
        seconds = {"sum_s": total, "frontier_s": build, "solve_s": exact, "blob_bytes": size}
        rows.append(row(f"frontier ÷ rewards.sum(), {n:,} × 128 {shape}", build / total, 25, 8, **seconds))
        gap = {"relative_gap": solution.gap / solution.bound, "held": solution.cost <= budget}
        rows.append(row(f"exact solve ÷ frontier, {shape}", exact / build, 3, 1.5, **gap))
    return rows


def against_pdlp(quick: bool) -> list[Row]:
    """PDLP to 1e-4, in a process of its own."""
    n = 500 if quick else 20_000
    rewards, costs = problem("noisy", n, 64)
    budget = middle(rewards, costs)
    ours = solve(rewards, costs, budget)
    (seconds,) = best_of([lambda: solve(rewards, costs, budget)], 15)
    worked = time.process_time()
    solve(rewards, costs, budget)
    cpu = max(time.process_time() - worked, 1e-9)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, rewards=rewards, costs=costs, budget=budget)
        command = [sys.executable, "-m", "tests.benchmarks.price_pdlp", str(path), "1e-4"]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    # Wall times depend on who else uses the machine; processor times hardly do.
    more = {
        "cpu_ratio": answer["cpu_s"] / cpu,
        "pdlp": answer,
        "solve_s": seconds,
        "reward": ours.reward,
        "bound": ours.bound,
    }
    return [row(f"PDLP to 1e-4 on {n:,} × 64 ÷ ours", answer["seconds"] / seconds, 500, 5000, least=True, **more)]


def _edge(rewards: Any, costs: Any, price: float) -> float:
    """ΔR of the largest hull edge whose slope is the price (to float32), over all rows."""
    from tests.pricing.problems import hull_edges

    found = [e for r in rewards for e in hull_edges(r, costs) if np.float32(e[0]) == np.float32(price)]
    return max((e[2] for e in found), default=0.0)


def against_highs(quick: bool) -> tuple[list[Row], list[Row]]:
    """Fifty random instances: shortfall in hull edges, ours and relative for the baselines."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(11)
    worst, relative, seconds = 0.0, 0.0, 0.0
    rivals_found: dict[str, list[float]] = {}
    broken: dict[str, int] = {}
    for instance in range(3 if quick else 50):
        n, width = (2000, 32) if instance == 0 and not quick else (int(rng.integers(20, 500)), int(rng.integers(2, 33)))
        rewards, costs = problem(SHAPES[instance % 3], n, width, seed=instance)
        frontier = Frontier.build(rewards, costs)
        budget = n * (frontier.floor + rng.uniform(0.05, 0.95) * (frontier.top - frontier.floor))
        ones = csr_matrix((np.ones(n * width), (np.repeat(np.arange(n), width), np.arange(n * width))), (n, n * width))
        began = time.perf_counter()
        optimum = -linprog(
            -rewards.astype(float).ravel(),
            A_ub=csr_matrix(np.tile(costs, n)[None] / 1e7),
            b_ub=[budget / 1e7],
            A_eq=ones,
            b_eq=np.ones(n),
            method="highs",
        ).fun
        seconds += time.perf_counter() - began
        found = solve(rewards, costs, budget)
        assert found.cost <= budget
        shortfall = optimum - found.reward
        edge = _edge(rewards, costs, found.price)
        worst = max(worst, (shortfall - 1e-9 * optimum) / edge if edge else float(shortfall > 1e-6 * optimum))
        relative = max(relative, shortfall / optimum)
        for name in ("gradient_descent", "bisection", "mirror_descent", "one_pass"):
            other = getattr(online, name)(rewards, costs, budget)
            rivals_found.setdefault(name, []).append((optimum - other.reward) / optimum)
            broken[name] = broken.get(name, 0) + int(other.cost > budget * (1 + 1e-12))
    ours = row("shortfall from HiGHS, 50 instances, in hull edges", worst, 1, None, relative=relative, highs_s=seconds)
    return [ours], [
        {
            "baseline": name,
            "figure": "shortfall from HiGHS, relative: mean, worst; instances that break the budget",
            "value": [float(np.mean(v)), float(np.max(v)), broken[name]],
            "ours": [None, relative, 0],
        }
        for name, v in rivals_found.items()
    ]


def out_of_core(quick: bool, folder: Path) -> list[Row]:
    """10^9 pairs from Parquet, both passes, in a process of its own."""
    rows = 200_000 if quick else 15_625_000
    files = folder / "pairs"
    shutil.rmtree(files, ignore_errors=True)
    try:
        budget = price_stream.write(files, rows, 64, 2 if quick else 32)
        size = sum(f.stat().st_size for f in files.glob("*.parquet"))
        command = [sys.executable, "-m", "tests.benchmarks.price_stream", str(files), repr(budget)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    finally:
        shutil.rmtree(files, ignore_errors=True)
    name = f"{rows * 64:,} pairs from Parquet, two passes"
    more = {"stream": answer, "file_bytes": size}
    return [
        row(f"{name}, seconds", answer["seconds"], 120, 20, **more),
        row(f"{name}, peak memory GiB", answer["peak_gib"], 4, 4),
    ]


def four_budgets(quick: bool) -> tuple[list[Row], list[Row]]:
    """Four budgets at once, on each shape of rewards; the worst counts."""
    n = 10_000 if quick else 200_000
    gaps, times, held, descent = [], [], True, []
    for shape in SHAPES:
        (rewards, costs), budgets = pools(shape, n, 64, 4)
        found = solve_many(rewards, costs, budgets)
        times += best_of([lambda r=rewards, c=costs, b=budgets: solve_many(r, c, b)], 3)
        gaps.append(found.gap / found.bound)
        held = held and bool((found.costs <= budgets).all())
        began = time.perf_counter()
        _, bound, passes = online.coordinate_descent(rewards, costs, budgets, sweeps=10)
        descent.append((time.perf_counter() - began, (bound - found.reward) / found.bound, passes))
    more = {"held": held, "seconds": times, "gaps": gaps}
    rival = {
        "baseline": "coordinate_descent",
        "figure": "four budgets: seconds, dual gap (no feasible chains), passes; worst shape",
        "value": [max(d[k] for d in descent) for k in range(3)],
        "ours": [max(times), max(gaps), None],
    }
    value = max(gaps) if held else float("inf")
    return [
        row(f"four budgets, {n:,} × 64: relative gap, all held", value, 1e-3, 1e-4, **more),
        row(f"four budgets, {n:,} × 64: seconds", max(times), 5, 1),
    ], [rival]


def one_budget_rivals(quick: bool) -> list[Row]:
    """Time and objective of the baselines on the large matrix."""
    rewards, costs = problem("noisy", 5_000 if quick else 200_000, 128)
    budget = middle(rewards, costs)
    ours = solve(rewards, costs, budget)
    (seconds,) = best_of([lambda: solve(rewards, costs, budget)], 3)
    rows = []
    for name in ("gradient_descent", "bisection", "mirror_descent", "one_pass"):
        work = getattr(online, name)
        work(rewards[:64], costs, budget)
        began = time.perf_counter()
        found = work(rewards, costs, budget)
        took = time.perf_counter() - began
        figure = "large noisy matrix: time ÷ ours, shortfall from the bound, cost ÷ budget, passes"
        value = [took / seconds, (ours.bound - found.reward) / ours.bound, found.cost / budget, found.passes]
        rows.append(
            {
                "baseline": name,
                "figure": figure,
                "value": value,
                "ours": [1.0, ours.gap / ours.bound, ours.cost / budget, None],
            }
        )
    return rows


def simulated_day(quick: bool) -> tuple[list[Row], list[Row]]:
    """The day, with the allowance kept between ticks and without, and two rivals."""
    day = world.build(0, seconds=3600 if quick else world.DAY)
    settings = day.settings_for(day)

    def judged(make: Callable[..., Any], hold: bool = True) -> dict[str, Any]:
        return day.judge(day, day.play(day, make, hold=hold))

    ours = judged(lambda clock: PriceController(settings, clock))
    loose = judged(lambda clock: PriceController(settings, clock), False)
    cheapest = int(np.argmin(day.costs))
    names = ("utilisation", "overuse", "spike_first_tick", "regret")
    rivals_found = {
        "controller, allowance ignored between ticks": loose,
        "one price a period (the paper's loop)": judged(lambda clock: daily.PeriodicPrice(clock, cheapest)),
        "mirror descent alone": judged(lambda clock: daily.MirrorPrice(clock, cheapest)),
    }
    rows = [
        row("simulated day: utilisation μ", ours["utilisation"], 0.98, 0.995, least=True, all=ours),
        row("simulated day: over-use ν", ours["overuse"], 0.005, 0.0005),
        row("first tick after a 5× spike: spend ÷ budget", ours["spike_first_tick"], 1.10, 1.02),
        row("regret of the day against hindsight", ours["regret"], 0.02, 0.005),
    ]
    return rows, [
        {
            "baseline": k,
            "figure": "day: μ, ν, first tick, regret",
            "value": [v[n] for n in names],
            "ours": [ours[n] for n in names],
            "all": v,
        }
        for k, v in rivals_found.items()
    ]


def show(others: list[Row]) -> None:
    """Print the baselines' table."""
    table = Table("baseline", "figures", "value", "ours")
    for r in others:
        shown = ["  ".join("–" if v is None else f"{v:.3g}" for v in r[k]) for k in ("value", "ours")]
        table.add_row(r["baseline"], r["figure"], *shown)
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/price.json"))
    parser.add_argument("--quick", action="store_true", help="tiny problems, to try the script out")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    where = figures.machine()
    rows = kernels(arguments.quick)
    many, descent = four_budgets(arguments.quick)
    others = one_budget_rivals(arguments.quick)
    highs, shortfalls = against_highs(arguments.quick)
    day, days = simulated_day(arguments.quick)
    pairs = out_of_core(arguments.quick, arguments.out.parent)
    rows += against_pdlp(arguments.quick) + highs + pairs + many + day
    others += shortfalls + descent + days
    figures.show(rows)
    show(others)
    report = {"quick": arguments.quick, "machine": where, "figures": rows, "baselines": others}
    figures.save(arguments.out, report)


if __name__ == "__main__":
    main()
