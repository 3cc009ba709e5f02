"""Measures the serving path beside three other ways to serve the same models, in one run.

``python -m tests.benchmarks.serving --out runs/bench/serving.json`` prints the figures with their bars. Peers take
turns with GreenFlow, `--rounds` times; a server's saturation is its best over several numbers of connections, ratios
are of the rounds' medians. Client and servers share the machine's cores. ``--quick`` tries the script out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch

from greenflow_ray.config import CascadeConfig
from greenflow_ray.energy.metering import processes
from greenflow_ray.models.pool import chain_space, load_pool
from greenflow_ray.pricing.kernels.choice import PriceDirective
from greenflow_ray.reward.stored import load_reward
from greenflow_ray.serving.allocator.core import Allocator
from greenflow_ray.serving.local.launch import free_port, start
from greenflow_ray.serving.sources import load_source
from greenflow_ray.serving.wire import AllocationBatch, Orders
from tests.benchmarks import figures, hammer, serving_peers, serving_worlds
from tests.benchmarks.figures import Row, row

CPUS = 16
"""CPUs that Ray may hand out: more than there are, since replicas wait most of the time."""


@dataclass
class Bench:
    """Settings of a run, and what it has measured so far, by world, server and round."""

    seconds: float
    rounds: int
    saturations: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    details: list[dict[str, Any]] = field(default_factory=list)
    quiet: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def saturate(self, world: str, name: str, url: str, users: list[int], connections: tuple[int, ...]) -> None:
        """Closed-loop load with each number of connections; the best is the saturation."""
        trace = hammer.requests(url, users, serving_worlds.EXPOSURE)
        hammer.saturate(url, trace, connections=min(connections), seconds=min(self.seconds, 2.0))
        best = 0.0
        for n in connections:
            load = hammer.saturate(url, trace, connections=n, seconds=self.seconds)
            self.note(world, name, "saturation", load, connections=n)
            if set(load.statuses) <= {200}:
                best = max(best, load.rate)
        self.saturations[world, name].append(best)

    def arrive(self, world: str, name: str, url: str, users: list[int], rate: float) -> None:
        """Open-loop load at ``rate``; keeps p99."""
        trace = hammer.requests(url, users, serving_worlds.EXPOSURE)
        load = hammer.arrive(url, trace, rate=rate, seconds=2 * self.seconds)
        self.note(world, name, f"open loop, {rate:.0f}/s", load)
        self.quiet[world, name].append(load.percentile(99))

    def note(self, world: str, name: str, kind: str, load: hammer.Load, **more: Any) -> None:
        """Keep a detail, and say it."""
        self.details.append({"world": world, "server": name, "load": kind, **more, **load.told()})
        print(
            f"{world:6} {name:12} {kind:20} {more.get('connections', ''):>4} {load.rate:8.1f}/s"
            f"  p50 {1e3 * load.percentile(50):7.1f} ms  p99 {1e3 * load.percentile(99):7.1f} ms {dict(load.statuses)}",
            f"{load.degraded} degraded" if load.degraded else "",
            flush=True,
        )

    def median(self, world: str, name: str) -> float:
        """A server's saturation, requests a second."""
        return statistics.median(self.saturations[world, name])


def greenflow(config: CascadeConfig, ready: Callable[[str], None]) -> None:
    """Serve ``config`` and call ``ready`` with the address."""
    serving = config.serving.model_copy(update={"port": free_port()})
    with start(config.model_copy(update={"serving": serving}), cpus=CPUS) as server:
        ready(server.url)


def against_composition(bench: Bench, world: str, config: CascadeConfig, connections: tuple[int, ...]) -> None:
    """GreenFlow and (a) in turn: saturation, then both at half of (a)'s."""
    users = serving_worlds.users(config, 4096)

    def ours(url: str) -> None:
        bench.saturate(world, "greenflow", url, users, connections)
        bench.arrive(world, "greenflow", url, users, 0.5 * bench.saturations[world, "(a)"][-1])

    for _ in range(bench.rounds):
        with serving_peers.child(config, "composition") as (url, _process):
            bench.saturate(world, "(a)", url, users, (2, 4, 8, 32))
            bench.arrive(world, "(a)", url, users, 0.5 * bench.saturations[world, "(a)"][-1])
        greenflow(config, ours)


def against_the_rest(bench: Bench, config: CascadeConfig) -> None:
    """(b) and (c) on the paper-sized models."""
    users = serving_worlds.users(config, 4096)
    cores = len(os.sched_getaffinity(0))
    for _ in range(bench.rounds):
        best = 0.0
        for threads in sorted({1, cores}):
            with serving_peers.child(config, "one-process", "--threads", str(threads)) as (url, _process):
                bench.saturate("full", "(b)", url, users, (2, 4, 8, 32))
            best = max(best, bench.saturations["full", "(b)"].pop())
        bench.saturations["full", "(b)"].append(best)
        rate = serving_peers.looped(config, users, batch=32, torch_threads=cores, seconds=bench.seconds)
        print(f"full   (c)          plain loop, batches of 32, {cores} threads {rate:8.1f}/s", flush=True)
        bench.details.append({"world": "full", "server": "(c)", "requests_per_second": rate, "threads": cores})
        bench.saturations["full", "(c)"].append(rate)


def equal_and_greenflow(bench: Bench, config: CascadeConfig, share: float) -> dict[str, Any]:
    """CPU-seconds a request of every process that serves: EQUAL at the fullest chain, then GreenFlow at 60 % of it.

    Both at the same rate: ``share`` times what EQUAL can serve at most.
    """
    users = serving_worlds.users(config, 4096)
    told: dict[str, Any] = {}

    def arms(url: str) -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=20.0) as http:
            chains = http.get("/v1/chains").json()
            fullest = next(c["flops"] for c in chains["chains"] if c["name"] == chains["fullest"])
            orders: dict[str, dict[str, Any]] = {
                "EQUAL": {"flops_per_second": None, "policy": "fixed", "fixed_chain": "fullest"},
                "GreenFlow": {"policy": "greenflow"},
            }
            trace = hammer.requests(url, users, serving_worlds.EXPOSURE)
            http.put("/v1/budget", json=orders["EQUAL"]).raise_for_status()
            time.sleep(1.0)
            bench.saturate("full", "EQUAL", url, users, (64,))
            rate = told["requests_per_second"] = share * bench.saturations["full", "EQUAL"][-1]
            orders["GreenFlow"]["flops_per_second"] = 0.6 * fullest * rate
            look = processes.own_or_all()
            for _ in range(bench.rounds):
                for name, order in orders.items():
                    http.put("/v1/budget", json=order).raise_for_status()
                    hammer.arrive(url, trace, rate=rate, seconds=4.0)  # until the order has taken effect
                    earlier, before = http.get("/v1/stats").json(), look()
                    load = hammer.arrive(url, trace, rate=rate, seconds=4 * bench.seconds)
                    after, later = look(), http.get("/v1/stats").json()
                    n = sum(load.statuses.values())
                    use = processes.between(before, after)
                    bench.note("full", name, f"open loop, {rate:.0f}/s", load)
                    told.setdefault(name, []).append(
                        {
                            "cpu_seconds_per_request": use.total / n,
                            "cpu_milliseconds": {k: 1e3 * v / n for k, v in sorted(use.by_deployment.items())},
                            "flops_per_request": (later["flops"] - earlier["flops"])
                            / (later["requests"] - earlier["requests"]),
                            "allocator_flops_per_request": (later["allocator_flops"] - earlier["allocator_flops"])
                            / (later["requests"] - earlier["requests"]),
                            "milliseconds": load.told()["milliseconds"],
                            "degraded": later["reasons"],
                        }
                    )
            told["hops_seconds"] = hops(http, users)

    greenflow(config, arms)
    return told


def hops(http: httpx.Client, users: list[int]) -> dict[str, float]:
    """Where the time of a request that comes alone goes: medians of each hop, and the whole, seconds."""
    seen: dict[str, list[float]] = defaultdict(list)
    for user in users[:60]:
        began = time.perf_counter()
        answer = http.post("/v1/recommend", params={"explain": True}, json={"user_id": user}).json()
        seen["whole, seen by the client"].append(time.perf_counter() - began)
        for hop, seconds in answer["explain"]["seconds"].items():
            seen[hop].append(seconds)
        time.sleep(0.02)
    return {hop: statistics.median(times) for hop, times in seen.items()}


def allocator_latency(config: CascadeConfig, repeats: int) -> dict[str, float]:
    """Seconds that the allocator adds to a batch of 32 at 64 chains, by itself, without the hop."""
    torch.set_num_threads(1)
    source = load_source(config)
    space = chain_space(config, load_pool(config, source.catalog), len(source.catalog))
    reward = load_reward(config.paths.reward, space, source.catalog)
    allocator = Allocator(config, space, reward, source.features, None)
    directive = PriceDirective(1e-10, 1.1e-10, 0.5, 1, False, space.cheapest)
    allocator.follow(Orders("greenflow", ((0,), (1.0,)), directive, 1e-10, 0, None))
    users = np.array(serving_worlds.users(config, 32 * 64)).reshape(64, 32)
    hashes = np.arange(32, dtype=np.uint64) << np.uint64(58)
    times = []
    for i in range(repeats):
        batch = AllocationBatch(users[i % 64], hashes, ("r",) * 32)
        began = time.perf_counter()
        allocator.allocate(batch)
        times.append(time.perf_counter() - began)
    times = times[repeats // 10 :]
    return {"chains": len(space), "p50": float(np.percentile(times, 50)), "p99": float(np.percentile(times, 99))}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/serving.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--load", type=float, default=0.8, help="rate of EQUAL and GreenFlow ÷ EQUAL's saturation")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    bench = Bench(1.0 if options.quick else options.seconds, 1 if options.quick else options.rounds)
    where = figures.machine()
    with tempfile.TemporaryDirectory(prefix="greenflow-bench-") as folder:
        noop = serving_worlds.noop(Path(folder) / "noop")
        full = serving_worlds.full(Path(folder) / "full", reward=True)
        latency = allocator_latency(full, 200 if options.quick else 5000)
        against_composition(bench, "no-op", noop, (64, 128, 256))
        against_composition(bench, "full", full, (16, 64, 128))
        against_the_rest(bench, full)
        arms = equal_and_greenflow(bench, full, options.load)
    rows = judged(bench, latency, arms)
    figures.show(rows)
    report = {
        "quick": options.quick,
        "machine": where,
        "figures": rows,
        "saturations": {f"{world} {name}": rates for (world, name), rates in bench.saturations.items()},
        "allocator": latency,
        "arms": arms,
        "loads": bench.details,
    }
    figures.save(options.out, report)
    print(json.dumps(arms["hops_seconds"], indent=1))


def judged(bench: Bench, latency: dict[str, float], arms: dict[str, Any]) -> list[Row]:
    """The figures and their bars."""

    def ratio(world: str, peer: str) -> float:
        return bench.median(world, "greenflow") / max(bench.median(world, peer), 1e-9)

    def p99(world: str) -> float:
        ours, theirs = (statistics.median(bench.quiet[world, name]) for name in ("greenflow", "(a)"))
        return ours / theirs

    def arm(name: str, key: str) -> float:
        return statistics.median(found[key] for found in arms[name])

    cpu = arm("GreenFlow", "cpu_seconds_per_request") / arm("EQUAL", "cpu_seconds_per_request")
    added = arm("GreenFlow", "allocator_flops_per_request") / arm("GreenFlow", "flops_per_request")
    return [
        row("no-op scorers: requests/s ÷ (a)", ratio("no-op", "(a)"), 10, 25, least=True),
        row("paper-sized models: requests/s ÷ (c)", ratio("full", "(c)"), 0.7, 0.9, least=True),
        row("paper-sized models: requests/s ÷ (a)", ratio("full", "(a)"), 2, 4, least=True),
        row("paper-sized models: requests/s ÷ (b)", ratio("full", "(b)"), 1, 2, least=True),
        row("no-op: p99 ÷ (a)'s at half of (a)'s saturation", p99("no-op"), 1, 0.5),
        row("paper-sized: p99 ÷ (a)'s at half of (a)'s saturation", p99("full"), 1, 0.5),
        row("allocator's FLOPs ÷ mean chain's", added, 0.01, 0.002),
        row(f"allocator's p99, {latency['chains']:.0f} chains, batch 32, ms", 1e3 * latency["p99"], 3, 1),
        row("CPU-seconds a request, GreenFlow at 60 % ÷ EQUAL at the fullest", cpu, 0.7, 0.62),
    ]


if __name__ == "__main__":
    main()
