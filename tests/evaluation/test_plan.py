"""What is asked for is checked before any work, and every seed and cut has its own place."""

from pathlib import Path
from typing import Any

import pytest

from greenflow_ray.errors import ConfigError
from greenflow_ray.evaluation.plan import CURVE, JUDGED, SHARES, parse_exposures
from tests.evaluation import tiny


def test_exposures_are_read_in_order_and_once() -> None:
    assert parse_exposures("50,20, 20") == (20, 50)
    assert parse_exposures("7") == (7,)


@pytest.mark.parametrize("text", ["", "a", "20,", "20;50", "1.5"])
def test_what_is_no_number_is_named(text: str) -> None:
    with pytest.raises(ConfigError, match=r"exposures: .* is not numbers by comma, like 20,50") as told:
        parse_exposures(text)
    assert repr(text) in str(told.value)


@pytest.mark.parametrize("exposures", [(), (0, 5), (-1,), (5, 41)])
def test_exposures_out_of_range_are_refused(tmp_path: Path, exposures: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="give positive numbers up to the largest scale, 40") as told:
        tiny.plan(tmp_path, exposures=exposures)
    assert str(exposures) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("wanted", [{"seeds": ()}, {"cuts": 0}])
def test_no_seed_or_no_cut_is_refused(tmp_path: Path, wanted: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="seeds, cuts: at least one of each is needed"):
        tiny.plan(tmp_path, **wanted)


def test_the_widest_exposure_is_the_last_stages_largest_scale(tmp_path: Path) -> None:
    assert tiny.plan(tmp_path, exposures=(40,)).exposures == (40,)


def test_seeds_share_the_data_and_nothing_else(tmp_path: Path) -> None:
    plan = tiny.plan(tmp_path, changes={"seed": 5}, seeds=(5, 6), cuts=3)
    configs = {(seed, cut): plan.of(seed, cut) for seed in (5, 6) for cut in range(3)}
    assert {c.data_seed for c in configs.values()} == {5}
    assert {c.seed for (s, _), c in configs.items() if s == 6} == {6}
    assert {c.exposure for c in configs.values()} == {5}
    for cut in range(3):
        assert {configs[s, cut].data.view for s in (5, 6)} == {cut}
        assert configs[5, cut].paths.data == configs[6, cut].paths.data
        assert configs[5, cut].digest("data") == configs[6, cut].digest("data")
    assert len({c.paths.data for c in configs.values()}) == 3
    assert configs[5, 0].paths.data == plan.config.paths.data
    # Models belong to a seed, whatever the cut.
    assert configs[5, 0].paths.models == configs[5, 2].paths.models != configs[6, 0].paths.models
    assert configs[5, 0].run != configs[6, 0].run


def test_the_budgets_compared_are_sensible() -> None:
    assert list(SHARES) == sorted(set(SHARES))
    assert set(JUDGED) <= set(SHARES)
    assert len(SHARES) >= 8
    assert (SHARES[-1], CURVE[-1]) == (1.0, 1.0)
    assert list(CURVE) == sorted(set(CURVE))
