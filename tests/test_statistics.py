from __future__ import annotations

import numpy as np

from greenflow_ray.statistics import (
    block_interval,
    quantile_difference_intervals,
    ratio_interval,
    saving_interval,
)


def test_a_constant_ratio_has_an_interval_of_no_width() -> None:
    users = np.repeat(np.arange(50), 2)
    equal = np.arange(1.0, 101.0)
    found = saving_interval(users, equal, 0.75 * equal, np.random.default_rng(0), draws=200)
    assert found is not None
    np.testing.assert_allclose(found, (0.25, 0.25), atol=1e-12)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        equal = rng.poisson(2.0, 300).astype(float)
        green = rng.poisson(1.6, 300).astype(float)
        found = saving_interval(np.arange(300), equal, green, rng, draws=300)
        assert found is not None
        covered += found[0] < 0.2 < found[1]
    assert 87 <= covered <= 100


def test_interval_narrows_with_more_users() -> None:
    widths = []
    for n in (100, 3000):
        rng = np.random.default_rng(n)
        equal, green = rng.poisson(2.0, n).astype(float), rng.poisson(1.6, n).astype(float)
        found = saving_interval(np.arange(n), equal, green, rng, draws=400)
        assert found is not None
        widths.append(found[1] - found[0])
    assert widths[1] < 0.35 * widths[0]


def test_users_are_drawn_whole() -> None:
    # Rows of one user cancel out: drawn row by row they would vary, drawn by user they cannot.
    users = np.repeat(np.arange(40), 2)
    equal = np.ones(80)
    green = np.tile([0.0, 2.0], 40)
    found = saving_interval(users, equal, green, np.random.default_rng(3), draws=100)
    assert found is not None
    np.testing.assert_allclose(found, (0.0, 0.0), atol=1e-12)


def test_nothing_to_say_about_one_user_or_no_clicks() -> None:
    rng = np.random.default_rng(0)
    assert saving_interval(np.zeros(5, int), np.ones(5), np.ones(5), rng) is None
    assert saving_interval(np.arange(5), np.zeros(5), np.ones(5), rng) is None


def test_a_rates_interval_holds_the_rate_and_a_saving_is_its_mirror() -> None:
    rng = np.random.default_rng(2)
    users, clicks, ones = np.arange(400), rng.poisson(2.0, 400).astype(float), np.ones(400)
    low, high = ratio_interval(users, clicks, ones, np.random.default_rng(0)) or (0, 0)
    assert low < clicks.mean() < high
    # The standard error of a mean of 400 Poisson counts is √2 ÷ 20: 95 % is about four of them wide
    np.testing.assert_allclose(high - low, 4 * 0.98 * 2**0.5 / 20, rtol=0.15)
    saved = saving_interval(users, ones, clicks, np.random.default_rng(0))
    np.testing.assert_allclose(saved or (), (1 - high, 1 - low))


def test_a_shift_of_every_latency_is_its_quantiles_difference() -> None:
    rng = np.random.default_rng(4)
    waits = rng.exponential(1.0, 500)
    found = quantile_difference_intervals(np.arange(500), waits, waits + 0.25, [0.5, 0.99], rng, draws=200)
    np.testing.assert_allclose(found or (), [(0.25, 0.25)] * 2, atol=1e-12)


def test_quantile_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(60):
        a, b = rng.exponential(1.0, 300), rng.exponential(1.5, 300)
        found = quantile_difference_intervals(np.arange(300), a, b, [0.5], rng, draws=200)
        assert found is not None
        covered += found[0][0] < 0.5 * np.log(2) < found[0][1]
    assert 51 <= covered <= 60


def test_unanswered_requests_have_no_latency() -> None:
    rng = np.random.default_rng(6)
    waits = rng.random(100)
    holes = np.where(np.arange(100) % 2 == 0, np.nan, waits)
    assert quantile_difference_intervals(np.arange(100), holes, waits, [0.5], rng, draws=100) is not None
    assert quantile_difference_intervals(np.arange(100), np.full(100, np.nan), waits, [0.5], rng) is None
    assert quantile_difference_intervals(np.zeros(100, int), waits, waits, [0.5], rng) is None


def test_blocks_keep_neighbours_together() -> None:
    rng = np.random.default_rng(7)
    plain = rng.normal(size=512)
    alike = np.repeat(rng.normal(size=64), 8)  # neighbours say the same: an eighth as much is known
    widths = []
    for values in (plain, alike):
        low, high = block_interval(values, np.random.default_rng(0)) or (0, 0)
        assert low < values.mean() < high
        widths.append((high - low) / values.std())
    assert widths[1] > 1.8 * widths[0]
    assert block_interval(np.append(np.full(9, np.nan), np.ones(7)), rng) is None
