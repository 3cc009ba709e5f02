from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult, Requests
from greenflow_ray.loadtest.windows import (
    After,
    BudgetCourse,
    edges,
    first_second,
    kept,
    over_after,
    settling_s,
    spend,
)


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


def course(*points: tuple[float, float]) -> BudgetCourse:
    times, rates = zip(*points, strict=True)
    return BudgetCourse(np.array(times), np.array(rates))


def test_a_budgets_course_holds_until_its_next_time() -> None:
    found = course((0, 10), (4, 20), (7, np.inf))
    assert [found.at(t) for t in (-1, 0, 3.9, 4, 7, 100)] == [10, 10, 10, 20, np.inf, np.inf]
    assert found.integral(np.array([0.0, 5.0, 6.0, 10.0])).tolist() == [60.0, 20.0, np.inf]
    assert course((3, 5), (4, 7)).integral(np.array([0.0, 2.0, 5.0])).tolist() == [10.0, 17.0]


@given(
    st.lists(st.tuples(st.floats(0.01, 5), st.floats(0, 1e12)), min_size=1, max_size=8),
    st.lists(st.floats(0.1, 7), min_size=1, max_size=8),
)
def test_a_budgets_windows_add_up_to_its_whole(steps: list[tuple[float, float]], widths: list[float]) -> None:
    found = BudgetCourse(np.cumsum([gap for gap, _ in steps]), np.array([rate for _, rate in steps]))
    bounds = np.concatenate([[0.0], np.cumsum(widths)])
    fine = np.linspace(0, bounds[-1], 3)
    assert found.integral(bounds).sum() == pytest.approx(found.integral(fine).sum(), rel=1e-9, abs=1e-3)


def test_steps_are_changes_that_matter_inside_the_run() -> None:
    found = course((0, 100), (2, 103), (5, 50), (6, np.inf), (20, 10))
    assert found.steps(10.0) == [(5.0, 100.0, 50.0), (6.0, 50.0, np.inf)]


@pytest.mark.parametrize(
    ("times", "rates", "what"),
    [([], [], "one length"), ([0, 1], [1], "one length"), ([1, 1], [1, 2], "increase"), ([0], [-1], "at least 0"),
     ([0], [np.nan], "at least 0"), ([np.nan], [1], "finite")],
)  # fmt: skip
def test_a_course_that_cannot_be_is_refused(times: list[float], rates: list[float], what: str) -> None:
    with pytest.raises(DataError, match=what):
        BudgetCourse(np.array(times), np.array(rates))


def test_a_budget_that_changes_inside_a_window_is_its_integral() -> None:
    equal = arm([1, 2, 6, 7], [1, 1, 1, 1])
    green = arm([1, 2, 6, 7], [0, 0, 1, 1])
    # C = 2.5·16 + 2.5·24 = 100 and 5·24 = 120: μ = mean(20/100, 120/120), ν = mean(0, 80/120)
    found = kept(equal, green, course((0, 16), (2.5, 24)))
    assert found.utilisation == pytest.approx((0.2 + 1) / 2)
    assert found.overuse == pytest.approx(80 / 120 / 2)
    assert kept(equal, green, course((0, 20))) == kept(equal, green, 20.0)


def test_without_a_limit_nothing_is_over_and_all_that_is_asked_can_be_used() -> None:
    equal, green = arm([1, 6], [1, 1]), arm([1, 6], [1, 0])
    found = kept(equal, green, course((0, np.inf)))
    assert (found.utilisation, found.overuse, found.worst) == (pytest.approx((1 + 0.1) / 2), 0.0, 0.0)


def test_a_budget_of_nothing_leaves_its_windows_out() -> None:
    found = kept(arm([1, 6], [1, 1]), arm([1, 6], [1, 1]), course((0, 0), (5, 40)))
    assert (found.utilisation, found.overuse, found.worst) == (1.0, 0.0, 0.5)
    assert np.isnan(first_second(np.array([0.5]), np.array([7]), course((0, 0)), 0.0))


def test_the_first_second_and_what_comes_after_it() -> None:
    times = np.array([9.9, 10.0, 10.5, 10.999, 11.0, 15.9, 16.0, 20.9, 21.0])
    flops = np.array([1000, 10, 10, 10, 40, 20, 30, 15, 1000])
    budget = course((0, 10))
    assert first_second(times, flops, budget, 10.0) == 3.0
    # Windows [11, 16) and [16, 21) of 50 FLOPs each: 60 and 45
    assert over_after(times, flops, budget, 10.0, 21.0) == After(2, 1, 1.2)
    assert over_after(times, flops, course((0, 10), (11, 20)), 10.0, 21.0).over == 0
    assert over_after(times, flops, budget, 10.0, 11.0) == After(0, 0, 0.0)


def test_settling_is_the_first_half_second_from_which_two_seconds_keep_the_new_budget() -> None:
    times = np.arange(0, 20, 0.1) + 0.05
    spent = np.where(times < 11.2, 100, 10)  # 1,000 FLOP/s until 1.2 s after the change, then 100
    budget = course((0, 1000), (10, 100))
    assert settling_s(times, spent, budget, 10.0, 20.0) == 1.5
    assert settling_s(times, np.where(times < 11.2, 100, 11), budget, 10.0, 20.0) is None  # 10 % above stays above
    assert settling_s(times, np.where(times < 11.2, 100, 10), budget, 10.0, 12.9) is None  # not seen so early
    assert settling_s(times, spent, course((0, 100), (10, 1000)), 10.0, 20.0) == 0.0  # raised: met at once
