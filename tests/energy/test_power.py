from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.power import ENOUGH_S, PowerModel
from greenflow_ray.errors import DataError, ResourceProblem

LEVELS = (1e9, 4e9)


def taught(*loads: float, fixed: float = 20.0, slope: float = 5e-9, rounds: int = 100) -> PowerModel:
    model = PowerModel()
    for _ in range(rounds):
        for load in loads:
            model.learn(load, fixed + slope * load, 1.0)
    return model


intervals = st.lists(
    st.tuples(
        st.one_of(st.just(0.0), st.floats(1e3, 1e15)),
        st.floats(0, 1e6),
        st.floats(0, 600),
    ),
    max_size=40,
)


def test_a_straight_line_is_found() -> None:
    model = taught(*LEVELS)
    assert (model.fixed, model.per_flop) == (pytest.approx(20), pytest.approx(5e-9))
    assert model.flops_per_second(30.0) == pytest.approx(2e9)
    assert model.flops_per_second(19.0) == 0.0
    assert model.watts(2e9) == pytest.approx(30.0)


def test_with_one_level_of_load_watts_are_proportional() -> None:
    model = taught(2e9)
    assert model.fixed == 0.0
    assert model.flops_per_second(30.0) == pytest.approx(2e9)
    assert model.flops_per_second(60.0) == pytest.approx(4e9)  # the truth would be 8e9: the careful side
    assert "proportional" in model.label


def test_intervals_without_traffic_teach_the_fixed_part_and_do_not_wash_out_the_slope() -> None:
    model = taught(2e9)
    for _ in range(5000):
        model.learn(0.0, 20.0, 10.0)
    assert (model.fixed, model.per_flop) == (pytest.approx(20), pytest.approx(5e-9))
    quiet = PowerModel()
    for _ in range(100):
        quiet.learn(0.0, 20.0, 10.0)
    assert not quiet.known


def test_a_change_is_followed_and_the_old_forgotten() -> None:
    model = taught(*LEVELS)
    for _ in range(5000):
        for load in LEVELS:
            model.learn(load, 5.0 + 1e-9 * load, 1.0)
    assert (model.fixed, model.per_flop) == (pytest.approx(5, rel=0.02), pytest.approx(1e-9, rel=0.02))


def test_slopes_and_fixed_parts_that_cannot_be_are_not_learned() -> None:
    falling = PowerModel()
    through_zero = PowerModel()
    for _ in range(100):
        for load, watts, late in ((1e9, 50.0, 2.0), (4e9, 30.0, 50.0)):
            falling.learn(load, watts, 1.0)
            through_zero.learn(load, late, 1.0)
    assert (falling.fixed, through_zero.fixed) == (0.0, 0.0)
    assert falling.flops_per_second(40.0) == pytest.approx(2.5e9, rel=1e-3)
    flat = taught(*LEVELS, slope=0.0)
    assert flat.per_flop is not None
    assert flat.per_flop > 0
    assert flat.flops_per_second(20.0) == pytest.approx(2.5e9, rel=1e-3)


def test_the_prior_serves_until_enough_was_seen() -> None:
    model = PowerModel(EnergyConfig(joules_per_flop=1e-8))
    assert model.known
    assert (model.watts(1e9), model.flops_per_second(10.0)) == (pytest.approx(10.0), pytest.approx(1e9))
    assert "energy.joules_per_flop" in model.label
    for second in range(int(ENOUGH_S)):
        assert model.watts(1e9) == pytest.approx(10.0), second
        model.learn(1e9, 3.0, 1.0)
    assert model.watts(1e9) == pytest.approx(3.0)
    assert model.label.startswith("learned")


def test_without_prior_and_traffic_it_is_unknown_and_says_so() -> None:
    model = PowerModel()
    assert (model.known, model.label, model.fixed, model.per_flop) == (False, "unknown", None, None)
    with pytest.raises(ResourceProblem, match=r"energy\.joules_per_flop"):
        model.flops_per_second(100.0)
    for _ in range(200):
        model.learn(1e9, 0.0, 1.0)  # FLOPs that draw nothing: the meter is broken
    assert not model.known


@given(seen=intervals, watts=st.lists(st.floats(0, 1e7), min_size=2, max_size=6))
def test_the_inverse_is_monotone_and_keeps_the_watts(
    seen: list[tuple[float, float, float]], watts: list[float]
) -> None:
    model = PowerModel(EnergyConfig(joules_per_flop=1e-9))
    for load, drawn, seconds in seen:
        model.learn(load, drawn, seconds)
    assert model.fixed is not None
    assert model.per_flop is not None
    assert model.fixed >= 0
    assert model.per_flop > 0
    found = [model.flops_per_second(w) for w in sorted(watts)]
    assert found == sorted(found)
    assert all(math.isfinite(flops) and flops >= 0 for flops in found)
    for w, flops in zip(sorted(watts), found, strict=True):
        assert model.watts(flops) == pytest.approx(max(w, model.fixed), rel=1e-9, abs=1e-12)


@given(seen=intervals)
def test_a_saved_model_goes_on_the_same(seen: list[tuple[float, float, float]]) -> None:
    model, again = PowerModel(), PowerModel()
    for load, drawn, seconds in seen:
        model.learn(load, drawn, seconds)
    again.restore(json.loads(json.dumps(model.state(), allow_nan=False)))
    for each in (model, again):
        each.learn(1e9, 30.0, 100.0)
    assert (again.fixed, again.per_flop, again.label) == (model.fixed, model.per_flop, model.label)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_impossible_numbers_are_refused_and_change_nothing(bad: float) -> None:
    model = taught(*LEVELS)
    before = model.state()
    for numbers in ((bad, 1.0, 1.0), (1.0, bad, 1.0), (1.0, 1.0, bad)):
        with pytest.raises(DataError):
            model.learn(*numbers)
    model.learn(1e9, 500.0, 0.0)
    assert model.state() == before


@pytest.mark.parametrize("state", [{}, {"busy": 1, "quiet": 2, "traffic_s": 3}, {"busy": {}, "quiet": {}}])
def test_a_malformed_state_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(DataError, match="start afresh"):
        PowerModel().restore(state)
    with pytest.raises(DataError, match="without seconds"):
        PowerModel().restore({**PowerModel().state(), "traffic_s": 100.0})
    broken = taught(*LEVELS).state()
    broken["busy"]["watts"] = "nan"
    with pytest.raises(DataError, match="start afresh"):
        PowerModel().restore(broken)
