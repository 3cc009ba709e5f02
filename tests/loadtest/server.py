"""A small server that answers as GreenFlow's API does, over real HTTP on a free loopback port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

CHAINS = {"dssm:200>din:20": 2_000, "dssm:200>din:80": 8_000}

Answer = Callable[["StubServer", dict[str, Any]], Any]


def ordinary(server: StubServer, body: dict[str, Any]) -> dict[str, Any]:
    """Items ``user, user + 1, …`` and a receipt; every third request is cheap."""
    chain = "dssm:200>din:20" if body["user_id"] % 3 == 0 else "dssm:200>din:80"
    return {
        "request_id": body["request_id"],
        "user_id": body["user_id"],
        "items": [body["user_id"] + i for i in range(body["k"])],
        "scores": [0.5] * body["k"],
        "receipt": {
            "chain": chain,
            "flops": CHAINS[chain],
            "price": 1.5e-6,
            "price_version": 3,
            "degraded": chain.endswith("20"),
            "reason": "ranking unavailable" if chain.endswith("20") else None,
        },
    }


class StubServer:
    """Runs in its own thread and event loop; ``answer`` may be awaited, may return a response or a body."""

    def __init__(self, answer: Answer = ordinary, *, feedback_status: int = 200) -> None:
        self.answer = answer
        self.feedback_status = feedback_status
        self.asked: list[dict[str, Any]] = []
        self.feedback: list[list[dict[str, Any]]] = []
        self.turn = asyncio.Lock()
        self.base_url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> StubServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_post("/v1/recommend", self._recommend)
        app.router.add_post("/v1/feedback", self._feedback)
        app.router.add_get("/v1/chains", self._chains)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self._loop.run_until_complete(site.start())
        self.base_url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _recommend(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body)
        answer = self.answer(self, body)
        if asyncio.iscoroutine(answer):
            answer = await answer
        return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)

    async def _feedback(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.feedback.append(body)
        return web.json_response({"accepted": len(body)}, status=self.feedback_status)

    async def _chains(self, request: web.Request) -> web.StreamResponse:
        chains = [{"name": name, "flops": flops, "stages": []} for name, flops in CHAINS.items()]
        return web.json_response({"chains": chains, "fullest": "dssm:200>din:80", "cheapest": "dssm:200>din:20"})
