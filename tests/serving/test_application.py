"""The real application over HTTP on loopback: every documented call, degradation, a killed replica, a clean end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import ray

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.nearline.reading import eligible
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.records import PriceDraft
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from greenflow_ray.serving.app import check
from greenflow_ray.serving.local.launch import Server, free_port, port_free, start
from tests.serving.fakes import BROKEN_USER, NAN_USER, PATIENCE_S, PATIENT, SECRET, ByCost, cascade
from tests.worlds import make_world

pytestmark = pytest.mark.serve

WORLD = make_world()
GOOD_USERS = [u for u in range(40) if u not in (BROKEN_USER, NAN_USER)]


@dataclass
class Running:
    """The application under test; tests share it, each leaves it as it found it."""

    http: httpx.Client
    config: CascadeConfig
    space: ChainSpace
    application: AbstractContextManager[Server]

    def recommend(self, body: Any, **query: Any) -> Any:
        answer = self.http.post("/v1/recommend", json=body, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def put_budget(self, **order: Any) -> None:
        answer = self.http.put("/v1/budget", json=order)
        assert answer.status_code == 200, answer.text
        time.sleep(3 * self.config.budget.exchange_s)  # every allocator has exchanged by now

    def stats(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/v1/stats").raise_for_status().json()
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    energy = {"window_s": 0.5, "carbon": {"source": "constant", "grams_per_kwh": 200.0}}
    config = cascade(tmp_path_factory.mktemp("run"), free_port(), serving=PATIENT, energy=energy)
    rewards = ByCost(check(config)[1]).predict(TableFeatures(WORLD.dataset.users).rows(np.array(GOOD_USERS)))
    frontier = Frontier.build(rewards, WORLD.space.costs)
    with SqlitePriceStore(config.paths.prices) as store:
        store.publish(PriceDraft(frontier, 0.0, frontier.requests), expected_version=0)
    application = start(config, ready_s=PATIENCE_S)
    with httpx.Client(base_url=application.__enter__().url, timeout=20, trust_env=False) as http:
        try:
            yield Running(http, config, WORLD.space, application)
        finally:
            if ray.is_initialized():
                application.__exit__(None, None, None)


def best(user: int, chain: str) -> list[int]:
    """The naive cascade's five items for a user, in the outside world's ids."""
    seen = set(WORLD.dataset.users.history.row(user).tolist())
    kept = [i for i in range(len(WORLD.dataset.catalog)) if i not in seen]
    steps = [step.split(":") for step in chain.split(">")]
    for n, (name, _) in enumerate(steps):
        table = WORLD.pool[name].table[user]
        keep = int(steps[n + 1][1]) if n + 1 < len(steps) else 5
        kept = sorted(kept, key=lambda i: (-table[i], i))[:keep]
    return WORLD.dataset.catalog.item_ids[kept].tolist()


def test_one_request_is_answered_with_its_receipt(running: Running) -> None:
    answer = running.recommend({"user_id": 3, "k": 4, "request_id": "mine"})
    receipt = answer["receipt"]
    assert (answer["request_id"], answer["user_id"]) == ("mine", 3)
    assert answer["items"] == best(3, receipt["chain"])[:4]
    assert answer["scores"] == sorted(answer["scores"], reverse=True)
    assert receipt["chain"] == running.space.names[running.space.fullest], "without a budget the best chain is served"
    assert receipt["flops"] == running.space.chains[running.space.fullest].flops
    assert (receipt["degraded"], receipt["reason"]) == (False, None)


def test_a_list_is_answered_in_order(running: Running) -> None:
    answers = running.recommend([{"user_id": u} for u in GOOD_USERS])
    assert [a["user_id"] for a in answers] == GOOD_USERS
    assert [a["items"] for a in answers] == [
        best(u, a["receipt"]["chain"]) for u, a in zip(GOOD_USERS, answers, strict=True)
    ]
    assert len({a["request_id"] for a in answers}) == len(GOOD_USERS)


def test_an_unknown_user_gets_an_answer(running: Running) -> None:
    answer = running.recommend({"user_id": 10**15})
    assert len(answer["items"]) == 5
    assert not answer["receipt"]["degraded"]


def test_bad_requests_name_their_field(running: Running) -> None:
    for body, status, field in (
        ({"user_id": 1, "k": 6}, 422, "k"),
        ({"user_id": "1"}, 422, "user_id"),
        ([{"user_id": 1}, {"user": 1}], 422, "1.user_id"),
    ):
        answer = running.http.post("/v1/recommend", json=body)
        assert (answer.status_code, answer.json()["error"]["field"]) == (status, field)
    too_large = running.http.post("/v1/recommend", content=b" " * (running.config.serving.body_limit + 1))
    assert too_large.status_code == 413


def test_explaining_shows_every_chain_and_hop(running: Running) -> None:
    explain = running.recommend({"user_id": 3}, explain=True)["explain"]
    assert [c["chain"] for c in explain["chains"]] == list(running.space.names)
    assert all(c["reward"] > 0 for c in explain["chains"])
    assert {"allocator", "recall", "pre-ranking", "ranking"} <= set(explain["seconds"])


def test_chains_health_readiness_and_documentation(running: Running) -> None:
    chains = running.http.get("/v1/chains").json()
    assert [c["flops"] for c in chains["chains"]] == [c.flops for c in running.space.chains]
    assert chains["fullest"] == running.space.names[running.space.fullest]
    assert chains["chains"][0]["stages"][0] == {"stage": "recall", "model": "dssm", "items": 60}
    assert running.http.get("/healthz").status_code == 200
    ready = running.http.get("/readyz")
    assert ready.status_code == 200
    assert set(ready.json()["parts"]) == {"allocator", "dssm", "ydnn", "din", "dien", "ledger"}
    assert running.http.get("/openapi.json").json()["info"]["title"] == "GreenFlow on Ray"
    assert running.http.get("/docs").status_code == 200


def test_a_fixed_chain_is_served_to_everybody_and_then_not(running: Running) -> None:
    name = running.space.names[3]
    running.put_budget(flops_per_second=None, policy="fixed", fixed_chain=name)
    try:
        answers = running.recommend([{"user_id": u} for u in GOOD_USERS[:8]])
        assert {a["receipt"]["chain"] for a in answers} == {name}
        assert running.http.get("/v1/budget").json()["policy"] == "fixed"
        refused = running.http.put("/v1/budget", json={"flops_per_second": None, "fixed_chain": "nonsense"})
        assert (refused.status_code, refused.json()["error"]["field"]) == (422, "fixed_chain")
    finally:
        running.put_budget(flops_per_second=None, policy="greenflow")
    assert running.recommend({"user_id": 3})["receipt"]["chain"] == running.space.names[running.space.fullest]


def test_a_budget_makes_requests_cheaper_at_a_price(running: Running) -> None:
    running.put_budget(flops_per_second=float(3 * running.space.costs.min()), policy="greenflow")
    try:
        answers: list[Any] = []
        budgets: list[Any] = []
        for _ in range(8):
            answers += running.recommend([{"user_id": u} for u in GOOD_USERS[:10]])
            time.sleep(running.config.budget.exchange_s)
            budgets.append(running.http.get("/v1/budget").json())  # after a pause without traffic the price is 0
        mean = sum(a["receipt"]["flops"] for a in answers) / len(answers)
        assert mean < 0.6 * running.space.costs.max()
        assert max(budget["price"] for budget in budgets) > 0
        assert budgets[-1]["price_version"] == max(a["receipt"]["price_version"] for a in answers) == 1
    finally:
        running.put_budget(flops_per_second=None, policy="greenflow")


def test_every_change_of_the_budget_leaves_a_line(running: Running) -> None:
    running.put_budget(schedule=[{"from_hour": 0, "flops_per_second": 1e12}, {"from_hour": 12, "watts": 1e6}])
    running.put_budget(flops_per_second=None)
    *_, last, newest = map(json.loads, running.config.paths.audit.read_text().splitlines())
    assert [entry["from_hour"] for entry in last["after"]["schedule"]] == [0, 12]
    assert newest["before"] == last["after"]
    assert newest["after"]["schedule"] == []
    assert (newest["by"], newest["after"]["policy"]) == ("PUT /v1/budget", "greenflow")


def test_energy_is_metered_live_and_adds_up(running: Running) -> None:
    running.recommend([{"user_id": u} for u in GOOD_USERS])
    began = running.stats()["energy"]["intervals"]
    deadline = time.monotonic() + PATIENCE_S
    while (energy := running.stats()["energy"])["intervals"] < began + 3 or not energy["joules_attributed"]:
        assert time.monotonic() < deadline, energy
        time.sleep(0.3)
    assert energy["joules_attributed"] + energy["joules_unattributed"] == pytest.approx(energy["joules"])
    assert sum(energy["joules_by_deployment"].values()) == pytest.approx(energy["joules_attributed"])
    assert {"gateway", "allocator", "ledger", "recall-dssm"} <= set(energy["joules_by_deployment"])
    assert energy["label"] in ("measured", "estimated")
    assert [node["heard"] for node in energy["nodes"].values()] == [True]
    assert energy["grams"] == pytest.approx(energy["joules"] / 3.6e6 * 200.0)
    assert running.stats()["trajectory"][-1]["grams_per_kwh"] == 200.0


def test_watts_that_nobody_can_convert_yet_buy_the_safe_chain(running: Running) -> None:
    running.put_budget(watts=1.0)
    try:
        receipt = running.recommend({"user_id": 3})["receipt"]
        assert (receipt["chain"], receipt["reason"]) == (running.space.names[running.space.cheapest], "budget_unknown")
        assert "power model" in running.http.get("/v1/budget").json()["in_force"]["binding"]["reason"]
    finally:
        running.put_budget(flops_per_second=None)


def test_a_stage_that_raises_degrades_its_requests_and_tells_nobody_why(running: Running) -> None:
    name = "dssm:60>ydnn:40>din:20"
    running.put_budget(flops_per_second=None, policy="fixed", fixed_chain=name)
    try:
        response = running.http.post("/v1/recommend", json={"user_id": BROKEN_USER})
        receipt = response.json()["receipt"]
        assert (receipt["degraded"], receipt["reason"]) == (True, "ranking_unavailable")
        assert SECRET not in response.text
        spared = running.space.stages[2].pool[0].cost(20)
        assert receipt["flops"] == running.space.chains[running.space.index(name)].flops - spared
        assert len(response.json()["items"]) == 5
    finally:
        running.put_budget(flops_per_second=None, policy="greenflow")


def test_a_reward_that_is_not_a_number_degrades_to_the_safe_chain(running: Running) -> None:
    receipt = running.recommend({"user_id": NAN_USER})["receipt"]
    assert (receipt["chain"], receipt["reason"]) == (running.space.names[running.space.cheapest], "reward_not_finite")


def test_the_ledger_has_charged_what_receipts_say(running: Running) -> None:
    before = running.stats()
    answers = running.recommend([{"user_id": u} for u in range(40)])
    after = running.stats()
    assert after["flops"] - before["flops"] == sum(a["receipt"]["flops"] for a in answers)
    assert after["requests"] - before["requests"] == 40
    committed, balance = after["committed"], after["committed"]["correction_flops"]
    assert committed["flops"] + balance == after["flops"]
    assert after["allocator_flops"] - before["allocator_flops"] == 40 * ByCost.flops_per_request
    assert {"gateway", "allocator", "ledger", "recall-dssm", "ranking-dien"} <= set(after["cpu_seconds"])
    assert all(point["requests"] >= 0 for point in after["trajectory"])


def test_feedback_and_samples_reach_the_disk(running: Running) -> None:
    ids = [a["request_id"] for a in running.recommend([{"user_id": u} for u in GOOD_USERS[:5]])]
    answer = running.http.post("/v1/feedback", json=[{"request_id": i, "clicks": [1001, 1002]} for i in ids])
    assert (answer.status_code, answer.json()) == (202, {"accepted": 5})
    deadline = time.monotonic() + PATIENCE_S
    paths = running.config.paths
    while time.monotonic() < deadline and not (list(paths.feedback.glob("*.parquet"))):
        time.sleep(0.1)
    assert list(paths.feedback.glob("*.parquet"))
    found = eligible.look(paths.samples, since=0.0)
    assert found.files
    assert found.bad == ()
    assert found.chains == running.space.digest


def test_a_killed_ranker_degrades_until_it_is_back_and_no_request_fails(running: Running) -> None:
    running.put_budget(flops_per_second=None, policy="fixed", fixed_chain="dssm:60>ydnn:40>dien:20")
    try:
        (victim,) = replicas("ranking-dien")
        victim.kill()
        victim.wait(timeout=PATIENCE_S)
        answer = running.recommend({"user_id": 3})
        # A quick machine has a new replica up before the retry's patience ends, and then nothing is lost.
        assert answer["receipt"]["reason"] in ("ranking_unavailable", None)
        assert len(answer["items"]) == 5
        deadline = time.monotonic() + PATIENCE_S
        while answer["receipt"]["degraded"] and time.monotonic() < deadline:
            time.sleep(0.2)
            answer = running.recommend({"user_id": 3})
        assert answer["items"] == best(3, "dssm:60>ydnn:40>dien:20")
    finally:
        running.put_budget(flops_per_second=None, policy="greenflow")


def test_a_killed_ledger_comes_back_with_its_book(running: Running) -> None:
    running.put_budget(flops_per_second=None, policy="fixed", fixed_chain="cheapest")
    try:
        time.sleep(1.2)  # it saves itself every second
        before = running.stats()
        (victim,) = [p for p in ours() if title(p).startswith("ray::Ledger")]
        victim.kill()
        victim.wait(timeout=PATIENCE_S)
        for _ in range(10):
            answer = running.recommend({"user_id": 3})
            assert answer["receipt"]["chain"] == running.space.names[running.space.cheapest]
        deadline = time.monotonic() + PATIENCE_S
        while (response := running.http.get("/v1/stats")).status_code == 503 and time.monotonic() < deadline:
            time.sleep(0.2)
        after = response.json()
        assert after["flops"] - before["flops"] == 10 * running.space.chains[running.space.cheapest].flops
        assert running.http.get("/v1/budget").json()["policy"] == "fixed"
    finally:
        running.put_budget(flops_per_second=None, policy="greenflow")


def test_an_interrupted_application_leaves_nothing_behind(running: Running) -> None:
    """Interrupts the application that the others share, so it must stay the last test of this module."""
    port = running.config.serving.port
    processes = ours()
    assert len(processes) > 8
    interrupt = KeyboardInterrupt()
    assert not running.application.__exit__(KeyboardInterrupt, interrupt, None), "the caller must see the interrupt"
    assert port_free("127.0.0.1", port)
    assert not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def ours() -> list[psutil.Process]:
    """Ray's processes that this one has started, and theirs; what other tests leave for later is none of them."""
    return [p for p in psutil.Process().children(recursive=True) if not foreign(p)]


def foreign(process: psutil.Process) -> bool:
    """A test's Redis server, or the tracker that Python's own process pools keep until the interpreter ends."""
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return "redis-server" in words or "multiprocessing.resource_tracker" in words


def title(process: psutil.Process) -> str:
    try:
        return (process.cmdline() or [""])[0]
    except psutil.Error:
        return ""


def replicas(deployment: str) -> list[psutil.Process]:
    return [p for p in ours() if title(p).startswith(f"ray::ServeReplica:greenflow:{deployment}")]
