"""What all tests share: in which order and process they run, and that nobody leaves Ray running."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Two processes share the cores, and what they train is small: threads that wait for each other would cost most of it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile("thorough")
"""For ``make test-all``: property tests draw as many examples as ``tests.examples.many`` is told."""


class RayApart(LoadScopeScheduling):
    """Files that start Ray are one piece of work, every other file is another."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "ray" if starts_ray(self.config.rootpath / file) else file


@cache
def starts_ray(file: Path) -> bool:
    return "pytest.mark.serve" in file.read_text(encoding="utf-8")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RayApart:
    return RayApart(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What starts Ray comes first: it is the longest piece of work."""
    items.sort(key=lambda item: starts_ray(item.path), reverse=True)


@pytest.fixture(scope="session", autouse=True)
def no_ray_left() -> Iterator[None]:
    """A test that forgot to stop Ray must not leave its processes to the machine, and must be told."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("a test left Ray running; use greenflow_ray.serving.local.launch.start or call ray.shutdown()")
