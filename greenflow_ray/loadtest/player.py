"""One playing of a trace over HTTP: every request when it is due, its answer judged after its clock has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np

from greenflow_ray.loadtest.judge import Judge, Receipts
from greenflow_ray.loadtest.result import BAD_ANSWER, NO_CONNECTION, SHED, TIMED_OUT, ArmResult, Requests
from greenflow_ray.loadtest.trace import Trace

_CPU_WINDOW_S = 1.0
_RECENT_S = 5.0


@dataclass(frozen=True)
class Progress:
    """Where a playing trace stands: counts so far; ``rate`` (answers a second) and ``p99`` (seconds) of late."""

    arm: str
    elapsed_s: float
    duration_s: float
    due: int
    sent: int
    answered: int
    shed: int
    errors: int
    degraded: int
    clicks: int
    flops: int
    rate: float
    p99: float
    total: int


@dataclass(frozen=True)
class ClientOptions:
    """Bounds and habits of the load generator.

    Requests beyond ``outstanding`` are counted as errors and not sent: a client that waits is no longer open loop.
    """

    connections: int = 256  # kept open at most; a request that waits for one is late, and its latency shows it
    outstanding: int = 4096  # requests awaited at once at most
    timeout_s: float = 10.0  # a request is given up this long after it was sent
    feedback_s: float = 0.5  # clicks are gathered and reported this often
    feedback_batch: int = 64  # messages in one report at most
    progress_s: float = 0.5  # the progress callback is called this often


@dataclass(eq=False)
class Player:
    """One playing of a trace: a dispatcher, a task a request, a judge and a reporter beside them."""

    session: aiohttp.ClientSession
    url: str
    trace: Trace
    judge: Judge
    chains: dict[str, int]  # FLOPs of the server's chains
    name: str
    body: dict[str, Any]  # what every request asks for
    options: ClientOptions
    on_progress: Callable[[Progress], None] | None

    def __post_init__(self) -> None:
        self._k: int | None = self.body.get("k")
        self._columns = Requests.blank(self.trace.user_ids, self.trace.times)
        self._receipts = Receipts(self._columns, self.chains)
        self._prefix = f"{self.name}-{secrets.token_hex(4)}-"
        self._answers: asyncio.Queue[tuple[int, int, bytes] | None] = asyncio.Queue()
        self._messages: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._start = 0.0
        self._accepted = self._failed = self._due = self._sent = self._answered = self._shed = self._errors = 0
        self._recent: deque[tuple[float, float]] = deque()  # when answers of late came, and their latencies
        self._cpu_peak = 0.0
        self._judged = asyncio.Event()

    async def run(self) -> ArmResult:
        """Play the whole trace, then wait for the last answers and their judgement."""
        loop = asyncio.get_running_loop()
        began, cpu = loop.time(), time.thread_time()
        self._start = began + 0.05
        started_at = time.time() + 0.05
        helpers = [asyncio.create_task(self._judge_answers()), asyncio.create_task(self._send_feedback())]
        reporters = [asyncio.create_task(self._report_progress()), asyncio.create_task(self._watch_own_cpu())]
        try:
            await self._dispatch()
            await asyncio.gather(*self._tasks)
            # The window lasts as long as the trace even if its last stretch is empty: both arms are measured alike.
            await asyncio.sleep(max(0.0, self._start + self.trace.duration_s - loop.time()))
            await self._answers.put(None)
            await asyncio.gather(*helpers)
            self._tell()
        finally:
            left = [*helpers, *reporters, *self._tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        cpu = time.thread_time() - cpu
        share = cpu / (loop.time() - began)
        return ArmResult(
            name=self.name,
            started_at=started_at,
            duration_s=self.trace.duration_s,
            k=self._k,
            requests=self._columns,
            chains=tuple(self.chains),
            chain_flops=tuple(self.chains.values()),
            reasons=tuple(self._receipts.reasons),
            client_cpu_seconds=cpu,
            client_cpu_share=share,
            client_cpu_peak=max(share, self._cpu_peak),
            feedback_accepted=self._accepted,
            feedback_failed=self._failed,
        )

    async def _dispatch(self) -> None:
        """Start each request's task at its instant; never wait for an answer."""
        loop = asyncio.get_running_loop()
        due = (self._start + self.trace.times).tolist()
        users = self.trace.user_ids.tolist()
        for row, (moment, user) in enumerate(zip(due, users, strict=True)):
            while (wait := moment - loop.time()) > 0:
                await asyncio.sleep(wait)
            self._due = row + 1
            if len(self._tasks) >= self.options.outstanding:
                self._errors += 1
                await asyncio.sleep(0)  # let answers in, even while late
                continue
            task = loop.create_task(self._ask(row, user, moment))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if row % 32 == 31:
                await asyncio.sleep(0)  # a burst of overdue requests must not keep answers from being read

    async def _ask(self, row: int, user: int, moment: float) -> None:
        """One request: note times and status, hand the body to the judge."""
        loop = asyncio.get_running_loop()
        body = json.dumps({"user_id": user, "request_id": self._prefix + str(row), **self.body})
        columns = self._columns
        columns.sent[row] = loop.time() - self._start
        self._sent += 1
        try:
            async with self.session.post(self.url + "/v1/recommend", data=body) as response:
                content = await response.read()
                columns.latency[row] = loop.time() - moment
                status = response.status
        except (aiohttp.ClientError, OSError) as error:
            columns.latency[row] = loop.time() - moment
            status, content = TIMED_OUT if isinstance(error, TimeoutError) else NO_CONNECTION, b""
        columns.status[row] = status
        if 200 <= status < 300:
            self._answers.put_nowait((row, user, content))
            self._recent.append((loop.time(), float(columns.latency[row])))
        elif status == SHED:
            self._shed += 1
        else:
            self._errors += 1

    async def _judge_answers(self) -> None:
        """Read answers after the clock of their request has stopped."""
        columns = self._columns
        while (entry := await self._answers.get()) is not None:
            row, user, content = entry
            try:
                answer = json.loads(content)
            except ValueError:
                answer = None
            items = self._receipts.write(row, answer)
            if items is None:
                columns.status[row] = BAD_ANSWER
                self._errors += 1
            else:
                self._answered += 1
                found = self.judge.clicked(user, items, self._k)
                if found:
                    columns.clicks[row] = len(found)
                    self._messages.append({"request_id": str(answer.get("request_id")), "clicks": found})
            await asyncio.sleep(0)
        self._judged.set()

    async def _send_feedback(self) -> None:
        """Report clicks in batches, off the timing path; a failure is counted, not raised."""
        while True:
            finished = self._judged.is_set()
            while self._messages:
                batch = self._messages[: self.options.feedback_batch]
                del self._messages[: len(batch)]
                try:
                    async with self.session.post(self.url + "/v1/feedback", data=json.dumps(batch)) as response:
                        await response.read()
                        good = 200 <= response.status < 300
                except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
                    good = False
                self._accepted += len(batch) if good else 0
                self._failed += 0 if good else len(batch)
            if finished:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._judged.wait(), self.options.feedback_s)

    async def _report_progress(self) -> None:
        while self.on_progress is not None:
            await asyncio.sleep(self.options.progress_s)
            self._tell()

    async def _watch_own_cpu(self) -> None:
        """Note the busiest second of this client: its mean would hide that it could not keep up in a spike."""
        loop = asyncio.get_running_loop()
        at, used = loop.time(), time.thread_time()
        while True:
            await asyncio.sleep(_CPU_WINDOW_S)
            before, at, used_before, used = at, loop.time(), used, time.thread_time()
            self._cpu_peak = max(self._cpu_peak, (used - used_before) / (at - before))

    def _tell(self) -> None:
        if self.on_progress is None:
            return
        now = asyncio.get_running_loop().time()
        while self._recent and self._recent[0][0] < now - _RECENT_S:
            self._recent.popleft()
        recent = [latency for _, latency in self._recent]
        columns = self._columns
        elapsed = min(max(0.0, now - self._start), self.trace.duration_s)
        self.on_progress(
            Progress(
                arm=self.name,
                elapsed_s=elapsed,
                duration_s=self.trace.duration_s,
                due=self._due,
                sent=self._sent,
                answered=self._answered,
                shed=self._shed,
                errors=self._errors,
                degraded=int(columns.degraded.sum()),
                clicks=int(columns.clicks.sum()),
                flops=int(columns.flops.sum()),
                rate=len(recent) / min(_RECENT_S, max(now - self._start, 1e-9)),
                p99=float(np.quantile(recent, 0.99)) if recent else float("nan"),
                total=len(self.trace),
            )
        )
