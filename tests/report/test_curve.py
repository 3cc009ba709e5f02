from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.report.compare import curve

Arms = tuple[ArmResult, ArmResult]


def test_the_curve_runs_from_the_cheapest_mix_to_the_unpriced_one_and_is_concave(
    frontier: Frontier, steered_arms: Arms
) -> None:
    found = curve(frontier, *steered_arms, seed=0)
    assert found is not None
    flops, clicks = (np.array([getattr(p, name) for p in found.points]) for name in ("flops", "clicks"))
    assert flops[0] == pytest.approx(frontier.floor)
    assert flops[-1] == pytest.approx(frontier.top)
    slopes = np.diff(clicks) / np.diff(flops)
    assert (slopes >= 0).all()
    assert (np.diff(slopes) <= 1e-9 * slopes[0]).all()


def test_points_are_what_happened_and_the_prediction_stands_beside_them(frontier: Frontier, steered_arms: Arms) -> None:
    found = curve(frontier, *steered_arms, seed=0)
    assert found is not None
    for arm, point in zip(steered_arms, (found.equal, found.today), strict=True):
        assert point.flops == pytest.approx(arm.recounted.mean())
        assert point.clicks == pytest.approx(arm.requests.clicks.mean())
        assert point.clicks_interval is not None
        assert point.clicks_interval[0] < point.clicks < point.clicks_interval[1]
        assert point.predicted == pytest.approx(frontier.reward(point.flops))


def test_nothing_is_drawn_of_an_empty_frontier_or_predicted_below_its_floor(
    frontier: Frontier, steered_arms: Arms
) -> None:
    assert curve(Frontier.empty(), *steered_arms, seed=0) is None
    dear = Frontier.build(np.ones((3, 2)), np.array([1e9, 2e9]))
    found = curve(dear, *steered_arms, seed=0)
    assert found is not None
    assert found.today.predicted is None
    assert len(found.points) == 1  # dearer chains that are worth no more are never bought
