"""Two arms made by hand: a spike, a fixed dear chain against a mix that keeps a budget."""

from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.energy.carbon import CarbonIntensity
from greenflow_ray.energy.meter import EnergyWindow
from greenflow_ray.loadtest import trace
from greenflow_ray.loadtest.result import ArmResult, Requests
from greenflow_ray.report.build import build_report
from greenflow_ray.report.schema import Report

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
    cpu |= {"ranking-dien": 40.0, "proxy": 8.0, "controller": 4.0, "ledger": 0.1}
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
