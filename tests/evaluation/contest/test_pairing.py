"""Sums by user, paired bootstrap over whole users, and the FLOPs at which a curve earns what is wanted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.evaluation.contest.pairing import Bootstrap, Outcome, interval


def outcome(clicks: list[float], flops: list[float] | float = 1.0) -> Outcome:
    """One request a user."""
    n = len(clicks)
    spent = np.full(n, flops) if isinstance(flops, float) else np.array(flops)
    return Outcome(np.array(clicks, dtype=np.float64), spent, np.ones(n))


def mean_flops(of: Outcome) -> float:
    return float(of.flops.sum() / of.requests.sum())


def test_rows_are_summed_by_user() -> None:
    found = Outcome.of(np.array([2, 0, 2, 0]), 4, np.array([1.0, 2.0, 4.0, 8.0]), np.array([10.0, 20.0, 30.0, 40.0]))
    assert found.clicks.tolist() == [10, 0, 5, 0]
    assert found.flops.tolist() == [60, 0, 40, 0]
    assert found.requests.tolist() == [2, 0, 2, 0]
    assert (found.mean_clicks, mean_flops(found)) == (15 / 4, 25)


@given(rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(1, 99)), min_size=2, max_size=30))
def test_parts_add_up_to_the_whole(rows: list[tuple[int, int, int]]) -> None:
    user, clicks, flops = (np.array(column) for column in zip(*rows, strict=True))
    whole = Outcome.of(user, 5, clicks.astype(float), flops.astype(float))
    cut = len(rows) // 2
    halves = [
        Outcome.of(user[s], 5, clicks[s].astype(float), flops[s].astype(float))
        for s in np.split(np.arange(len(rows)), [cut])
    ]
    both = halves[0] + halves[1]
    for name in ("clicks", "flops", "requests"):
        np.testing.assert_array_equal(getattr(both, name), getattr(whole, name))
    assert whole.clicks.sum() == clicks.sum()
    assert both.mean_clicks == pytest.approx(clicks.mean())
    assert mean_flops(both) == pytest.approx(flops.mean())


def test_a_constant_ratio_has_no_width() -> None:
    base = outcome([1, 5, 2, 7])
    double = Outcome(2 * base.clicks, base.flops, base.requests)
    found = Bootstrap(4, 0).ratio(double, base)
    assert found.value == 2
    assert (found.low, found.high) == pytest.approx((2, 2))


def test_pairing_removes_what_users_have_in_common() -> None:
    """Users differ greatly, the policies by one click each: paired, the ratio is far surer than either mean."""
    rng = np.random.default_rng(3)
    level = rng.integers(5, 100, 200).astype(float)
    boot = Bootstrap(200, 0)
    mine, other = outcome((level * 1.05).tolist()), outcome(level.tolist())
    ratio, clicks = boot.ratio(mine, other), boot.clicks(other)
    assert ratio.high - ratio.low < 1e-9
    assert (clicks.high - clicks.low) / clicks.value > 0.05


def test_two_users_by_hand() -> None:
    """Of two users with 0 and 1 click, a draw has mean 0, 0.5 or 1, so the 95 % interval is all of it."""
    found = Bootstrap(2, 0).clicks(outcome([0, 1]))
    assert (found.value, found.low, found.high) == (0.5, 0, 1)
    draws = Bootstrap(2, 0).see(outcome([0, 1])).clicks[1:]
    assert [np.mean(draws == value) for value in (0, 0.5, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.04)


def test_the_interval_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(5)
    clicks = rng.normal(10, 2, 400)
    found = Bootstrap(400, 1).clicks(outcome(clicks.tolist()))
    half = 1.96 * clicks.std() / 20
    assert found.value == pytest.approx(clicks.mean())
    assert (found.value - found.low, found.high - found.value) == pytest.approx((half, half), rel=0.1)


def test_users_are_drawn_whole() -> None:
    """A second cut with the same clicks is no second user: the interval stays as it was."""
    rng = np.random.default_rng(7)
    user = np.arange(80)
    a, b, flops = rng.poisson(6, 80).astype(float), rng.poisson(5, 80).astype(float), rng.random(80)
    boot = Bootstrap(80, 0)
    once = boot.ratio(Outcome.of(user, 80, a, flops), Outcome.of(user, 80, b, flops))
    twice = np.tile(user, 2)
    again = boot.ratio(
        Outcome.of(twice, 80, np.tile(a, 2), np.tile(flops, 2)), Outcome.of(twice, 80, np.tile(b, 2), np.tile(flops, 2))
    )
    assert again == once
    assert once.low < once.value < once.high
    # Rows taken for users of their own would feign more certainty than there is.
    other = np.arange(160)
    apart = Bootstrap(160, 0).ratio(
        Outcome.of(other, 160, np.tile(a, 2), np.tile(flops, 2)),
        Outcome.of(other, 160, np.tile(b, 2), np.tile(flops, 2)),
    )
    assert apart.high - apart.low < 0.85 * (once.high - once.low)


def test_the_mean_ratio_is_over_pairs() -> None:
    base = outcome([1, 3])
    found = Bootstrap(2, 0).mean_ratio([outcome([2, 6]), outcome([4, 12])], [base, base])
    assert found.value == 3
    assert (found.low, found.high) == pytest.approx((3, 3))


def test_an_outcome_is_seen_once_and_not_mistaken_for_another() -> None:
    boot = Bootstrap(3, 0)
    seen = [boot.see(outcome([i, 2.0 * i, 3])).clicks[0] for i in range(20)]  # ids of dead objects come again
    assert seen == pytest.approx([i + 1 for i in range(20)])


def curve(*points: tuple[float, float]) -> list[Outcome]:
    """Outcomes of one user with these FLOPs and clicks."""
    return [outcome([clicks], float(flops)) for flops, clicks in points]


@pytest.mark.parametrize(
    ("wanted", "mixed", "flops"),
    [
        (3.0, True, 15.0),  # half-way between two budgets
        (3.0, False, 20.0),  # only on them
        (4.0, True, 20.0),
        (4.0, False, 20.0),
        (2.0, True, 10.0),
        (1.0, True, 10.0),  # below the first point: nothing cheaper is known
        (5.5, True, 37.5),  # across the dip at 30
        (5.5, False, 40.0),
        (6.1, True, np.nan),
        (6.1, False, np.nan),
    ],
)
def test_flops_at_on_a_curve_by_hand(wanted: float, mixed: bool, flops: float) -> None:
    line = curve((10, 2), (20, 4), (30, 3), (40, 6))
    found = Bootstrap(1, 0, draws=3).flops_at(line, outcome([wanted]), mixed=mixed)
    # With clicks 4 at best up to 30 FLOPs, one mixes 30 and 40.
    np.testing.assert_allclose(found, flops)


def test_a_level_asks_for_part_of_the_clicks() -> None:
    boot = Bootstrap(1, 0, draws=3)
    line = curve((10, 2), (20, 4))
    assert boot.flops_at(line, outcome([6.0]), level=0.5)[0] == 15
    assert np.isnan(boot.flops_at(line, outcome([6.0]), level=1.0)[0])


def test_a_level_stretch_costs_what_its_first_point_does() -> None:
    boot = Bootstrap(1, 0, draws=3)
    assert boot.flops_at(curve((10, 2), (20, 2), (30, 2)), outcome([2.0]))[0] == 10


def test_draws_that_never_reach_it_are_left_out_of_the_interval() -> None:
    boot = Bootstrap(2, 0)
    line = [outcome([1, 0], 10.0), outcome([1, 4], 20.0)]
    flops = boot.flops_at(line, outcome([2, 2]))
    assert 0 < np.isnan(flops).mean() < 1  # draws with the first user alone earn 1 < 2
    found = interval(flops)
    assert np.isfinite([found.value, found.low, found.high]).all()
    assert found.value == 17.5


@given(
    points=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20)), min_size=1, max_size=6),
    wanted=st.integers(0, 22),
)
@settings(deadline=None)
def test_mixing_never_costs_more_and_stays_on_the_curve(points: list[tuple[int, int]], wanted: int) -> None:
    line = curve(*[(float(np.sum([f for f, _ in points[: i + 1]])), float(c)) for i, (_, c) in enumerate(points)])
    boot = Bootstrap(1, 0, draws=2)
    mixed, single = (float(boot.flops_at(line, outcome([float(wanted)]), mixed=m)[0]) for m in (True, False))
    reached = max(c for _, c in points) >= wanted
    assert np.isfinite(mixed) == np.isfinite(single) == reached
    if reached:
        at = next(o for o in line if o.mean_clicks >= wanted)
        assert single == mean_flops(at)
        assert mean_flops(line[0]) <= mixed <= single


def test_interval_without_a_finite_draw_is_its_value() -> None:
    found = interval(np.array([3.0, np.nan, np.nan]))
    assert (found.value, found.low, found.high) == (3, 3, 3)
