"""What all tests share: whoever starts Ray in this process stops it, and nothing survives the session."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_ray_left() -> Iterator[None]:
    """A test that forgot to stop Ray must not leave its processes to the machine, and must be told."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("a test left Ray running; use greenflow_ray.serving.local.launch.start or call ray.shutdown()")
