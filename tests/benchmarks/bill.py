"""What a saving comes to on a bill: CPU-seconds, joules and machines of EQUAL, TUNED and GreenFlow at equal clicks.

``python -m tests.benchmarks.bill --run runs/paper --out runs/bench/bill.json`` serves a trained run (the paper-sized
cascade: ``greenflow train --config greenflow_ray/cascades/paper.yaml``) and plays the same traces of final users to
each arm in turn, round after round: EQUAL, and TUNED and GreenFlow at several budgets. What either would need to keep a
share of EQUAL's clicks is read off its own budgets, between the two that surround it. Repricing runs after each of
GreenFlow's turns, and its CPU time is GreenFlow's. ``--capacity`` also looks for each arm's greatest rate.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from greenflow_ray import config as configuration
from greenflow_ray.chains import ChainSpace
from greenflow_ray.client import BudgetOrder, Client
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.datasets.storage import load
from greenflow_ray.energy.metering.live import CodecarbonMeter
from greenflow_ray.line import demo
from greenflow_ray.line.arms import EQUAL, Arms
from greenflow_ray.line.playing import play_arm
from greenflow_ray.loadtest import capacity, from_config
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.models.pool import chain_space, load_pool
from greenflow_ray.nearline import reprice_once, window_frontier
from greenflow_ray.pricing import open_store
from greenflow_ray.serving.local.launch import start
from greenflow_ray.statistics import ratio_interval
from greenflow_ray.support.files import whole
from greenflow_ray.support.terminal import Terminal
from tests.benchmarks import figures
from tests.benchmarks.figures import Row, row

LIMIT_S = 0.25
CPUS = 16


@dataclass
class Sums:
    """What an arm came to, over all rounds."""

    users: list[npt.NDArray[np.int64]] = field(default_factory=list)
    clicks: list[npt.NDArray[np.int32]] = field(default_factory=list)
    flops: list[npt.NDArray[np.int64]] = field(default_factory=list)
    latency: list[npt.NDArray[np.float64]] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    marginal: list[float] = field(default_factory=list)
    errors: int = 0
    by_deployment: dict[str, float] = field(default_factory=dict)

    def add(self, played: ArmResult, beside: float) -> None:
        """Take in a turn; ``beside``: CPU-seconds of repricing."""
        self.users.append(played.requests.user_id)
        self.clicks.append(played.requests.clicks)
        self.flops.append(played.recounted)
        self.latency.append(played.requests.latency[played.ok])
        self.cpu.append(sum(played.cpu_seconds.values()) + beside)
        energy = played.energy
        assert energy is not None
        self.joules.append(energy.joules)
        busy = sum(played.cpu_seconds.values()) + beside
        self.marginal.append((energy.marginal_joules or 0.0) * busy / max(energy.node_cpu_seconds, 1e-9))
        self.errors += played.errors
        for name, seconds in played.cpu_seconds.items():
            self.by_deployment[name] = self.by_deployment.get(name, 0.0) + seconds

    @property
    def requests(self) -> int:
        return sum(len(users) for users in self.users)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "errors": self.errors,
            "clicks": int(sum(c.sum() for c in self.clicks)),
            "flops": int(sum(f.sum() for f in self.flops)),
            "cpu_seconds": sum(self.cpu),
            "cpu_ms_a_request": 1e3 * sum(self.cpu) / self.requests,
            "cpu_ms_by_deployment": {
                n: 1e3 * s / self.requests for n, s in sorted(self.by_deployment.items(), key=lambda item: -item[1])
            },
            "joules": sum(self.joules),
            "marginal_joules": sum(self.marginal),
            "p50_ms": 1e3 * float(np.quantile(np.concatenate(self.latency), 0.5)),
            "p99_ms": 1e3 * float(np.quantile(np.concatenate(self.latency), 0.99)),
        }


def ratios(new: Sums, old: Sums, seed: int = 0) -> dict[str, Any]:
    """``new`` ÷ ``old`` with 95 % intervals: clicks and FLOPs over users, the others over rounds."""
    out: dict[str, Any] = {}
    users = np.concatenate(new.users)
    for name, values in (("clicks", lambda s: s.clicks), ("flops", lambda s: s.flops)):
        a, b = (np.concatenate(values(s)).astype(np.float64) for s in (new, old))
        out[name] = float(a.sum() / b.sum())
        out[f"{name}_interval"] = ratio_interval(users, a, b, np.random.default_rng(seed))
    for name, values in (
        ("cpu_seconds", lambda s: s.cpu),
        ("joules", lambda s: s.joules),
        ("marginal_joules", lambda s: s.marginal),
    ):
        a, b = np.array(values(new)), np.array(values(old))
        each = a / b
        out[name] = float(a.sum() / b.sum())
        out[f"{name}_by_round"] = [float(each.min()), float(each.max())]
    return out


def order_of(
    arm: str, share: float, config: CascadeConfig, dataset: Dataset, space: ChainSpace, rate: float
) -> BudgetOrder:
    """The order of ``greenflow-…``, ``tuned-…`` or ``equal``."""
    arms = Arms(config, dataset, space, share * float(space.costs[space.index(config.load.equal)]), rate)
    return arms.order(arm.partition("-")[0])


def play_rounds(
    config: CascadeConfig, dataset: Dataset, space: ChainSpace, levels: dict[str, float], url: str,
    rounds: int, seconds: float, rate: float, terminal: Terminal,
) -> dict[str, Sums]:  # fmt: skip
    """Every arm in turn, ``rounds`` times, each time with the same trace."""
    sums = {arm: Sums() for arm in (EQUAL, *levels)}
    orders = {arm: order_of(arm, levels.get(arm, 1.0), config, dataset, space, rate) for arm in sums}
    users = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    others = dataset.users.user_ids[dataset.users.of(Split.VALIDATION)][:128].tolist()
    asked = config.load.model_copy(update={"shape": "constant", "requests_per_second": rate, "duration_s": seconds})
    for number in range(rounds):
        trace = from_config(asked, users, config.seed + number)
        arms = list(sums)
        for arm in arms[number % len(arms) :] + arms[: number % len(arms)]:
            with Client(url) as client:
                demo.follow(client, orders[arm])
                demo.warm_up(client, others, config.exposure)
            meter = CodecarbonMeter(config.energy)
            played = play_arm(config, dataset, trace, url, terminal, arm, meter=meter, watch_processes=True)
            beside = 0.0
            if arm.startswith("greenflow"):
                before = time.process_time()
                reprice_once(config, open_store(config.paths.prices), window_frontier, time.time, None)
                beside = time.process_time() - before
            sums[arm].add(played, beside)
    return sums


def capacities(
    config: CascadeConfig, dataset: Dataset, space: ChainSpace, levels: dict[str, float], url: str, terminal: Terminal
) -> dict[str, Any]:
    """Each arm's greatest rate with p99 within the limit."""
    users = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    found: dict[str, Any] = {}
    second = [[name for name in levels if name.startswith(arm)][1] for arm in ("greenflow", "tuned")]
    for arm in (EQUAL, *second):  # about 0.98 of EQUAL's clicks

        def play(rate: float, arm: str = arm) -> ArmResult:
            with Client(url) as client:
                client.set_budget(order_of(arm, levels.get(arm, 1.0), config, dataset, space, rate))
            for length, seed in ((5.0, 1), (20.0, 0)):
                asked = {"shape": "constant", "requests_per_second": rate, "duration_s": length}
                trace = from_config(config.load.model_copy(update=asked), users, config.seed + seed)
                played = play_arm(config, dataset, trace, url, Terminal(quiet=True), f"{arm}-step")
            return played

        result = capacity.find(play, LIMIT_S, start=20.0)
        terminal.say(f"  {arm}: {result.rate:.1f} requests/s")
        found[arm] = result.as_json()
    return found


BARS = {
    0.98: {
        "equal": {"flops": (0.25, 0.13), "cpu_seconds": (0.42, 0.22)},
        "tuned": {"flops": (0.85, 0.65), "cpu_seconds": (0.93, 0.75)},
    },
    0.995: {
        "equal": {"flops": (0.65, 0.4), "cpu_seconds": (0.75, 0.5)},
        "tuned": {"flops": (0.75, 0.5), "cpu_seconds": (0.82, 0.6)},
    },
}
"""Bar and moonshot by target, rival and figure."""


def needed(told: dict[str, dict[str, Any]], arm: str, target: float, what: str) -> float:
    """What an arm needs ÷ EQUAL's to keep ``target`` of its clicks, between its budgets; NaN: none of them does."""
    points = sorted(
        (v["against"]["equal"]["clicks"], v["against"]["equal"][what]) for n, v in told.items() if n.startswith(arm)
    )
    clicks, spent = np.array(points).T
    return float(np.interp(target, np.maximum.accumulate(clicks), spent, left=np.nan, right=np.nan))


def table(told: dict[str, dict[str, Any]], held: dict[str, Any]) -> list[Row]:
    """The bars."""
    rows: list[Row] = []
    for target, rivals in BARS.items():
        for rival, bars in rivals.items():
            for what, (bar, moonshot) in bars.items():
                ours, theirs = (needed(told, arm, target, what) for arm in ("greenflow", "tuned"))
                value = ours if rival == "equal" else ours / theirs
                label = f"clicks ≥ {target:g} of EQUAL's: {what}, GREENFLOW ÷ {rival.upper()}"
                rows.append(row(label, value, bar, moonshot))
        more = needed(told, "greenflow", target, "marginal_joules") - needed(told, "greenflow", target, "flops")
        rows.append(row(f"clicks ≥ {target:g}: marginal joules ÷ EQUAL's, less FLOPs' ratio", more, 0.25, 0.10))
    if held:
        names = {name.partition("-")[0]: found for name, found in held.items()}
        ours, held = names["greenflow"]["rate"], names
        rows.append(row("capacity at p99 ≤ 250 ms ÷ EQUAL's", ours / held["equal"]["rate"], 2.0, 3.0, least=True))
        rows.append(row("capacity at p99 ≤ 250 ms ÷ TUNED's", ours / held["tuned"]["rate"], 1.12, 1.4, least=True))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/paper"), help="a trained run")
    parser.add_argument("--out", type=Path, default=Path("runs/bench/bill.json"))
    parser.add_argument("--rate", type=float, default=45.0, help="requests a second; below what EQUAL can serve")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of traffic, a turn")
    parser.add_argument("--place", default=None, help="instead of the cascade's serving.place")
    shares = "budgets, shares of EQUAL's cost; the second, at about 0.98 of its clicks, is --capacity's"
    parser.add_argument("--greenflow", type=float, nargs="+", default=[0.12, 0.16, 0.22, 0.6], help=shares)
    parser.add_argument("--tuned", type=float, nargs="+", default=[0.15, 0.18, 0.24, 0.72], help="the same")
    parser.add_argument("--capacity", action="store_true", help="find each arm's greatest rate too")
    args = parser.parse_args()
    terminal = Terminal()
    config = configuration.load(args.run / "cascade.yaml").model_copy(update={"run": args.run})
    if args.place:
        config = config.model_copy(update={"serving": config.serving.model_copy(update={"place": args.place})})
    dataset = load(config.paths.data)
    space = chain_space(config, load_pool(config, dataset.catalog), len(dataset.catalog))
    budgets = {"greenflow": args.greenflow, "tuned": args.tuned}
    levels = {f"{arm}-{share:g}": share for arm, shares in budgets.items() for share in shares}
    machine = figures.machine()
    with start(config, cpus=CPUS) as server:
        sums = play_rounds(config, dataset, space, levels, server.url, args.rounds, args.seconds, args.rate, terminal)
        held = capacities(config, dataset, space, levels, server.url, terminal) if args.capacity else {}
    told: dict[str, dict[str, Any]] = {arm: s.as_json() for arm, s in sums.items()}
    for arm in levels:
        told[arm] |= {"budget_share": levels[arm], "against": {"equal": ratios(sums[arm], sums[EQUAL])}}
    rows = table(told, held)
    figures.show(rows)
    document = {
        "machine": machine, "run": str(args.run), "rate": args.rate, "rounds": args.rounds, "seconds": args.seconds,
        "place": str(config.serving.place), "arms": told, "capacity": held, "figures": rows,
    }  # fmt: skip
    with whole(args.out) as part:
        part.write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    terminal.say(f"written to {args.out}")


if __name__ == "__main__":
    main()
