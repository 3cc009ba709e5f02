from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from greenflow_ray.client import AsyncClient, BudgetOrder, Client
from greenflow_ray.errors import Overloaded, Refused, Unavailable
from greenflow_ray.serving.http.routes import build_web
from greenflow_ray.serving.local.launch import free_port
from tests.serving.http.test_routes import FakeService

RECEIPT = {"chain": "a", "flops": 5, "price": 0.5, "price_version": 2, "degraded": False, "reason": None}


class Service(FakeService):
    """Answers as a gateway would, and overloads, refuses or fails when a user id asks it to."""

    async def recommend(self, requests: Any, *, explain: bool) -> list[dict[str, Any]]:
        await super().recommend(requests, explain=explain)
        extra = {"explain": {"chains": [], "seconds": {}}} if explain else {}
        return [
            {"request_id": r.request_id or "g-1", "user_id": r.user_id, "items": [3, 1][: r.k], "scores": [0.5, 0.25]}
            | {"receipt": RECEIPT}
            | extra
            for r in requests
        ]


WEB = build_web(Service(), exposure=20, body_limit=4096)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(WEB, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


Ask = Callable[[Callable[[Any], Any]], Any]


@pytest.fixture(params=["waiting", "awaited"])
def ask(url: str, request: pytest.FixtureRequest) -> Ask:
    """Runs one call by either client."""

    def waiting(call: Callable[[Any], Any]) -> Any:
        with Client(url) as client:
            return call(client)

    def awaited(call: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            async with AsyncClient("http://test", transport=httpx.ASGITransport(WEB)) as client:
                return await call(client)

        return asyncio.run(run())

    return waiting if request.param == "waiting" else awaited


def test_answers_are_typed(ask: Ask) -> None:
    answer = ask(lambda c: c.recommend(7, k=1, request_id="r-1", criticality="critical"))
    assert (answer.user_id, answer.request_id, answer.items) == (7, "r-1", [3])
    assert (answer.receipt.chain, answer.receipt.flops, answer.receipt.reason) == ("a", 5, None)
    assert answer.explain is None
    assert ask(lambda c: c.recommend(7, explain=True)).explain == {"chains": [], "seconds": {}}
    assert [a.user_id for a in ask(lambda c: c.recommend_many([4, 5]))] == [4, 5]


def test_the_other_calls(ask: Ask) -> None:
    assert ask(lambda c: c.feedback("r-1", [3, 1])) == 1
    assert ask(lambda c: c.chains()) == {"chains": []}
    assert ask(lambda c: c.stats(since=12.5)) == {"since": 12.5}
    assert ask(lambda c: c.ready()) == {"ready": False, "parts": {"allocator": False}}
    told = ask(lambda c: c.set_budget(BudgetOrder(watts=3.0, policy="fixed")))
    assert (told["watts"], told["policy"], told["flops_per_second"]) == (3.0, "fixed", None)


def test_what_is_wrong_is_refused_by_name(ask: Ask) -> None:
    with pytest.raises(Refused, match="fixed_chain") as refused:
        ask(lambda c: c.set_budget(BudgetOrder(watts=3.0, fixed_chain="nonsense")))
    assert (refused.value.status, refused.value.code, refused.value.field) == (422, "invalid_request", "fixed_chain")
    with pytest.raises(Refused, match="less than or equal to 20"):
        ask(lambda c: c.recommend(1, k=21))
    with pytest.raises(ValueError, match="name at least one of flops_per_second"):
        BudgetOrder()


def test_overload_says_when_to_come_back(ask: Ask) -> None:
    with pytest.raises(Overloaded) as overloaded:
        ask(lambda c: c.recommend(-2))
    assert overloaded.value.retry_after_s == 1


def test_what_does_not_answer_is_unavailable(ask: Ask) -> None:
    with pytest.raises(Unavailable, match="the ledger does not answer"):
        ask(lambda c: c.budget())
    with pytest.raises(Unavailable, match="500 internal"):
        ask(lambda c: c.recommend(-1))
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(Unavailable, match="is the application"):
        client.chains()


def test_a_proxys_own_refusal_is_told_too() -> None:
    web = httpx.MockTransport(lambda _: httpx.Response(404, text="no such host"))
    with Client("http://test", transport=web) as client, pytest.raises(Refused, match="no such host"):
        client.chains()
    empty = httpx.MockTransport(lambda _: httpx.Response(200, text=json.dumps([])))
    with Client("http://test", transport=empty) as client, pytest.raises(ValueError, match="dict"):
        client.chains()


def test_importing_it_imports_neither_ray_nor_torch() -> None:
    code = "import sys, greenflow_ray.client; print({'ray', 'torch', 'pyarrow'} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "set()"
