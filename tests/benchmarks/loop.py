"""Holds a budget over real replicas, real repricing jobs and minutes of open-loop traffic, and says how well.

``python -m tests.benchmarks.loop --out runs/bench/loop.json`` plays one trace three times: EQUAL at the fullest
chain, TUNED at the best fixed chains for the budget, then GreenFlow with repricing beside it. Meanwhile traffic is
multiplied by five for some seconds, the budget is halved by ``PUT /v1/budget``, then given in FLOP/s and in gCO2e an
hour at once, and the grid's carbon intensity, served by a local server that answers as Great Britain's does, rises by
half. ``--data FOLDER`` takes a real data set, ``--quick`` tries the script. The report, with its page and picture,
lies in the run's folder afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from greenflow_ray import config as configuration
from greenflow_ray.client import BudgetOrder, Client
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.schema import Split
from greenflow_ray.energy.metering.live import CodecarbonMeter
from greenflow_ray.energy.metering.processes import job_seconds
from greenflow_ray.line import demo
from greenflow_ray.line.arms import EQUAL, GREENFLOW, TUNED, Arms
from greenflow_ray.line.playing import play_arm
from greenflow_ray.line.preparing import Trained, prepare_data, train_models
from greenflow_ray.loadtest import windows
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.trace import Rate, Trace, generate
from greenflow_ray.pricing.store.base import open_store
from greenflow_ray.report.compare import overhead
from greenflow_ray.serving.local.launch import free_port, start
from greenflow_ray.support.files import whole
from greenflow_ray.support.terminal import Terminal
from tests.benchmarks import figures
from tests.benchmarks.figures import Row, row

CPUS = 16
"""CPUs that Ray may hand out: more than there are, since replicas wait most of the time."""
SHARE = 0.6
SPIKE = 5.0
CLEAN, DIRTY = 200.0, 300.0
"""The grid's carbon intensity before and after its change, gCO2e/kWh."""
LESS = 0.6
"""After the change, the grams allow this share of the budget's FLOP/s; before it they allow more than all of them."""


@dataclass(frozen=True)
class Course:
    """When what happens, seconds of the GreenFlow arm."""

    duration: float = 330.0
    spike: tuple[float, float] = (90.0, 105.0)
    halved: float = 190.0
    grams: float = 230.0
    dirtier: float = 280.0

    def squeezed(self, factor: float) -> Course:
        """The same in a shorter time, at whole seconds."""
        a, b = self.spike
        values = [round(x * factor) for x in (self.duration, a, b, self.halved, self.grams, self.dirtier)]
        return Course(values[0], (values[1], values[2]), *values[3:])

    def trace(self, rate: float, users: np.ndarray[Any, Any], seed: int) -> Trace:
        """Poisson arrivals with the spike."""
        edges = np.array([0.0, *self.spike, self.duration])
        return generate(Rate(edges, rate * np.array([1.0, SPIKE, 1.0])), users, seed)


@dataclass
class Grid:
    """A local server that answers as Great Britain's carbon intensity API does."""

    grams: float
    port: int = field(default_factory=free_port)

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Its address, for as long as the block lasts."""
        grid = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                at = datetime.now(UTC)
                begin = at.replace(minute=30 * (at.minute // 30), second=0, microsecond=0)
                stamps = {
                    k: f"{t:%Y-%m-%dT%H:%MZ}" for k, t in (("from", begin), ("to", begin + timedelta(minutes=30)))
                }
                intensity = {"forecast": grid.grams, "actual": grid.grams, "index": "moderate"}
                body = json.dumps({"data": [{**stamps, "intensity": intensity}]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Operator(threading.Thread):
    """Does what an operator would, at its time; ``done`` says when (Unix seconds) and what the ledger answered."""

    def __init__(self, url: str, course: Course, budget: float, grid: Grid) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._course = course
        self._budget = budget
        self._grid = grid
        self.done: dict[str, dict[str, Any]] = {}

    def run(self) -> None:
        began = time.time()
        with Client(self._url) as client:
            self._wait(began + self._course.halved)
            self._put(client, "halved", flops_per_second=0.5 * self._budget)
            self._wait(began + self._course.grams)
            model = client.stats()["energy"]["power_model"]
            watts = model["fixed_watts"] + model["joules_per_flop"] * LESS * self._budget
            grams = watts * DIRTY / 1000
            self._put(client, "grams", flops_per_second=self._budget, grams_per_hour=grams)
            self._wait(began + self._course.dirtier)
            self._grid.grams = DIRTY
            self.done["dirtier"] = {"at": time.time(), "grams_per_kwh": DIRTY, "power_model": model}

    def _put(self, client: Client, name: str, **limits: float) -> None:
        at = time.time()
        answer = client.set_budget(BudgetOrder(**limits))
        self.done[name] = {"at": at, "order": limits, "in_force": answer["in_force"]}

    @staticmethod
    def _wait(until: float) -> None:
        time.sleep(max(until - time.time(), 0.0))


@dataclass(frozen=True)
class Played:
    """All arms and what was seen beside them."""

    equal: ArmResult
    tuned: ArmResult
    greenflow: ArmResult
    tuned_chains: dict[str, float]
    budget: float
    before: dict[str, Any]
    after: dict[str, Any]
    repricing_cpu_seconds: float
    operator: dict[str, dict[str, Any]]
    prices: int


def play(config: CascadeConfig, trained: Trained, course: Course, rate: float, terminal: Terminal) -> Played:
    """EQUAL, TUNED, then GreenFlow under an operator's hands."""
    users = trained.dataset.users
    final = users.user_ids[users.of(Split.FINAL)]
    others = users.user_ids[users.of(Split.VALIDATION)][:256].tolist()
    trace = course.trace(rate, final, config.seed)
    grid = Grid(CLEAN)
    arms = Arms(config, trained.dataset, trained.space, SHARE * float(trained.space.costs.max()), rate)
    budget = arms.flops_per_request * rate
    with grid.serving() as address:
        carbon = config.energy.carbon.model_copy(update={"source": "uk-grid", "url": address, "refresh_s": 5.0})
        energy = config.energy.model_copy(update={"carbon": carbon})
        with (
            start(config.model_copy(update={"energy": energy}), cpus=CPUS) as server,
            Client(server.url) as client,
        ):

            def arm(name: str) -> ArmResult:
                meter = CodecarbonMeter(config.energy)
                return play_arm(
                    config, trained.dataset, trace, server.url, terminal, name, meter=meter, watch_processes=True
                )

            demo.follow(client, arms.order(EQUAL))
            demo.warm_up(client, others, config.exposure)
            equal = arm(EQUAL)
            mix = arms.order(TUNED)
            demo.follow(client, mix)
            demo.warm_up(client, others, config.exposure)
            tuned = arm(TUNED)
            demo.follow(client, arms.order(GREENFLOW))
            demo.warm_up(client, others, config.exposure)
            with demo.repricing(config, server, terminal):
                before, jobs = client.stats(), job_seconds()
                latest = open_store(config.paths.prices).latest()
                operator = Operator(server.url, course, budget, grid)
                operator.start()
                greenflow = arm(GREENFLOW)
                spent = job_seconds() - jobs
                operator.join()
                time.sleep(config.budget.settle_s + config.energy.window_s)
                after = client.stats()
                newest = open_store(config.paths.prices).latest()
    published = (newest.version if newest else 0) - (latest.version if latest else 0)
    return Played(equal, tuned, greenflow, mix.mix, budget, before, after, spent, operator.done, published)


def judged(played: Played, course: Course, trained: Trained) -> tuple[list[Row], dict[str, Any]]:
    """The figures and their bars; and details."""
    equal, arm = played.equal, played.greenflow
    times, flops = arm.requests.scheduled, arm.recounted
    receipts = int(arm.requests.flops.sum())
    moments = {name: event["at"] - arm.started_at for name, event in played.operator.items()}
    kept = windows.BudgetCourse(*budget_course(played, moments))
    found = windows.kept(equal, arm, kept)
    first = windows.first_second(times, flops, kept, course.spike[0])
    after = windows.over_after(times, flops, kept, *course.spike)
    settled = windows.settling_s(times, flops, kept, moments["halved"], moments["grams"])
    steady = (times < moments["halved"]) & ~((times >= course.spike[0]) & (times < course.spike[1]))
    clicks = [int(result.requests.clicks[steady].sum()) for result in (equal, arm)]
    spent = [int(result.recounted[steady].sum()) for result in (equal, arm)]
    energy = [stats["energy"] for stats in (played.before, played.after)]

    def grown(name: str) -> float:
        return float(energy[1][name] - energy[0][name])

    charged = played.after["flops"] - played.before["flops"]
    own = played.after["allocator_flops"] - played.before["allocator_flops"]
    cost = overhead(arm, None, None, played.repricing_cpu_seconds)
    # The ledger's windows are not the arm's, so watts compare; the load generator's meter is another one.
    metered = arm.energy.joules / arm.energy.seconds if arm.energy else float("nan")
    seconds = sum(node["seconds"] for node in energy[1]["nodes"].values())
    seconds -= sum(node["seconds"] for node in energy[0]["nodes"].values())
    accounted = (grown("joules_attributed") + grown("joules_unattributed")) / seconds
    rows = [
        row("utilisation μ, 5 s windows", found.utilisation or 0.0, 0.95, 0.98, least=True),
        row("over-use ν, 5 s windows", found.overuse, 0.02, 0.005),
        row("first second of the spike: spend ÷ budget", first, 1.15, 1.05),
        row("5 s windows over budget after it", after.over, 0, 0, windows=after.windows, worst=after.worst),
        row("PUT halved: seconds to spend at it", settled if settled is not None else float("inf"), 2.0, 0.5),
        row("clicks ÷ EQUAL's, steady traffic at 60 %", clicks[1] / clicks[0], 0.97, 1.0, least=True, clicks=clicks,
            flops_share=spent[1] / spent[0]),
        row("attributed + unattributed ÷ a second meter's energy, distance from 1", abs(accounted / metered - 1), 0.01,
            None, watts=[accounted, metered]),
        row("FLOPs charged ÷ recounted from receipts, distance from 1", abs(charged / receipts - 1), 0.0, None,
            charged=charged, recounted=receipts),
        row("GreenFlow's own share of FLOPs", own / (own + charged), 0.01, 0.002),
        row("GreenFlow's own share of CPU-seconds", cost.cpu_share or float("nan"), 0.05, 0.02,
            cpu_seconds=cost.cpu_seconds),
    ]  # fmt: skip
    details = {
        "budget_flops_per_second": played.budget,
        "prices_published": played.prices,
        "windows": found.windows,
        "worst_window": found.worst,
        "operator": {name: {**event, "second": moments[name]} for name, event in played.operator.items()},
        "energy": {"before": energy[0], "after": energy[1]},
        "samples": played.after["samples"],
        "arms": {result.name: result.totals() for result in (equal, played.tuned, arm)},
    }
    return rows, details


def budget_course(played: Played, moments: dict[str, float]) -> tuple[list[float], list[float]]:
    """Seconds and FLOP/s: ours until grams may bind, from then on what the ledger made of them, by the second."""
    after = played.operator["grams"]["in_force"]["binding"]["flops_per_second"]
    times = [0.0, moments["halved"], moments["grams"]]
    rates = [played.budget, 0.5 * played.budget, after]
    for point in played.after["trajectory"]:
        t = point["t"] - played.greenflow.started_at
        if t > moments["grams"] + 1.0 and point["budget"] is not None:
            times.append(t)
            rates.append(point["budget"])
    return times, rates


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/bench/loop.json"))
    parser.add_argument("--run", type=Path, default=Path("runs/loop"), help="its models are reused")
    parser.add_argument("--data", type=Path, default=None, help="a data set; default: the embedded synthetic one")
    parser.add_argument("--rate", type=float, default=130.0, help="requests a second before the spike")
    parser.add_argument("--reprice", type=float, default=100.0, help="seconds between repricings")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    where = figures.machine()
    course = Course().squeezed(0.3) if options.quick else Course()
    declared = configuration.load(configuration.DEFAULT).model_dump(mode="json")
    declared["run"] = str(options.run)
    if options.data is not None:
        declared["data"] = {**declared["data"], "path": str(options.data)}
    declared["load"] = {**declared["load"], "reprice_every_s": options.reprice}
    declared["serving"] = {**declared["serving"], "port": free_port()}
    config = configuration.validated(declared, "loop")
    terminal = Terminal()
    prepare_data(config, terminal)
    trained = train_models(config, terminal)
    played = play(config, trained, course, options.rate, terminal)
    rows, details = judged(played, course, trained)
    figures.show(rows)
    figures.save(options.out, {"quick": options.quick, "machine": where, "figures": rows, **details})
    with whole(config.paths.root / "loop-stats.json") as part:
        part.write_text(json.dumps(played.after), encoding="utf-8")
    seen = demo.Played(
        played.equal, played.tuned, played.greenflow, played.tuned_chains, None, played.after,
        played.repricing_cpu_seconds,
    )  # fmt: skip
    demo.write_report(config, trained, seen, course.spike)
    print(f"{os.path.relpath(config.paths.report_html)} and .png written")


if __name__ == "__main__":
    main()
