from __future__ import annotations

import math

import numpy as np
import pytest

from greenflow_ray.errors import DataError
from greenflow_ray.report.contents import Moment
from greenflow_ray.report.course import budget_course, intensity_changes, replica_states, steps, trajectory_of
from tests.report.conftest import BUDGET, CLEAN_T, ORDER_T, ledger_rows


def moment(t: float, **values: object) -> Moment:
    return Moment.model_validate({"t": t, "version": 1, "price": 1e-9, **values})


def test_a_ledgers_rows_become_moments() -> None:
    found = trajectory_of(ledger_rows(1000.5), 1000.0)
    assert [m.t for m in found[:3]] == [0.0, 0.5, 1.5]  # the second before the start holds at 0
    last = found[-1]
    assert (last.bound_by, last.grams_per_kwh, last.carbon_stale) == ("grams_per_hour", 520.0, True)
    assert last.replicas == {"gateway": 1, "ranking-dien": 2, "ranking-din": 2}
    assert last.budget == pytest.approx(0.5 * BUDGET)


def test_what_a_row_does_not_say_is_unknown() -> None:
    (found,) = trajectory_of([{"t": 5.0, "version": 1, "price": 2.0}], 3.0)
    assert found == Moment(t=2.0, version=1, price=2.0)
    (found,) = trajectory_of([{"t": 5.0, "version": 1, "price": 2.0, "watts": None, "replicas": None}], 3.0)
    assert found == Moment(t=2.0, version=1, price=2.0)


@pytest.mark.parametrize("wrong", [{"spend": "much"}, {"replicas": 3}, {"bound_by": 7}, {"t": None}])
def test_a_row_that_holds_something_else_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match="give the trajectory"):
        trajectory_of([{"t": 5.0, "version": 1, "price": 2.0, **wrong}], 0.0)


def test_the_budgets_course_is_the_ledgers_where_it_knows_one() -> None:
    known = [moment(0, budget=5.0), moment(1, budget=5.0), moment(2, budget=None), moment(3, budget=7.0)]
    found = budget_course(known, 99.0)
    assert found is not None
    assert found.times.tolist() == [0.0, 2.0, 3.0]
    assert found.flops_per_second.tolist() == [5.0, math.inf, 7.0]
    constant = budget_course([moment(0), moment(1)], 99.0)
    assert constant is not None
    assert constant.flops_per_second.tolist() == [99.0]
    assert budget_course([moment(0)], None) is None


def test_steps_take_the_last_known_value() -> None:
    course = [moment(0), moment(1, watts=3.0), moment(2), moment(3, watts=5.0)]
    found = steps(course, "watts", np.arange(6.0))
    assert found.tolist() == [3.0, 3.0, 3.0, 5.0, 5.0]
    assert np.isnan(steps(course, "grams_per_kwh", np.arange(3.0))).all()


def test_changes_of_the_grid_and_of_replicas_are_found() -> None:
    course = trajectory_of(ledger_rows(0.0), 0.0)
    assert intensity_changes(course, 60.0) == [(CLEAN_T, 240.0, 520.0)]
    assert intensity_changes(course, CLEAN_T) == []
    assert intensity_changes([moment(0), moment(1)], 60.0) == []
    for end, moved in ((60.0, ["ranking-dien", "ranking-din"]), (ORDER_T, [])):
        assert [name for name, n in replica_states(course, end)[0].items() if len(set(n)) > 1] == moved
