"""A load generator light enough to share two cores with what it measures: raw HTTP/1.1 over kept-open connections."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import numpy as np


@dataclass
class Load:
    """What a stretch of load saw; latencies in seconds, from the instant a request was due."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    degraded: int = 0
    client_cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers of status 2xx a second that were not degraded."""
        good = sum(n for status, n in self.statuses.items() if 200 <= status < 300)
        return (good - self.degraded) / self.seconds

    def take(self, status: int, body: bytes, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        self.degraded += b'"degraded":true' in body
        self.latencies.append(seconds)

    def percentile(self, q: float) -> float:
        """Latency at ``q`` percent, seconds."""
        return float(np.percentile(self.latencies, q)) if self.latencies else float("nan")

    def told(self) -> dict[str, object]:
        """For JSON."""
        names = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9}
        return {
            "requests_per_second": self.rate,
            "seconds": self.seconds,
            "degraded": self.degraded,
            "statuses": {str(k): v for k, v in self.statuses.items()},
            "milliseconds": {name: 1e3 * self.percentile(q) for name, q in names.items()},
            "client_cpu_seconds": self.client_cpu_seconds,
        }


def requests(url: str, users: Sequence[int], k: int) -> list[bytes]:
    """One prepared HTTP request a user."""
    target = urlsplit(url)
    out = []
    for user in users:
        body = json.dumps({"user_id": int(user), "k": k}).encode()
        head = (
            f"POST /v1/recommend HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        out.append(head.encode() + body)
    return out


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._length = -1
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._length < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            if at < 0:
                self._finish((599, head))
                return
            self._length = end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) >= self._length:
            self._finish((int(self._buffer[9:12]), bytes(self._buffer[self._buffer.find(b"\r\n\r\n") + 4 :])))

    def _finish(self, answer: tuple[int, bytes]) -> None:
        self._buffer.clear()
        self._length = -1
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._finish((598, b""))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; 598 if the connection broke."""
        self._answer = asyncio.get_running_loop().create_future()
        if self._transport is None:
            return 598, b""
        self._transport.write(request)
        return await self._answer


async def _connect(url: str) -> _Connection:
    target = urlsplit(url)
    _, protocol = await asyncio.get_running_loop().create_connection(_Connection, target.hostname, target.port)
    return protocol


def saturate(url: str, trace: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Closed loop: every connection sends its next request as soon as it has an answer."""

    async def run() -> Load:
        load = Load()
        pool = [await _connect(url) for _ in range(connections)]
        following = iter(range(10**9))
        cpu, began = time.thread_time(), time.perf_counter()

        async def work(connection: _Connection) -> None:
            while (now := time.perf_counter()) - began < seconds:
                status, body = await connection.ask(trace[next(following) % len(trace)])
                load.take(status, body, time.perf_counter() - now)
                if status >= 598:
                    return

        await asyncio.gather(*(work(connection) for connection in pool))
        load.seconds = time.perf_counter() - began
        load.client_cpu_seconds = time.thread_time() - cpu
        return load

    return asyncio.run(run())


def arrive(
    url: str, trace: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0, connections: int = 256
) -> Load:
    """Open loop: Poisson arrivals at ``rate`` a second, sent when due whatever the server does."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=int(rate * seconds))
    due = np.cumsum(gaps)

    async def run() -> Load:
        load = Load()
        idle = deque([await _connect(url) for _ in range(connections)])
        waiting: deque[tuple[float, bytes]] = deque()
        cpu, began = time.thread_time(), time.perf_counter() + 0.05
        tasks = set()

        async def ask(connection: _Connection, moment: float, request: bytes) -> None:
            while True:
                status, body = await connection.ask(request)
                load.take(status, body, time.perf_counter() - moment)
                if status >= 598:
                    connection = await _connect(url)
                if not waiting:
                    idle.append(connection)
                    return
                moment, request = waiting.popleft()

        for row, moment in enumerate((began + due).tolist()):
            while (wait := moment - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            request = trace[row % len(trace)]
            if idle:
                task = asyncio.create_task(ask(idle.popleft(), moment, request))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                waiting.append((moment, request))
        await asyncio.gather(*tasks)
        load.seconds = max(time.perf_counter() - began, seconds)
        load.client_cpu_seconds = time.thread_time() - cpu
        return load

    return asyncio.run(run())
