"""Timing on a clock of our own: order, repeats, and the line through the points."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from greenflow_ray.models.costing import timing
from greenflow_ray.models.costing.timing import Point, Reference, fit, time_points


class Hand:
    """A clock that work moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float, name: str = "") -> Callable[[], None]:
        def run() -> None:
            self.now += seconds
            self.ran.append(name)

        return run


def points(clock: Hand, call: float, request: float, item: float) -> list[Point]:
    shapes = [(calls, 8, 8 * n) for calls in (1, 2, 8) for n in (5, 10, 40)]
    return [Point(clock.work(c * call + r * request + i * item), c, r, i) for c, r, i in shapes]


def test_seconds_are_those_of_the_clock() -> None:
    clock = Hand()
    made = points(clock, 1e-2, 2e-2, 3e-3)
    seconds, reference = time_points(made, Reference(clock.work(0.5), 100), clock)
    np.testing.assert_allclose(seconds, [1e-2 * p.calls + 2e-2 * p.requests + 3e-3 * p.items for p in made])
    np.testing.assert_allclose(reference, 0.5)


def test_every_other_round_goes_backwards_and_short_work_is_repeated() -> None:
    clock = Hand()
    long, short = timing.SHORTEST, timing.SHORTEST / 10
    made = [Point(clock.work(long, "a"), 1, 1, 1), Point(clock.work(short, "b"), 1, 1, 2)]
    time_points(made, Reference(clock.work(long, "r"), 1), clock)
    one = ["a", *["b"] * 10, "r"]
    assert clock.ran[: 2 * 3] == ["a", "a", "b", "b", "r", "r"]  # warming up, and how long it takes
    assert clock.ran[6:] == [*one[::-1], *one] * (timing.ROUNDS // 2) + one[::-1] * (timing.ROUNDS % 2)


def test_slow_models_get_fewer_rounds() -> None:
    clock = Hand()
    _, reference = time_points([Point(clock.work(60.0), 1, 1, 1)], Reference(clock.work(1.0), 1), clock)
    assert len(reference) == timing.FEWEST


part = st.floats(1e-9, 1e-3)


@given(part, part, part)
def test_the_line_is_recovered(call: float, request: float, item: float) -> None:
    made = points(Hand(), 0, 0, 0)
    found = fit(made, np.array([p.calls * call + p.requests * request + p.items * item for p in made]))
    assert found.error < 1e-6
    assert found.seconds(40, 8) == pytest.approx(call / 8 + request + 40 * item, rel=1e-6)
    for p in made:
        assert found.per_call * p.calls + found.per_request * p.requests + found.per_item * p.items == pytest.approx(
            p.calls * call + p.requests * request + p.items * item, rel=1e-6
        )


def test_no_part_is_below_zero_and_the_error_says_how_far_off_the_line_is() -> None:
    made = points(Hand(), 0, 0, 0)
    rng = np.random.default_rng(0)
    truth = np.array([1e-6 * p.items for p in made])
    found = fit(made, truth * rng.choice([0.9, 1.1], len(made)))
    assert min(found.per_call, found.per_request, found.per_item) >= 0
    assert 0.05 < found.error < 0.15
    assert found.seconds(40, 8) == pytest.approx(40e-6, rel=0.15)


def test_what_cannot_be_told_apart_is_the_requests() -> None:
    whole = [Point(lambda: None, calls, 8, 8 * 100) for calls in (1, 2, 8)]
    found = fit(whole, np.array([p.calls * 3.0 + p.requests * 7.0 for p in whole]))
    assert (found.per_call, found.per_request, found.per_item) == (pytest.approx(3.0), pytest.approx(7.0), 0)
    single = [Point(lambda: None, 8, 8, 8 * n) for n in (5, 10)]
    found = fit(single, np.array([p.requests * 7.0 + p.items * 2.0 for p in single]))
    assert (found.per_call, found.per_request, found.per_item) == (0, pytest.approx(7.0), pytest.approx(2.0))


def test_one_thread_inside_and_as_many_as_before_outside() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with timing.one_thread():
            assert torch.get_num_threads() == 1
            assert {library["num_threads"] for library in threadpool_info()} == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_reference_does_the_work_it_states() -> None:
    reference = timing.matrix_product()
    product = reference.run()
    assert isinstance(product, np.ndarray)
    assert product.dtype == np.float32
    assert reference.flops == 2 * product.shape[0] ** 3
