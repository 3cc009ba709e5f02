from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.report.contents import Moment
from greenflow_ray.report.course import carbon_part, footprint


def moment(t: float, **values: object) -> Moment:
    return Moment.model_validate({"t": t, "version": 1, "price": 0.0, **values})


def test_a_constant_intensity_is_joules_times_it() -> None:
    found = footprint(7.2e6, 0.0, 10.0, 300.0, (), own=True)
    assert found.total == pytest.approx(600.0)
    assert not found.shaped
    assert found.joules.sum() == pytest.approx(7.2e6)


def test_grams_add_up_by_the_second() -> None:
    course = [moment(0, grams_per_kwh=100.0), moment(6, grams_per_kwh=400.0)]
    found = footprint(3.6e6, 0.0, 10.0, 999.0, course, own=True)
    assert found.total == pytest.approx(0.6 * 100 + 0.4 * 400)


def test_watts_shape_servings_part_of_the_energy_and_only_of_their_own_arm() -> None:
    course = [moment(0, grams_per_kwh=100.0, watts=30.0), moment(5, grams_per_kwh=400.0, watts=10.0)]
    shaped = footprint(3.6e6, 1.8e6, 10.0, 1.0, course, own=True)
    # Half is spread evenly, of the other half three quarters fall into the clean first half.
    assert shaped.total == pytest.approx(0.5 * 250 + 0.5 * (0.75 * 100 + 0.25 * 400))
    assert shaped.joules.sum() == pytest.approx(3.6e6)
    assert footprint(3.6e6, 1.8e6, 10.0, 1.0, course, own=False).total == pytest.approx(250)


def test_a_last_second_that_is_short_has_its_share() -> None:
    found = footprint(250.0, 0.0, 2.5, 1.0, (), own=False)
    np.testing.assert_allclose(found.joules, [100.0, 100.0, 50.0])


def test_the_reports_intensity_is_the_mean_of_what_there_was() -> None:
    given = CarbonIntensity(300.0, "somebody", "marginal", 0.0)
    still = carbon_part(given, (), 10.0)
    assert still is not None
    assert (still.grams_per_kwh, still.lowest, still.highest, still.stale) == (300.0, None, None, False)
    moved = carbon_part(
        given, [moment(0, grams_per_kwh=100.0), moment(8, grams_per_kwh=200.0, carbon_stale=True)], 10.0
    )
    assert moved is not None
    assert moved.grams_per_kwh == pytest.approx(120.0)
    assert (moved.lowest, moved.highest, moved.stale, moved.kind) == (100.0, 200.0, True, "marginal")
    assert carbon_part(None, (), 10.0) is None
