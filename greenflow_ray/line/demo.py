"""The main job: one line of life from data to report, through the real application; stops all that it started."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import stamina
from ray.job_submission import JobStatus, JobSubmissionClient

from greenflow_ray import config as configuration
from greenflow_ray.client import BudgetOrder, Client
from greenflow_ray.config import CascadeConfig, LoadConfig
from greenflow_ray.datasets.schema import Split
from greenflow_ray.energy.carbon.last_known import now, source_for
from greenflow_ray.energy.metering.live import CodecarbonMeter
from greenflow_ray.energy.metering.processes import job_seconds
from greenflow_ray.errors import ArtifactError, ResourceProblem
from greenflow_ray.line.arms import EQUAL, GREENFLOW, TUNED, Arms
from greenflow_ray.line.playing import final_trace, play_arm
from greenflow_ray.line.preparing import Trained, prepare_data, train_models
from greenflow_ray.loadtest import ArmResult
from greenflow_ray.pricing.store.base import PriceStore, open_store
from greenflow_ray.report import Report, build_report, print_report, publish, rebuild, trajectory_of
from greenflow_ray.serving.local.launch import Server, start
from greenflow_ray.support.terminal import Terminal

FIRST_PRICE_S = 60
"""How long the demo waits for the repricing job's first price; without one the traffic starts all the same."""

AGENT_S = 60
"""How long to wait for Ray's agent, which takes jobs; it comes up some time after Ray."""


def run_demo(config: CascadeConfig, terminal: Terminal) -> dict[str, Any]:
    """Data, models, reward, serve, traffic once an arm, report; returns the report as JSON-able values."""
    began = time.monotonic()
    terminal.step("1/6 Data")
    prepare_data(config, terminal)
    terminal.step("2/6 Models and 3/6 reward")
    trained = train_models(config, terminal)
    terminal.step("4/6 Serve")
    with start(config) as server:
        terminal.say(f"  serving at {server.url} after {time.monotonic() - began:.0f} s")
        terminal.step("5/6 Traffic: the same trace of final users three times")
        played = play_all(config, trained, server, terminal)
    terminal.step("6/6 Report")
    report = write_report(config, trained, played, spike_of(config.load))
    terminal.say(f"  whole run: {time.monotonic() - began:.0f} s")
    print_report(report, terminal.console, config.paths.report_html)
    result: dict[str, Any] = json.loads(report.to_json())
    return result


@dataclass(frozen=True)
class Played:
    """All arms, and what was seen beside GreenFlow.

    Attributes:
        equal, tuned, greenflow: the arms.
        tuned_chains: what TUNED served: chains and their shares.
        budget: FLOP/s; None: it changed, as the ledger's course says.
        stats: the ledger's account of the GreenFlow arm.
        repricing_cpu_seconds: of the repricing job while the GreenFlow arm ran.
    """

    equal: ArmResult
    tuned: ArmResult
    greenflow: ArmResult
    tuned_chains: dict[str, float]
    budget: float | None
    stats: dict[str, Any]
    repricing_cpu_seconds: float


def play_all(config: CascadeConfig, trained: Trained, server: Server, terminal: Terminal) -> Played:
    """EQUAL at the fullest chain; TUNED and GreenFlow at a share of its FLOPs, GreenFlow with repricing beside it."""
    dataset = trained.dataset
    trace = final_trace(config, dataset)
    others = dataset.users.user_ids[dataset.users.of(Split.VALIDATION)][:256].tolist()
    rate = len(trace) / trace.duration_s
    arms = Arms(config, dataset, trained.space, config.load.budget_share * trained.space.costs.max(), rate)

    def play(name: str) -> ArmResult:
        meter = CodecarbonMeter(config.energy)
        return play_arm(config, dataset, trace, server.url, terminal, name, meter=meter, watch_processes=True)

    with Client(server.url) as client:
        follow(client, arms.order(EQUAL))
        warm_up(client, others, config.exposure)
        equal = play(EQUAL)
        mix = arms.order(TUNED)
        terminal.say("  TUNED serves " + ", ".join(f"{chain} for {part:.0%}" for chain, part in mix.mix.items()))
        follow(client, mix)
        warm_up(client, others, config.exposure)
        fixed = play(TUNED)
        order = arms.order(GREENFLOW)
        follow(client, order)
        terminal.say(
            f"  GreenFlow's budget: {(order.flops_per_second or 0) / 1e9:.2f} GFLOP/s, {config.load.budget_share:.0%} "
            f"of what EQUAL spent; repricing every {config.load.reprice_every_s:g} s"
        )
        warm_up(client, others, config.exposure)
        with repricing(config, server, terminal):
            before = job_seconds()
            greenflow = play(GREENFLOW)
            spent = job_seconds() - before
            stats = client.stats()
    return Played(equal, fixed, greenflow, mix.mix, order.flops_per_second, stats, max(spent, 0.0))


def follow(client: Client, order: BudgetOrder) -> None:
    """Change the budget and wait until every allocator has heard of it."""
    client.set_budget(order)
    time.sleep(1.0)


def warm_up(client: Client, users: list[int], k: int) -> None:
    """Answer validation users until compiled kernels and caches are warm; nothing of it is counted."""
    for begin in range(0, len(users), 32):
        client.recommend_many(users[begin : begin + 32], k)


@contextmanager
def repricing(config: CascadeConfig, server: Server, terminal: Terminal) -> Iterator[None]:
    """The repricing Ray job, repeating beside the traffic; stopped at the end, and its failure is told.

    Waits for its first price: starting Ray Data takes seconds of both cores, which are no part of steady traffic.
    """
    jobs = JobSubmissionClient(server.dashboard_url)
    store = open_store(config.paths.prices)
    before = published(store)
    time.sleep(2 * config.sampling.flush_s)  # until the warm-up's samples are on disk
    declared = configuration.store(config).resolve()
    # By address: "auto" is whatever Ray started last on this machine.
    command = (
        f"{sys.executable} -m greenflow_ray reprice --run {config.run.resolve()} --config {declared} "
        f"--address {server.address}"
    )
    for attempt in stamina.retry_context(on=_no_agent_yet, attempts=None, timeout=AGENT_S, wait_max=1.0):
        with attempt:
            job = jobs.submit_job(
                entrypoint=f"nice -n 19 {command} --every {config.load.reprice_every_s:g} --json",
                runtime_env={"py_executable": f"nice -n 19 {sys.executable}"},  # requests first, repricing after them
                entrypoint_num_cpus=0,
                metadata={"name": "greenflow-reprice"},
            )
    try:
        with terminal.progress() as progress:
            for waited in range(FIRST_PRICE_S):
                progress("waiting for the repricing job's first price", waited / FIRST_PRICE_S)
                if published(store) > before or jobs.get_job_status(job).is_terminal():
                    break
                time.sleep(1)
        yield
    finally:
        status = jobs.get_job_status(job)
        if status in (JobStatus.FAILED, JobStatus.STOPPED):
            terminal.error(f"the repricing job ended early: {last_line(jobs.get_job_logs(job))}")
        terminal.say(f"  the repricing job published {published(store) - before} prices")
        jobs.stop_job(job)
        deadline = time.monotonic() + 10
        while jobs.get_job_status(job) == JobStatus.RUNNING and time.monotonic() < deadline:
            time.sleep(0.2)


def _no_agent_yet(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and ("available agent" in str(error) or "head node agent" in str(error))


def published(store: PriceStore) -> int:
    """The store's latest version, 0 if there is none."""
    latest = store.latest()
    return latest.version if latest else 0


def spike_of(load: LoadConfig) -> tuple[float, float] | None:
    """From and until which second the trace's traffic is multiplied; None if it is not."""
    if load.spike_factor == 1 or load.spike_length == 0:
        return None
    begin = load.spike_start * load.duration_s
    return begin, min(begin + load.spike_length * load.duration_s, load.duration_s)


def last_line(text: str) -> str:
    """The last line that says something."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def write_report(config: CascadeConfig, trained: Trained, played: Played, spike: tuple[float, float] | None) -> Report:
    """Write ``report.json``, ``report.html`` and ``report.png``."""
    calibration = trained.reward.manifest.calibration
    latest = open_store(config.paths.prices).latest()
    equal, greenflow, stats = played.equal, played.greenflow, played.stats
    trajectory = trajectory_of(stats["trajectory"], greenflow.started_at)
    if not trajectory:
        raise ResourceProblem("the ledger kept no price during the traffic; see the Ray logs of the ledger actor")
    report = build_report(
        equal,
        greenflow,
        played.tuned,
        tuned_chains=played.tuned_chains,
        dataset=trained.dataset.name,
        synthetic=trained.dataset.synthetic,
        seed=config.seed,
        budget_flops_per_second=played.budget,
        trajectory=trajectory,
        models=trained.models,
        reward={k: v for k, v in calibration.items() if isinstance(v, int | float)},
        reward_flops_per_request=trained.reward_flops,
        allocator_p99_s=stats.get("allocator_p99_seconds"),
        repricing_cpu_seconds=played.repricing_cpu_seconds,
        frontier=latest.frontier if latest else None,
        carbon=now(source_for(config.energy)),
        energy=config.energy,
        spike=spike,
    )
    report.save(config.paths.report_json)
    publish(report, equal, greenflow, config.paths, played.tuned)
    return report


def show_report(config: CascadeConfig, terminal: Terminal) -> dict[str, Any]:
    """`greenflow report`: print a finished run's report and rebuild its page."""
    path = config.paths.report_json
    if not path.exists():
        raise ArtifactError(f"{path}: no report; run `greenflow demo --run {config.run}` first")
    report = Report.model_validate_json(path.read_text(encoding="utf-8"))
    rebuild(config.run)
    print_report(report, terminal.console, config.paths.report_html)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result
