from __future__ import annotations

import pytest

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.carbon.sci import sci

YEAR_S = 365.25 * 86_400


def test_without_embodied_carbon_it_is_left_out_and_said_so() -> None:
    found = sci(250.0, 500_000, EnergyConfig(), node_seconds=3600.0)
    assert found is not None
    assert (found.grams, found.operational, found.embodied) == (pytest.approx(0.5), pytest.approx(0.5), None)
    assert "energy.embodied_kg" in found.note


def test_embodied_carbon_by_hand() -> None:
    # two nodes of 1,200 kg over 4 years, a quarter reserved, for a year: 1,200,000 g × 2 / 4 / 4 = 150 kg
    config = EnergyConfig(embodied_kg=1200.0, lifetime_years=4.0)
    found = sci(50_000.0, 1_000_000, config, node_seconds=2 * YEAR_S, reserved=0.25)
    assert found is not None
    assert found.embodied == pytest.approx(150.0)
    assert found.grams == pytest.approx(50.0 + 150.0)
    assert "25%" in found.note


def test_without_requests_there_is_none() -> None:
    assert sci(1.0, 0, EnergyConfig(), node_seconds=1.0) is None
