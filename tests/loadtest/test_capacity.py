from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.capacity import find
from greenflow_ray.loadtest.result import SHED, ArmResult, Requests


def served(rate: float, capacity: float, *, sheds: bool = False, slow: float = 0.0) -> ArmResult:
    """Five seconds at a rate: 50 ms below the capacity, above it late or shed."""
    n = max(int(rate * 5), 1)
    requests = Requests.blank(np.arange(n), np.linspace(0, 4.9, n))
    late = rate > capacity
    requests.status[:] = SHED if late and sheds else 200
    requests.latency[:] = 0.6 if late and not sheds else 0.05
    requests.sent[:] = requests.scheduled
    return ArmResult("a", 0.0, 5.0, 20, requests, ("c",), (1,), client_cpu_peak=slow)


@pytest.mark.parametrize("capacity", [0.6, 7.0, 10.0, 333.0])
@pytest.mark.parametrize("sheds", [False, True])
def test_it_finds_the_greatest_rate_that_is_held(capacity: float, sheds: bool) -> None:
    found = find(lambda rate: served(rate, capacity, sheds=sheds), 0.25)
    assert capacity / 1.06 <= found.rate <= capacity
    assert found.rate == max(step.rate for step in found.steps if step.held)
    assert all(("shed" if sheds else "p99 600 ms") in step.why for step in found.steps if not step.held)
    assert len(found.steps) < 16
    assert found.as_json()["steps"][0]["rate"] == 10.0


def test_where_nothing_holds_it_says_nothing() -> None:
    assert find(lambda rate: served(rate, 0.0), 0.25).rate == 0.0


def test_a_slow_client_is_not_taken_for_a_slow_server() -> None:
    found = find(lambda rate: served(rate, 100.0, slow=float(rate > 30)), 0.25)
    assert 30 / 1.06 <= found.rate <= 30
    assert any("load generator" in step.why for step in found.steps)


@pytest.mark.parametrize("wrong", [{"limit_s": 0.0}, {"start": 0.0}, {"precision": 1.0}])
def test_impossible_arguments_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="capacity"):
        find(lambda rate: served(rate, 1.0), **{"limit_s": 1.0, **wrong})
