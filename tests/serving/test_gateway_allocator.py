"""Gateways that do everything by themselves: no other deployment, the same answers, accounts and degradation."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.energy.metering.processes import snapshot
from greenflow_ray.nearline.reading import eligible
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.records import PriceDraft
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from greenflow_ray.serving.app import check
from greenflow_ray.serving.local.launch import free_port, start
from tests.serving.fakes import BROKEN_USER, NAN_USER, PATIENCE_S, PATIENT, ByCost, cascade
from tests.worlds import make_world

pytestmark = pytest.mark.serve

WORLD = make_world()
USERS = [u for u in range(40) if u not in (BROKEN_USER, NAN_USER)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, CascadeConfig]]:
    folder = tmp_path_factory.mktemp("run")
    replicas = {"replicas": 2, "cpus": 0.05}
    config = cascade(folder, free_port(), serving={**PATIENT, "place": "gateway", "gateway": replicas})
    rewards = ByCost(check(config)[1]).predict(TableFeatures(WORLD.dataset.users).rows(np.array(USERS)))
    frontier = Frontier.build(rewards, WORLD.space.costs)
    with SqlitePriceStore(config.paths.prices) as store:
        store.publish(PriceDraft(frontier, 0.0, frontier.requests), expected_version=0)
    with (
        start(config, ready_s=PATIENCE_S) as server,
        httpx.Client(base_url=server.url, timeout=20, trust_env=False) as http,
    ):
        yield http, config


def answered(http: httpx.Client, users: list[int]) -> list[dict[str, Any]]:
    """Receipts, each user asked for by a call of its own, so that all gateways have some."""
    bodies = [{"user_id": user} for user in users]
    return [http.post("/v1/recommend", json=body).raise_for_status().json()["receipt"] for body in bodies]


def settled(http: httpx.Client, config: CascadeConfig) -> dict[str, Any]:
    """The ledger's account after every gateway and its allocator have spoken."""
    time.sleep(2 * config.budget.settle_s + config.budget.exchange_s)
    found: dict[str, Any] = http.get("/v1/stats").raise_for_status().json()
    return found


def test_there_is_no_other_replica_but_all_parts_are_ready(
    running: tuple[httpx.Client, CascadeConfig],
) -> None:
    http, _ = running
    parts = http.get("/readyz").json()["parts"]
    assert parts.pop("allocator")
    assert all(parts.values())
    titles = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
    assert any("gateway" in title for title in titles)
    assert not any("ServeReplica:greenflow:" in title and ":gateway" not in title for title in titles)


def test_receipts_and_accounts_agree(running: tuple[httpx.Client, CascadeConfig]) -> None:
    http, config = running
    before = settled(http, config)
    receipts = answered(http, USERS * 3)
    assert not any(r["degraded"] for r in receipts)
    after = settled(http, config)
    grown = {k: after[k] - before[k] for k in ("flops", "requests", "allocator_flops")}
    assert grown["flops"] == sum(r["flops"] for r in receipts)
    assert grown["requests"] == len(receipts)
    assert grown["allocator_flops"] == len(receipts) * ByCost.flops_per_request
    assert after["committed"]["flops"] + after["committed"]["correction_flops"] == after["flops"]
    used = {step.partition(":")[0] for receipt in receipts for step in receipt["chain"].split(">")}
    lanes = {f"{stage.name}-{model.name}" for stage in config.stages for model in stage.pool if model.name in used}
    assert {"gateway", "allocator"} | lanes <= set(after["cpu_seconds"])
    if sys.platform.startswith("linux"):
        models = {model.name for stage in config.stages for model in stage.pool}
        assert {"gateway", "allocator"} | models <= {name for *_, name in snapshot(under=os.getpid())}


def test_a_budget_is_held_and_samples_are_logged(running: tuple[httpx.Client, CascadeConfig]) -> None:
    http, config = running
    http.put("/v1/budget", json={"flops_per_second": 1.0}).raise_for_status()
    time.sleep(3 * config.budget.exchange_s)
    cheapest = {r["chain"] for r in answered(http, USERS)}
    assert cheapest == {WORLD.space.names[WORLD.space.cheapest]}
    http.put("/v1/budget", json={"flops_per_second": None}).raise_for_status()
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and not list(config.paths.samples.glob("*.parquet")):
        time.sleep(0.1)
    assert eligible.look(config.paths.samples, since=0.0).files


def test_a_lane_that_fails_degrades(running: tuple[httpx.Client, CascadeConfig]) -> None:
    http, config = running
    with_din = next(name for name in WORLD.space.names if ">din:" in name)
    http.put("/v1/budget", json={"watts": None, "policy": "fixed", "fixed_chain": with_din}).raise_for_status()
    time.sleep(3 * config.budget.exchange_s)
    broken, fine = answered(http, [BROKEN_USER, USERS[0]])
    http.put("/v1/budget", json={"watts": None}).raise_for_status()
    time.sleep(3 * config.budget.exchange_s)
    assert (broken["degraded"], broken["reason"], fine["degraded"]) == (True, "ranking_unavailable", False)


def test_a_reward_that_is_not_a_number_degrades(running: tuple[httpx.Client, CascadeConfig]) -> None:
    (receipt,) = answered(running[0], [NAN_USER])
    assert (receipt["chain"], receipt["reason"]) == (WORLD.space.names[WORLD.space.cheapest], "reward_not_finite")


def test_without_the_ledger_requests_go_on(running: tuple[httpx.Client, CascadeConfig]) -> None:
    http, config = running
    ours = psutil.Process().children(recursive=True)
    (ledger,) = [p for p in ours if " ".join(p.cmdline()).startswith("ray::Ledger")]
    ledger.kill()
    ledger.wait(timeout=PATIENCE_S)
    assert not any(r["degraded"] for r in answered(http, USERS))
    deadline = time.monotonic() + PATIENCE_S
    while http.get("/v1/stats").status_code == 503 and time.monotonic() < deadline:
        time.sleep(0.2)
    before = settled(http, config)
    receipts = answered(http, USERS)
    after = settled(http, config)
    assert after["flops"] - before["flops"] == sum(r["flops"] for r in receipts)
