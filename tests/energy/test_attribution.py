from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.energy.attribution import MICRO, share, split
from greenflow_ray.errors import DataError

amounts = st.floats(0, 1e7, allow_nan=False)
weights = st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0, 1e6), max_size=8)


@given(joules=amounts, parts=weights, whole=st.none() | st.floats(0, 1e7))
def test_parts_and_rest_add_up_exactly(joules: float, parts: dict[str, float], whole: float | None) -> None:
    found = share(joules, parts, whole)
    assert found.total == round(joules * MICRO)
    assert found.unattributed >= 0
    assert all(value >= 0 for value in found.microjoules.values())


@given(microjoules=st.integers(0, 10**15), parts=weights)
def test_whole_microjoules_are_split_without_loss(microjoules: int, parts: dict[str, float]) -> None:
    found = split(microjoules, parts)
    assert found.total == microjoules
    assert found.unattributed == (0 if any(parts.values()) else microjoules)
    assert all(value >= 0 for value in found.microjoules.values())


def test_shares_follow_the_work() -> None:
    found = share(100.0, {"din": 30.0, "dien": 10.0}, whole=80.0)
    assert found.joules == {"din": 37.5, "dien": 12.5}
    assert found.unattributed_joules == 50.0
    assert found.attributed_joules == 50.0


def test_without_a_whole_nothing_is_left_over() -> None:
    assert share(1.0, {"a": 1.0, "b": 1.0, "c": 1.0}).unattributed == 0


def test_parts_that_exceed_the_whole_take_all_of_it_and_no_more() -> None:
    found = share(10.0, {"a": 6.0, "b": 6.0}, whole=11.0)
    assert found.joules == {"a": 5.0, "b": 5.0}
    assert found.unattributed == 0


def test_without_work_all_is_unattributed() -> None:
    found = share(3.0, {"a": 0.0})
    assert (found.joules, found.unattributed_joules) == ({"a": 0.0}, 3.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_impossible_numbers_are_refused(bad: float) -> None:
    with pytest.raises(DataError, match="joules"):
        share(bad, {"a": 1.0})
    with pytest.raises(DataError, match="din"):
        share(1.0, {"din": bad})
