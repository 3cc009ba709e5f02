"""Small executions of Ray Data, without the two actors it keeps for its dashboard page and for autoscaling."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import ray


@contextmanager
def alone(wanted: bool = True) -> Iterator[None]:
    """Inside, Ray Data starts no ``_StatsActor`` and no ``_AutoscalingCoordinatorActor``; without effect if not wanted.

    Each is a process that outlives the execution: a CPU-second to start, and 0.7 % of a core for as long as the cluster
    lives. An execution of one task costs less than that, and no further node would speed it up. Ray has no setting;
    where another version of it keeps them elsewhere, they are started as ever.
    """
    with ExitStack() as stack:
        if wanted:
            for module, name, stand_in in _ACTORS:
                stack.enter_context(_replaced(module, name, stand_in))
        yield


@contextmanager
def _replaced(module: str, name: str, stand_in: Any) -> Iterator[None]:
    try:
        found = importlib.import_module(module)
    except ImportError:
        found = None
    if not hasattr(found, name):
        yield
        return
    before = getattr(found, name)
    setattr(found, name, stand_in)
    try:
        yield
    finally:
        setattr(found, name, before)


class _Method:
    """Stands for an actor's method, and runs here."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work

    def remote(self, *_: Any, **__: Any) -> Any:
        return self._work()


class _NoStatistics:
    """Takes every figure that Ray Data reports, and drops it."""

    def __getattr__(self, name: str) -> _Method:
        return _Method(lambda: None)


class _NoScaling:
    """Asks for no node, and grants the cluster as it is."""

    def __init__(self) -> None:
        self.request_resources = _Method(lambda: None)
        self.cancel_request = _Method(lambda: None)
        self.get_reserved_resources = _Method(lambda: ray.put(_resources()))


def _resources() -> dict[str, dict[str, float]]:
    """Resources of every living node, by its id."""
    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


_ACTORS = (
    ("ray.data._internal.stats", "get_or_create_stats_actor", _NoStatistics),
    (
        "ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator",
        "get_or_create_autoscaling_coordinator",
        _NoScaling,
    ),
)
