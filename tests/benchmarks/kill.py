"""Ranking replicas killed under steady open-loop load: `python -m tests.benchmarks.kill --out FILE`.

Each round plays a trace and kills one of two replicas in the middle of it with SIGKILL, then waits until Serve has
brought it back. It asserts nothing: it counts answers, what was degraded and why, and how long a replica was away.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ray import serve

from greenflow_ray.config import CascadeConfig
from greenflow_ray.loadtest import open_loop, trace
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.serving.app import APP
from greenflow_ray.serving.local.launch import free_port, start
from tests.benchmarks import figures
from tests.benchmarks.fuzz import noop_pool
from tests.serving.fakes import cascade
from tests.serving.test_application import replicas

VICTIM = "ranking-three"
REPLICAS = 2
BACK_S = 90.0
"""A replica that is not back after this long is given up."""


@dataclass(frozen=True)
class Round:
    """What one trace saw, whom it lost, and how long until all replicas ran again (None: they did not), seconds."""

    result: ArmResult
    killed: int
    away_s: float | None


def two_rankers(run: Path) -> CascadeConfig:
    """No-op scorers, of which every request needs the same ranker; it has two replicas."""
    return cascade(
        run,
        free_port(),
        stages=[
            {"name": "recall", "pool": noop_pool("one"), "scales": "corpus"},
            {"name": "pre-ranking", "pool": noop_pool("two"), "scales": [20, 40]},
            {"name": "ranking", "pool": noop_pool("three", "four"), "scales": [10, 20]},
        ],
        budget={"policy": "fixed", "fixed_chain": "one:60>two:40>three:20"},
        serving={"models": {"three": {"replicas": REPLICAS}}},
    )


def rounds(url: str, number: int, requests: int, rate: float, seed: int = 0) -> list[Round]:
    """``number`` rounds of about ``requests`` requests at ``rate`` a second, a replica killed in the middle of each."""
    out = []
    for row in range(number):
        played = trace.generate(trace.constant(rate, requests / rate), np.arange(40), seed + row)
        with ThreadPoolExecutor(1) as beside:
            killing = beside.submit(kill, 0.4 * played.duration_s)
            result = open_loop.play(url, played, name=f"round-{row}", k=5)
            out.append(Round(result, *killing.result()))
    return out


def kill(delay_s: float) -> tuple[int, float | None]:
    """Kill one of the ranker's replicas after a while; its process id, and for how long fewer replicas ran."""
    time.sleep(delay_s)
    victim = replicas(VICTIM)[0].pid
    os.kill(victim, signal.SIGKILL)
    since = time.monotonic()
    while time.monotonic() < since + BACK_S:
        time.sleep(0.25)
        states = serve.status().applications[APP].deployments[VICTIM].replica_states
        alive = [process.pid for process in replicas(VICTIM)]
        if states.get("RUNNING") == REPLICAS == len(alive) and victim not in alive:
            return victim, time.monotonic() - since
    return victim, None


def told(found: list[Round]) -> dict[str, Any]:
    """For JSON."""
    totals = [one.result.totals() for one in found]
    degraded: Counter[str] = Counter()
    for each in totals:
        degraded.update(each["degraded_by_reason"])
    return {
        "requests": sum(each["requests"] for each in totals),
        "not_2xx": sum(one.result.errors for one in found),
        "errors_by_kind": [each["errors_by_kind"] for each in totals],
        "degraded": sum(each["degraded"] for each in totals),
        "degraded_by_reason": dict(degraded),
        "kills": [{"pid": one.killed, "away_seconds": one.away_s} for one in found],
        "latency_seconds": [each["latency_seconds"] for each in totals],
        "client_was_slow": any(one.result.client_was_slow for one in found),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/kill.json"))
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, start(two_rankers(Path(folder))) as server:
        result = told(rounds(server.url, options.rounds, options.requests // options.rounds, options.rate))
    figures.save(options.out, result)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
