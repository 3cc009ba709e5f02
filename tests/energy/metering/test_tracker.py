from __future__ import annotations

from pathlib import Path

import pytest

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.metering.meter import by_machine
from greenflow_ray.energy.metering.tracker import Tracker, rapl_has_memory
from greenflow_ray.errors import ResourceProblem
from tests.energy.trackers import told

ESTIMATE = by_machine(1.0, 0.5, EnergyConfig())


def test_readings_are_differences_of_codecarbons_totals() -> None:
    tracker = told(10.0, 25.0, 25.0, 40.0, ram=0.2)(EnergyConfig())
    readings = [*(tracker.read(ESTIMATE) for _ in range(3)), tracker.read(ESTIMATE, last=True)]
    assert [r.joules for r in readings] == pytest.approx([10.0, 15.0, 0.0, 15.0])
    assert [r.ram_joules for r in readings] == pytest.approx([2.0, 3.0, 0.0, 3.0])


def test_a_real_one_says_what_it_found_and_its_parts_add_up() -> None:
    tracker = Tracker(EnergyConfig())
    sum(range(3_000_000))
    first, last = tracker.read(ESTIMATE), tracker.read(ESTIMATE, last=True)
    for reading in (first, last):
        assert reading.joules == pytest.approx(reading.cpu_joules + reading.ram_joules + reading.gpu_joules, rel=1e-6)
    assert first.joules + last.joules > 0
    assert first.method.startswith("codecarbon 3")


def test_one_that_is_told_nothing_raises() -> None:
    tracker = told(1.0)(EnergyConfig())
    tracker._tracker.flush = lambda: None  # as codecarbon does when it could not start
    with pytest.raises(ResourceProblem, match="nothing"):
        tracker.read(ESTIMATE)


def test_labels_follow_the_hardware() -> None:
    counted = told(3.6)(EnergyConfig()).read(ESTIMATE)
    assert (counted.seconds, counted.node_cpu_seconds, counted.marginal_joules) == (1.0, 0.5, None)
    assert (counted.source, counted.cpu_source, counted.cpu_joules) == ("measured", "measured", pytest.approx(3.6))
    modelled_memory = told(3.6, ram=0.5)(EnergyConfig()).read(ESTIMATE)
    assert (modelled_memory.source, modelled_memory.cpu_source) == ("estimated", "measured")
    guessed = told(3.6, mode="cpu_load", gpu=0.5)(EnergyConfig(pue=1.5)).read(ESTIMATE)
    assert (guessed.source, guessed.cpu_source) == ("estimated", "estimated")
    assert "NVML" in guessed.method
    assert "PUE 1.5" in guessed.method


def test_memory_counters_are_found(tmp_path: Path) -> None:
    assert not rapl_has_memory(tmp_path)
    for name, label in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "dram")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(label + "\n")
    assert not rapl_has_memory(tmp_path)  # named, but without a readable counter
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("12")
    assert rapl_has_memory(tmp_path)
