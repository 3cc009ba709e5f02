"""What all tests share: who runs which, and whoever starts Ray in this process stops it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("thorough")
"""``make test-all``: property tests draw as many examples as ``tests.examples.many`` is told."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray come first, and one process runs them all, while another runs the rest file by file."""
    for item in items:
        group = "ray" if _starts_ray(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_starts_ray, reverse=True)


def _starts_ray(item: pytest.Item) -> bool:
    return item.get_closest_marker("serve") is not None


@pytest.fixture(scope="session", autouse=True)
def no_ray_left() -> Iterator[None]:
    """A test that forgot to stop Ray must not leave its processes to the machine, and must be told."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        pytest.fail("a test left Ray running; use greenflow_ray.serving.local.launch.start or call ray.shutdown()")
