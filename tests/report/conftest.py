"""Two arms made by hand: a spike, a fixed dear chain against a mix that keeps a budget."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.loadtest import trace
from greenflow_ray.loadtest.result import ArmResult, Requests
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.report.build import build_report
from greenflow_ray.report.contents import Report
from greenflow_ray.report.course import trajectory_of

CHAINS = tuple(f"dssm:2400>ydnn:{n}>{m}:{k}" for n in (20, 100, 400) for m in ("din", "dien") for k in (5, 20, 80))
COSTS = tuple(
    2400 * 13_000 + n * 123_000 + k * c for n in (20, 100, 400) for c in (7_020_000, 7_098_000) for k in (5, 20, 80)
)
DURATION_S = 60.0
BUDGET = 0.6 * 12 * max(COSTS)
MODELS = [
    {"stage": "recall", "name": "dssm", "flops_per_item": 13_000, "auc": 0.625},
    {"stage": "pre-ranking", "name": "ydnn", "flops_per_item": 123_000, "auc": 0.681},
    {"stage": "ranking", "name": "din", "flops_per_item": 7_020_000, "auc": 0.739},
    {"stage": "ranking", "name": "dien", "flops_per_item": 7_098_000, "auc": 0.741},
]


def energy(joules: float, busy: float) -> EnergyWindow:
    return EnergyWindow(
        60.0, joules, joules * 0.4, joules * 0.6, 0.0, "estimated", "estimated", "CPU by cpu_load, PUE 1.67", busy
    )


def make_arm(name: str, requests: Requests, joules: float = 0.0, cpu: dict[str, float] | None = None) -> ArmResult:
    return ArmResult(
        name=name,
        started_at=1_790_000_000.0,
        duration_s=DURATION_S,
        k=20,
        requests=requests,
        chains=CHAINS,
        chain_flops=COSTS,
        reasons=("ranking unavailable",),
        client_cpu_seconds=2.5,
        feedback_accepted=100,
        cpu_seconds=cpu or {},
        energy=energy(joules, 110.0) if joules else None,
    )


@pytest.fixture(scope="session")
def arms() -> tuple[ArmResult, ArmResult]:
    rng = np.random.default_rng(7)
    played = trace.generate(trace.spike(12, DURATION_S, 5, 0.5, 0.15), np.arange(900) * 3 + 1, seed=7)
    n = len(played)

    def columns(chain: np.ndarray, clicks: np.ndarray, base_s: float) -> Requests:
        rows = Requests.blank(played.user_ids, played.times)
        rows.sent[:] = played.times + rng.exponential(0.0006, n)
        load = 1 + 2 * ((played.times > 30) & (played.times < 39))
        rows.latency[:] = base_s * load * rng.lognormal(0, 0.45, n)
        rows.status[:] = 200
        rows.chain[:] = chain
        rows.flops[:] = np.array(COSTS)[chain]
        rows.clicks[:] = clicks
        return rows

    appetite = rng.random(n)
    order = np.argsort(COSTS)
    spike = (played.times > 30) & (played.times < 39)
    level = np.clip(np.where(spike, -0.3, 0.62) + 0.5 * (appetite - 0.5), 0, 0.999)
    chain = order[(level * len(CHAINS)).astype(int)].astype(np.int32)
    clicks = rng.poisson(1.4 * appetite + 0.4)
    equal = columns(np.full(n, int(order[-1]), np.int32), clicks, 0.06)
    green = columns(chain, np.maximum(clicks - (rng.random(n) < 0.02), 0), 0.035)
    green.price[:] = np.where(spike, 9e-10, 1.5e-10) * (1 + 0.1 * np.sin(played.times / 3))
    green.price_version[:] = 1 + (played.times // 15).astype(int)
    equal.price[:], equal.price_version[:] = 0.0, 1
    green.degraded[5], green.reason[5] = True, 0
    equal.status[9], equal.chain[9], equal.flops[9], equal.clicks[9] = 429, -1, 0, 0
    cpu = {"Gateway": 9.0, "Allocator": 0.4, "recall-dssm": 3.0, "pre-ranking-ydnn": 6.0, "ranking-din": 12.0}
    cpu |= {"ranking-dien": 40.0, "proxy": 8.0, "controller": 4.0, "ledger": 0.1, "meter": 0.2}
    less = {name: s * (0.5 if name.startswith("ranking") else 1.0) for name, s in cpu.items()}
    return make_arm("equal", equal, 2300.0, cpu), make_arm("greenflow", green, 2050.0, less)


@pytest.fixture(scope="session")
def report(arms: tuple[ArmResult, ArmResult]) -> Report:
    return build_report(
        *arms,
        dataset="synthetic-cascade",
        synthetic=True,
        seed=7,
        budget_flops_per_second=BUDGET,
        models=MODELS,
        reward={"field_rce": 0.0712, "mae": 0.41, "calibration": 1.013},
        reward_flops_per_request=41_000,
        allocator_p99_s=0.0014,
        carbon=CarbonIntensity(369.473, "codecarbon table, United States 2023, yearly average", "average", 0.0),
        clock=lambda: 1_790_000_000.0,
    )


SPIKE = (30.0, 39.0)
ORDER_T, CLEAN_T = 18.0, 46.0
"""Seconds at which the operator lowers the budget, and at which the grid becomes dirty."""


def ledger_rows(started_at: float) -> list[dict[str, Any]]:
    """A ledger's trajectory: the budget is lowered, a spike comes, then carbon binds; replicas follow."""
    rows: list[dict[str, Any]] = []
    for second in range(-3, int(DURATION_S) + 2):
        spike, dirty = SPIKE[0] <= second < SPIKE[1], second >= CLEAN_T
        rows.append(
            {
                "t": started_at + second,
                "version": 1 + max(second, 0) // 15,
                "price": 4e-9 if spike else 2e-10 * (1 + 0.3 * np.sin(second / 4)) * (2.0 if dirty else 1.0),
                "spend": 1_000,
                "budget": BUDGET * (1.0 if second < ORDER_T else 0.75 if not dirty else 0.5),
                "requests": 12,
                "policy": "greenflow",
                "bound_by": "grams_per_hour" if dirty else "flops_per_second",
                "grams_per_kwh": 520.0 if dirty else 240.0,
                "carbon_stale": second > 55,
                "watts": 38.0 + 14.0 * spike - 9.0 * dirty + np.sin(second),
                "replicas": {
                    "gateway": 1,
                    "ranking-dien": 1 + (second > 33) + (second > 36) - (second > 50),
                    "ranking-din": 1 + (second > 35),
                },
            }
        )
    return rows


@pytest.fixture(scope="session")
def steered_arms(arms: tuple[ArmResult, ArmResult]) -> tuple[ArmResult, ArmResult]:
    """The GreenFlow arm follows the budget of :func:`ledger_rows`, a second late."""
    equal, green = arms
    due = green.requests.scheduled
    rows = ledger_rows(0.0)
    budget = np.interp(due - 1.0, [row["t"] for row in rows], [row["budget"] for row in rows])
    rate = np.histogram(due, np.arange(0.0, DURATION_S + 1.0))[0][np.maximum(due - 1.0, 0).astype(int)]
    appetite = 0.7 + 0.6 * np.random.default_rng(3).random(len(due))
    costs = np.sort(COSTS)
    place = np.maximum(np.searchsorted(costs, appetite * budget / rate, side="right") - 1, 0)
    chain = np.argsort(COSTS)[place].astype(np.int32)
    lost = np.random.default_rng(4).random(len(due)) < 0.25 * (1 - costs[place] / costs[-1])
    clicks = np.maximum(equal.requests.clicks - lost, 0)
    requests = dataclasses.replace(green.requests, chain=chain, flops=np.array(COSTS)[chain], clicks=clicks)
    return equal, dataclasses.replace(green, requests=requests)


@pytest.fixture(scope="session")
def frontier() -> Frontier:
    """What more FLOPs are worth to a few hundred requests, with less and less return."""
    appetite = np.random.default_rng(5).random((400, 1))
    costs = np.array(COSTS, float)
    return Frontier.build(0.7 + 0.9 * appetite * (1 - np.exp(-costs[None, :] / 1.5e8)), costs)


@pytest.fixture(scope="session")
def steered(steered_arms: tuple[ArmResult, ArmResult], frontier: Frontier) -> Report:
    """A report in which everything moves."""
    return build_report(
        *steered_arms,
        dataset="steered",
        synthetic=True,
        seed=7,
        trajectory=trajectory_of(ledger_rows(steered_arms[1].started_at), steered_arms[1].started_at),
        models=MODELS,
        reward_flops_per_request=41_000,
        repricing_cpu_seconds=4.5,
        frontier=frontier,
        carbon=CarbonIntensity(300.0, "replay of grid.csv", "average", 0.0),
        energy=EnergyConfig(embodied_kg=1000.0),
        spike=SPIKE,
        clock=lambda: 1_790_000_000.0,
    )
