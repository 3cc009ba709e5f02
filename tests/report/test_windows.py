from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from greenflow_ray.loadtest.result import ArmResult, Requests
from greenflow_ray.report.windows import edges, kept, spend


def arm(times: list[float], chains: list[int], status: list[int] | None = None, duration_s: float = 10.0) -> ArmResult:
    rows = Requests.blank(np.arange(len(times)), np.array(times))
    rows.chain[:] = chains
    rows.status[:] = status or [200] * len(times)
    rows.chain[rows.status != 200] = -1
    return ArmResult("arm", 0.0, duration_s, 20, rows, ("cheap", "full"), (10, 100))


def test_windows_cover_the_duration_and_the_last_may_be_short() -> None:
    assert edges(12.0, 5.0).tolist() == [0.0, 5.0, 10.0, 12.0]
    assert edges(60.0, 5.0)[-2:].tolist() == [55.0, 60.0]
    assert edges(3.0, 5.0).tolist() == [0.0, 3.0]


def test_utilisation_and_overuse_by_hand() -> None:
    equal = arm([1, 2, 6, 7], [1, 1, 1, 1])
    green = arm([1, 2, 6, 7], [0, 0, 1, 1])
    # C = 100 a window; spend 20 and 200, demand 200 and 200: μ = mean(20/100, 100/100), ν = mean(0, 100/100)
    found = kept(equal, green, 20.0)
    assert (found.utilisation, found.overuse, found.windows, found.worst) == (0.6, 0.5, 2, 2.0)


def test_a_window_without_enough_demand_can_still_be_fully_used() -> None:
    equal = arm([1, 6, 7], [1, 1, 1])
    green = arm([1, 6, 7], [1, 1, 0])
    found = kept(equal, green, 40.0)  # C = 200; demand 100 and 200, spend 100 and 110
    assert found.utilisation == pytest.approx((1 + 110 / 200) / 2)
    assert found.overuse == 0


def test_requests_that_the_equal_arm_failed_still_count_as_demand() -> None:
    green = arm([1, 2], [0, 0], duration_s=5.0)
    whole = kept(arm([1, 2], [1, 1], duration_s=5.0), green, 40.0)
    failed = kept(arm([1, 2], [1, 1], [200, 503], duration_s=5.0), green, 40.0)
    assert failed == whole


def test_spend_uses_the_list_of_chains_and_not_the_receipts_number() -> None:
    green = arm([1, 6], [0, 1])
    lied = dataclasses.replace(green.requests, flops=np.array([7, 7]))
    assert spend(dataclasses.replace(green, requests=lied), edges(10.0, 5.0)).tolist() == [10.0, 100.0]
