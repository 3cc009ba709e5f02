from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from greenflow_ray.datasets.schema import Clicks
from greenflow_ray.energy.metering.meter import EnergyWindow
from greenflow_ray.errors import ResourceProblem
from greenflow_ray.loadtest import shown
from greenflow_ray.loadtest.open_loop import play
from greenflow_ray.loadtest.player import ClientOptions, Progress
from greenflow_ray.loadtest.result import BAD_ANSWER, NO_CONNECTION, NOT_SENT, TIMED_OUT
from greenflow_ray.loadtest.shown import say
from greenflow_ray.loadtest.trace import Trace
from greenflow_ray.ragged import Ragged
from tests.energy.trackers import ReplayMeter
from tests.loadtest.server import CHAINS, StubServer, ordinary

QUICK = ClientOptions(feedback_s=0.02, progress_s=0.05)


def trace_of(n: int, duration_s: float = 0.3, at_once: bool = False) -> Trace:
    times = np.zeros(n) if at_once else np.linspace(0, duration_s * 0.9, n)
    return Trace(times, np.arange(n, dtype=np.int64), duration_s)


def test_a_trace_is_played_and_judged_over_http() -> None:
    # Users 0 to 9 get items user … user + 4; rows of clicks are translated by user_ids and item_ids.
    clicks = Clicks(np.array([0, 1, 2]), Ragged.from_rows([[1, 3, 9], [2], [40]]))
    user_ids = np.array([0, 4, 5])
    item_ids = np.arange(50) + 1  # row 1 is item 2: user 0 gets 0 … 4, of which 2 and 4 are clicks
    seen: list[Progress] = []
    with StubServer() as server:
        result = play(
            server.base_url, trace_of(10), clicks, user_ids, item_ids=item_ids,
            name="equal", k=5, options=QUICK, on_progress=seen.append,
        )  # fmt: skip
        asked, feedback = server.asked, [message for batch in server.feedback for message in batch]
    assert result.errors == 0
    assert sorted(body["user_id"] for body in asked) == list(range(10))
    assert all(set(body) == {"user_id", "k", "request_id"} for body in asked)  # no click goes up before the answer
    # user 0: items 2 and 4; user 4: row 2 is item 3, not among 4 … 8; user 5: item 41 neither
    assert result.requests.clicks.tolist() == [2, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    first = next(body["request_id"] for body in asked if body["user_id"] == 0)
    assert feedback == [{"request_id": first, "clicks": [2, 4]}]
    assert (result.feedback_accepted, result.feedback_failed) == (1, 0)
    assert result.requests.price_version.tolist() == [3] * 10
    assert result.degraded_counts() == {"ranking unavailable": 4}
    assert result.chains == tuple(CHAINS)
    assert result.mismatches == 0
    assert result.totals()["flops"] == 4 * 2_000 + 6 * 8_000
    assert result.client_cpu_seconds > 0
    assert (seen[-1].answered, seen[-1].clicks, seen[-1].flops) == (10, 2, 56_000)
    assert say(seen[-1]).startswith("equal: 10/10 answered, ")
    assert say(seen[-1]).endswith("0 errors, 4 degraded")
    assert seen[-1].rate > 0
    assert seen[-1].p99 == pytest.approx(np.quantile(result.requests.latency, 0.99))
    assert 0 < result.client_cpu_share <= result.client_cpu_peak


def test_latency_counts_from_the_scheduled_instant() -> None:
    """Eight requests due at once, served one by one in 40 ms each: the last waited for the seven before it.

    A client that sends the next request when the last is answered would report 40 ms for each.
    """

    async def one_by_one(server: StubServer, body: dict[str, Any]) -> dict[str, Any]:
        async with server.turn:
            await asyncio.sleep(0.04)
        return ordinary(server, body)

    with StubServer(one_by_one) as server:
        result = play(server.base_url, trace_of(8, at_once=True), options=QUICK)
    waits = np.sort(result.requests.latency)
    assert np.all(waits >= 0.039 * np.arange(1, 9))


def test_overload_shows_as_latency_that_grows() -> None:
    """A request each 5 ms at a server that takes 20 ms for each: request i waits for the i before it."""
    gap, work, n = 0.005, 0.02, 40
    trace = Trace(np.arange(n) * gap, np.arange(n, dtype=np.int64), n * gap)

    async def one_by_one(server: StubServer, body: dict[str, Any]) -> dict[str, Any]:
        async with server.turn:
            await asyncio.sleep(work)
        return ordinary(server, body)

    with StubServer(one_by_one) as server:
        result = play(server.base_url, trace, options=QUICK)
    assert result.errors == 0
    ended = np.sort(result.requests.scheduled + result.requests.latency)
    assert np.all(ended >= 0.99 * work * np.arange(1, n + 1))
    first, last = np.split(result.requests.latency, 4)[::3]
    assert last.min() > first.max()
    assert result.totals()["answered_per_second"] <= 1 / work < result.totals()["offered_per_second"]


def test_criticality_and_k_are_sent_only_when_given() -> None:
    with StubServer(lambda server, body: ordinary(server, {"k": 3, **body})) as server:
        play(server.base_url, trace_of(2), k=None, options=QUICK)
        play(server.base_url, trace_of(2), k=4, criticality="sheddable", options=QUICK)
        bare, full = server.asked[:2], server.asked[2:]
    assert all(set(body) == {"user_id", "request_id"} for body in bare)
    assert [(body["k"], body["criticality"]) for body in full] == [(4, "sheddable")] * 2


def test_a_client_that_cannot_keep_up_is_told() -> None:
    """Its event loop is blocked for as long as the trace lasts, so that it sends late."""

    def block(_: Progress) -> None:
        time.sleep(0.1)

    with StubServer() as server:
        options = ClientOptions(progress_s=0.01)
        result = play(server.base_url, trace_of(30), options=options, on_progress=block)
    assert result.send_delay_s["p99"] >= 0.02
    assert result.client_was_slow
    assert "no time for the client" in (shown.warning(result) or "")


def test_waiting_for_a_connection_counts_too() -> None:
    async def slow(server: StubServer, body: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.04)
        return ordinary(server, body)

    with StubServer(slow) as server:
        result = play(server.base_url, trace_of(6, at_once=True), options=ClientOptions(connections=1))
    assert result.errors == 0
    assert np.all(np.sort(result.requests.latency) >= 0.039 * np.arange(1, 7))


def test_a_stalled_server_does_not_hold_back_later_requests() -> None:
    """All answers wait for the last request: only a client that sends on schedule ever gets one."""
    n = 20

    async def wait_for_all(server: StubServer, body: dict[str, Any]) -> dict[str, Any]:
        while len(server.asked) < n:
            await asyncio.sleep(0.005)
        return ordinary(server, body)

    with StubServer(wait_for_all) as server:
        result = play(server.base_url, trace_of(n, 0.2), options=ClientOptions(timeout_s=20))
    assert result.errors == 0


def test_failures_are_rows_not_exceptions() -> None:
    async def awkward(server: StubServer, body: dict[str, Any]) -> Any:
        good = ordinary(server, body)
        match body["user_id"]:
            case 0:
                return web.Response(status=429, headers={"Retry-After": "1"})
            case 1:
                return web.Response(status=500, text="boom")
            case 2:
                return web.Response(text="not json")
            case 3:
                return [good]
            case 4:
                del good["receipt"]["flops"]
            case 5:
                good["receipt"]["flops"] = 2**70
            case 6:
                await asyncio.sleep(5)
            case 7:
                good["receipt"]["chain"] = "unheard of"
            case 8:
                good["receipt"]["price"] = None
            case 9:
                good["items"] = "none"
        return good

    seen: list[Progress] = []
    with StubServer(awkward) as server:
        result = play(server.base_url, trace_of(11), options=ClientOptions(timeout_s=0.5), on_progress=seen.append)
    expected = [429, 500, *[BAD_ANSWER] * 4, TIMED_OUT, 200, 200, BAD_ANSWER, 200]
    assert result.requests.status.tolist() == expected
    assert result.errors == 8
    totals = result.totals()
    assert (totals["shed"], totals["errors"], totals["errors_by_kind"].get("HTTP 429")) == (1, 7, None)
    assert (seen[-1].shed, seen[-1].errors) == (1, 7)
    assert "7 errors, 1 shed, 0 degraded" in say(seen[-1])
    assert result.error_counts() == {"timed out": 1, "answer not understood": 5, "HTTP 429": 1, "HTTP 500": 1}
    assert result.requests.latency[6] >= 0.49
    assert result.mismatches == 1  # the chain that is not listed
    assert np.isnan(result.requests.price[8])
    assert result.totals()["flops"] == 8_000 + 8_000  # rows 8 and 10


def test_a_dead_server_is_an_error_before_the_first_request_and_rows_after_it() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ResourceProblem, match="does not answer"):
        play(f"http://127.0.0.1:{port}", trace_of(2))

    async def drop(server: StubServer, body: dict[str, Any]) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # the server hangs up without an answer
        await asyncio.sleep(1)

    with StubServer(drop) as server:
        result = play(server.base_url, trace_of(3), options=ClientOptions(timeout_s=5))
    assert result.requests.status.tolist() == [NO_CONNECTION] * 3
    assert np.isfinite(result.requests.latency).all()


def test_a_foreign_server_is_named() -> None:
    server = StubServer()

    async def foreign(request: web.Request) -> web.StreamResponse:
        return web.json_response(["something else"])

    server._chains = foreign  # type: ignore[method-assign]
    with server, pytest.raises(ResourceProblem, match="GreenFlow's server"):
        play(server.base_url, trace_of(1))


def test_outstanding_requests_are_bounded_without_slowing_the_trace() -> None:
    async def never(server: StubServer, body: dict[str, Any]) -> Any:
        await asyncio.sleep(5)

    with StubServer(never) as server:
        result = play(server.base_url, trace_of(20), options=ClientOptions(outstanding=4, timeout_s=0.6))
    status = result.requests.status.tolist()
    assert status.count(NOT_SENT) == 16
    assert status.count(TIMED_OUT) == 4
    assert np.isnan(result.requests.latency[4:]).all()


def test_refused_feedback_is_counted() -> None:
    clicks = Clicks(np.arange(5), Ragged.from_rows([[i] for i in range(5)]))
    with StubServer(feedback_status=503) as server:
        result = play(server.base_url, trace_of(5), clicks, options=QUICK)
    assert result.requests.clicks.sum() == 5
    assert (result.feedback_accepted, result.feedback_failed) == (0, 5)


def test_only_the_first_k_items_are_judged_and_each_once() -> None:
    def generous(server: StubServer, body: dict[str, Any]) -> Any:
        return ordinary(server, body) | {"items": [1, 1, 1, 2, 3]}

    clicks = Clicks(np.array([0]), Ragged.from_rows([[1, 3]]))
    with StubServer(generous) as server:
        result = play(server.base_url, trace_of(1), clicks, k=4, options=QUICK)
    assert result.requests.clicks.tolist() == [1]


def test_feedback_is_batched() -> None:
    clicks = Clicks(np.arange(30), Ragged.from_rows([[i] for i in range(30)]))
    with StubServer() as server:
        play(server.base_url, trace_of(30, at_once=True), clicks, options=ClientOptions(feedback_batch=8, feedback_s=5))
    assert sum(map(len, server.feedback)) == 30
    assert max(map(len, server.feedback)) <= 8


def test_energy_and_processes_come_from_the_same_window() -> None:
    window = EnergyWindow(1.0, 20.0, 20.0, 0.0, 0.0, "measured", "measured", "replay", 4.0)
    with StubServer() as server:
        result = play(server.base_url, trace_of(2), meter=ReplayMeter([window]), watch_processes=True)
    assert result.energy == window
    assert all(seconds >= 0 for seconds in result.cpu_seconds.values())


def test_the_meter_is_stopped_even_if_the_server_is_not_there() -> None:
    meter = ReplayMeter([EnergyWindow(1.0, 1.0, 1.0, 0.0, 0.0, "measured", "measured", "replay", 1.0)])
    with pytest.raises(ResourceProblem):
        play("http://127.0.0.1:9", trace_of(1), meter=meter)
    with pytest.raises(ResourceProblem, match="none is left"):
        meter.stop()
