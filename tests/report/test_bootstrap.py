from __future__ import annotations

import numpy as np

from greenflow_ray.report.bootstrap import saving_interval


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
