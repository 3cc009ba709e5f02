from __future__ import annotations

import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.limits import Bound, Limits, binding
from greenflow_ray.energy.power import PowerModel

MODEL = PowerModel(EnergyConfig(joules_per_flop=1e-9))  # one watt is 1e9 FLOP/s
MIDNIGHT = 20_000 * 86_400.0
NAMES = list(Limits.model_fields)


def grid(grams: float, *, stale: bool = False) -> CarbonIntensity:
    return CarbonIntensity(grams, "test", "average", 0.0, stale)


def bound(
    limits: Limits,
    *,
    model: PowerModel = MODEL,
    intensity: CarbonIntensity | None = None,
    joules: float = 0.0,
    hour: float = 12.0,
) -> Bound:
    return binding(limits, model, intensity, joules, MIDNIGHT + hour * 3600, core=1e9)


def test_no_limit_binds_nothing() -> None:
    assert bound(Limits()) == Bound(None, None, None)


def test_flops_need_no_model() -> None:
    assert bound(Limits(flops_per_second=7e9), model=PowerModel()) == Bound(7e9, "flops_per_second", None)


def test_watts_go_through_the_model() -> None:
    assert bound(Limits(watts=5.0)) == Bound(pytest.approx(5e9), "watts", None)


def test_grams_an_hour_are_watts_by_the_grid() -> None:
    # 300 g/h at 500 g/kWh are 0.6 kWh an hour, 600 W
    assert bound(Limits(grams_per_hour=300), intensity=grid(500)).flops_per_second == pytest.approx(600e9)
    assert bound(Limits(grams_per_hour=300), intensity=grid(500, stale=True)).by == "grams_per_hour"
    assert bound(Limits(grams_per_hour=300), intensity=grid(0)) == Bound(None, None, None)


@pytest.mark.parametrize(
    ("used_kwh", "hour", "watts"),
    [
        (0.0, 0.0, 1000.0),  # 24 kWh over 24 h
        (12.0, 12.0, 1000.0),  # on course
        (18.0, 12.0, 500.0),  # ahead of it: 6 kWh for 12 h
        (24.0, 12.0, 0.0),
        (30.0, 12.0, 0.0),
        (0.0, 18.0, 2000.0),  # 24 kWh for 6 h would be 4 kW: at most twice the even rate
        (23.9, 23.9, 100.0),  # 0.1 kWh over an hour, though six minutes are left
    ],
)
def test_the_days_energy_is_spread_over_the_rest_of_the_day(used_kwh: float, hour: float, watts: float) -> None:
    found = bound(Limits(kwh_per_day=24), joules=used_kwh * 3.6e6, hour=hour)
    assert found.by == "kwh_per_day"
    assert found.flops_per_second == pytest.approx(watts * 1e9, abs=1)


def test_the_tightest_wins() -> None:
    assert bound(Limits(cores=2.0, watts=5.0)) == Bound(2e9, "cores", None)
    untimed = binding(Limits(cores=2.0), MODEL, None, 0.0, 0.0)
    assert untimed == Bound(None, "cores", "cores: chains' costs are not timed; set costs: timed")
    limits = Limits(flops_per_second=4e9, watts=5.0, kwh_per_day=24, grams_per_hour=1.5)
    assert bound(limits, intensity=grid(500)) == Bound(pytest.approx(3e9), "grams_per_hour", None)
    assert bound(limits, intensity=grid(100)) == Bound(4e9, "flops_per_second", None)


def test_what_cannot_be_converted_is_named_with_its_reason() -> None:
    alone = bound(Limits(watts=5.0), model=PowerModel())
    assert (alone.flops_per_second, alone.by) == (None, "watts")
    assert alone.reason is not None
    assert "energy.joules_per_flop" in alone.reason
    grams = bound(Limits(grams_per_hour=5.0))
    assert (grams.flops_per_second, grams.by, grams.reason) == (
        None,
        "grams_per_hour",
        "grams_per_hour: the carbon intensity is not known",
    )
    beside = bound(Limits(watts=5.0, grams_per_hour=5.0))
    assert (beside.flops_per_second, beside.by, beside.reason) == (pytest.approx(5e9), "watts", grams.reason)


amounts = st.none() | st.floats(1e-3, 1e9)


@given(
    values=st.tuples(*[amounts] * len(NAMES)),
    grams=st.floats(0, 2000),
    joules=st.floats(0, 1e9),
    hour=st.floats(0, 24, exclude_max=True),
)
def test_every_limit_given_keeps_the_bound_at_or_below_its_own(
    values: tuple[float | None, ...], grams: float, joules: float, hour: float
) -> None:
    given_limits = dict(zip(NAMES, values, strict=True))
    found = bound(Limits(**given_limits), intensity=grid(grams), joules=joules, hour=hour)
    alone = {
        name: bound(Limits(**{name: value}), intensity=grid(grams), joules=joules, hour=hour).flops_per_second
        for name, value in given_limits.items()
        if value is not None
    }
    finite = {name: flops for name, flops in alone.items() if flops is not None}
    assert found.reason is None
    if not finite:
        assert found == Bound(None, None, None)
        return
    assert found.flops_per_second == min(finite.values())
    assert found.by is not None
    assert finite[found.by] == found.flops_per_second


@given(kwh=st.floats(0.1, 1e4), joules=st.floats(0, 1e9), hour=st.floats(0, 24, exclude_max=True))
def test_the_days_rate_never_exceeds_twice_the_even_one_nor_what_is_left(
    kwh: float, joules: float, hour: float
) -> None:
    flops = bound(Limits(kwh_per_day=kwh), joules=joules, hour=hour).flops_per_second
    assert flops is not None
    watts = flops / 1e9
    assert watts <= 2 * kwh * 3.6e6 / 86_400 * (1 + 1e-9)
    assert watts * min(86_400 - hour * 3600, 86_400) <= max(kwh * 3.6e6 - joules, 0.0) * (1 + 1e-9) + 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_impossible_limits_are_refused_by_name(name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: bad})


def test_limits_and_bounds_can_be_told() -> None:
    assert Limits(watts=5.0).model_dump() == {name: 5.0 if name == "watts" else None for name in NAMES}
    assert set(asdict(Bound(None, None, None))) == {"flops_per_second", "by", "reason"}
