from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, NoReturn

import pytest

from greenflow_ray.config import EnergyConfig
from greenflow_ray.config.energy import MachineConfig
from greenflow_ray.energy.metering.live import RENEW_S, RETRY_S, LiveMeter
from greenflow_ray.energy.metering.tracker import Tracker
from greenflow_ray.errors import ResourceProblem
from tests.energy.trackers import told

Make = Callable[[EnergyConfig], Tracker]


CONFIG = EnergyConfig(pue=1.0, machine=MachineConfig(vcpus=2, idle_watts=3.0, full_watts=11.0))


class Machine:
    """A clock and a processor of which one core is busy."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def live(machine: Machine, *trackers: Make) -> tuple[LiveMeter, list[Tracker]]:
    """A meter that starts these trackers, one after another."""
    makes, started = list(trackers), list[Tracker]()

    def make(config: EnergyConfig) -> Tracker:
        started.append(makes.pop(0)(config))
        return started[-1]

    return LiveMeter(CONFIG, clock=machine, busy=machine, tracker=make), started


def fails(_: EnergyConfig) -> NoReturn:
    raise OSError("no such counter")


@pytest.mark.parametrize(("use", "joules"), [("auto", 5.0 * 3.0 + 5.0 * 4.0), ("never", 10.0)])
def test_where_there_is_no_counter_the_machines_watts_count(use: Literal["auto", "never"], joules: float) -> None:
    machine = Machine()
    config = CONFIG.model_copy(update={"machine": CONFIG.machine.model_copy(update={"use": use})})
    meter = LiveMeter(config, clock=machine, busy=machine, tracker=told(10.0, mode="cpu_load"))
    machine.now += 5.0
    window = meter.read()
    assert (window.joules, window.source) == (joules, "estimated")
    assert window.marginal_joules == (5.0 * 4.0 if use == "auto" else None)
    if use == "auto":
        machine.now += 2 * RENEW_S
        assert meter.read().joules == 2 * RENEW_S * 7.0, "no tracker is started again"
        last = meter.close()
        assert last is not None
        assert last.joules == 0.0


def test_windows_follow_each_other_without_gap_or_overlap() -> None:
    machine = Machine()
    meter, _ = live(machine, told(10.0, 30.0, 30.5))
    windows = []
    for seconds in (5.0, 10.0, 0.25):
        machine.now += seconds
        windows.append(meter.read())
    assert [w.joules for w in windows] == pytest.approx([10.0, 20.0, 0.5])
    assert [w.seconds for w in windows] == [5.0, 10.0, 0.25]
    assert [w.node_cpu_seconds for w in windows] == [5.0, 10.0, 0.25]
    assert {w.source for w in windows} == {"measured"}


@pytest.mark.parametrize("totals", [("broken",), (10.0, "broken"), (10.0, 10.0)], ids=["first", "later", "nothing"])
def test_a_failing_codecarbon_falls_back_and_comes_back_without_counting_twice(totals: tuple[float | str, ...]) -> None:
    machine = Machine()
    meter, started = live(machine, told(*totals), told(7.0))
    for _ in totals:
        machine.now += 5.0
        window = meter.read()
    assert (window.source, window.joules) == (
        "estimated",
        5.0 * 3.0 + 5.0 * 4.0,
    )  # idle, busy
    assert "codecarbon failed" in window.method
    machine.now += 5.0
    assert "codecarbon failed" in meter.read().method  # not probed at every reading
    machine.now += RETRY_S
    assert "codecarbon failed" in meter.read().method
    machine.now += 5.0
    assert (meter.read().joules, len(started)) == (pytest.approx(7.0), 2)


def test_one_that_cannot_start_is_tried_again() -> None:
    machine = Machine()
    meter, started = live(machine, fails, told(7.0))
    machine.now += 5.0
    assert "OSError" in meter.read().method
    machine.now = RETRY_S
    meter.read()
    machine.now += 5.0
    assert meter.read().joules == pytest.approx(7.0)
    assert len(started) == 1


def test_trackers_are_renewed_and_no_energy_is_lost_between_them() -> None:
    machine = Machine()
    meter, started = live(machine, told(10.0, 25.0), told(4.0))
    windows = []
    for now in (5.0, RENEW_S, RENEW_S + 5.0):
        machine.now = now
        windows.append(meter.read())
    assert [w.joules for w in windows] == pytest.approx([10.0, 15.0, 4.0])
    assert [tracker.closed for tracker in started] == [True, False]


def test_a_closed_meter_gives_its_last_window_once() -> None:
    machine = Machine()
    meter, started = live(machine, told(10.0, 12.0))
    machine.now += 5.0
    meter.read()
    machine.now += 1.0
    last = meter.close()
    assert last is not None
    assert (last.joules, last.seconds, started[0].closed) == (pytest.approx(2.0), 1.0, True)
    assert meter.close() is None
    with pytest.raises(ResourceProblem, match="closed"):
        meter.read()


def test_a_real_one_measures_here_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    meter = LiveMeter(EnergyConfig(pue=1.5))
    sum(range(5_000_000))
    window = meter.read()
    last = meter.close()
    assert last is not None
    assert window.method.startswith("codecarbon") or "Cloud Carbon Footprint" in window.method
    assert window.joules > 0
    assert window.node_cpu_seconds > 0
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
