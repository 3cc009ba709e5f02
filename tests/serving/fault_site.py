"""The application that fault tests share: two allocators, a first price, and a wall clock that can be stepped."""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from greenflow_ray import config as configuration
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.pricing.store.records import PriceDraft
from greenflow_ray.pricing.store.sqlite_store import SqlitePriceStore
from greenflow_ray.serving.local.launch import Server, free_port, start
from tests.serving.fakes import PATIENCE_S, ByCost, cascade
from tests.serving.test_application import GOOD_USERS, WORLD, Running

ALLOCATORS = 2

_CLOCK_HOOK = """
import functools, mmap, time
with open({path!r}, "r+b") as file:
    back = memoryview(mmap.mmap(file.fileno(), 8)).cast("d")
def stepped(real, unit):
    return functools.update_wrapper(lambda: real() - unit(back[0]), real)
time.time, time.time_ns = stepped(time.time, float), stepped(time.time_ns, lambda s: int(s * 1e9))
"""


class Clock:
    """The wall clock of every process that the application consists of, through a file that all of them map."""

    def __init__(self, hooks: Path) -> None:
        self._path = hooks / "clock"
        self.back(0.0)
        (hooks / "sitecustomize.py").write_text(_CLOCK_HOOK.format(path=str(self._path)))

    def back(self, seconds: float) -> None:
        """Let it say so many seconds less than the true time."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:  # in place: it is mapped
            file.write(struct.pack("d", seconds))


@dataclass
class Site(Running):
    """The application that all faults share, and its clock; each fault leaves both as it found them.

    ``asked`` are the receipts of single requests beside the loads: they are charged too.
    """

    server: Server
    clock: Clock
    folder: Path
    asked: list[dict[str, Any]] = field(default_factory=list)

    def recommend(self, body: Any, **query: Any) -> Any:
        answer = super().recommend(body, **query)
        self.asked.append(answer["receipt"])
        return answer

    def stats(self) -> dict[str, Any]:
        """As soon as the ledger answers."""
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            answer = self.http.get("/v1/stats")
            found.extend([answer.json()] if answer.status_code == 200 else [])
            return bool(found)

        assert wait_for(answered) is not None, "the ledger does not answer"
        return found[0]

    def samples(self, kind: str) -> int:
        """Sample rows ``written`` or ``dropped`` so far."""
        return int(self.stats()["samples"][kind])

    def order(self) -> dict[str, Any]:
        """``/v1/budget``, or nothing while the ledger does not answer."""
        answer = self.http.get("/v1/budget")
        return answer.json() if answer.status_code == 200 else {}

    def follows(self, version: int) -> bool:
        """Whether the ledger prices from this version."""
        return bool(self.order().get("price_version") == version)

    def published(self) -> int:
        """The store's newest version, read as a bystander would."""
        with SqlitePriceStore(self.config.paths.prices) as store:
            latest = store.latest()
            return latest.version if latest else 0

    def publish(self, worth: float = 1.0, path: Path | None = None) -> int:
        """Publish the world's frontier, as many rows as a window has, every reward times ``worth``; its version."""
        rows = TableFeatures(WORLD.dataset.users).rows(np.array(GOOD_USERS * 50))
        frontier = Frontier.build(np.float32(worth) * ByCost(self.space).predict(rows), self.space.costs)
        with SqlitePriceStore(path or self.config.paths.prices) as store:
            latest = store.latest()
            draft = PriceDraft(frontier, 0.0, frontier.requests, {"chains": self.space.digest})
            return store.publish(draft, expected_version=latest.version if latest else 0).version

    def whole(self) -> bool:
        """Whether every part answers, and an answer is undegraded."""
        parts = self.http.get("/readyz").json()["parts"]
        return all(parts.values()) and not self.recommend({"user_id": GOOD_USERS[0]})["receipt"]["degraded"]


@contextmanager
def serving(folder: Path, **deadlines: float) -> Iterator[Site]:
    """The tiny world's application: two allocators, a first price, and a clock that can be stepped.

    ``deadlines`` are fields of the configuration's ``serving`` section.
    """
    hooks = folder / "hooks"
    hooks.mkdir(parents=True)
    clock = Clock(hooks)
    config = cascade(
        folder / "run",
        free_port(),
        serving={"allocator": {"replicas": ALLOCATORS}, **deadlines},
    )
    configuration.store(config)
    sys.path.insert(0, str(hooks))  # Ray's processes are handed this process's paths as their PYTHONPATH
    application = start(config, ready_s=PATIENCE_S)
    try:
        with application as server, httpx.Client(base_url=server.url, timeout=20, trust_env=False) as http:
            site = Site(http, config, WORLD.space, application, server, clock, folder)
            site.publish()
            yield site
    finally:
        sys.path.remove(str(hooks))


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_S) -> float | None:
    """Seconds until ``condition`` held, None if it did not in time."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() > began + seconds:
            return None
        time.sleep(0.1)
    return time.monotonic() - began
