from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy import meter
from greenflow_ray.energy.meter import CodecarbonMeter, CpuSecondsMeter, EnergyWindow, ReplayMeter, measured
from greenflow_ray.errors import ResourceProblem


def steps(*values: float) -> Callable[[], float]:
    it = iter(values)
    return lambda: next(it)


def tracker(mode: str, ram_kwh: float = 0.0, gpu_kwh: float = 0.0, cpu_kwh: float = 1e-6) -> SimpleNamespace:
    data = SimpleNamespace(
        cpu_energy=cpu_kwh, ram_energy=ram_kwh, gpu_energy=gpu_kwh, energy_consumed=cpu_kwh + ram_kwh + gpu_kwh,
        duration=10.0, codecarbon_version="3.3",
    )  # fmt: skip
    return SimpleNamespace(
        final_emissions_data=data,
        _hardware=[SimpleNamespace(_mode=mode), SimpleNamespace()],
        start=lambda: None,
        stop=lambda: 0.0,
    )


def window_of(fake: Any, monkeypatch: pytest.MonkeyPatch) -> EnergyWindow:
    found = CodecarbonMeter(EnergyConfig(pue=1.0))
    monkeypatch.setattr(found, "_new_tracker", lambda: fake)
    found.start()
    return found.stop()


def test_cpu_seconds_by_hand() -> None:
    found = CpuSecondsMeter(EnergyConfig(pue=1.5), watts_per_core=10.0, clock=steps(100, 160), busy=steps(7, 27))
    found.start()
    window = found.stop()
    assert (window.seconds, window.joules, window.node_cpu_seconds) == (60, 20 * 10 * 1.5, 20)
    assert window.source == "estimated"
    with pytest.raises(ResourceProblem, match="start"):
        found.stop()


def test_codecarbon_estimates_here_quietly_without_files_or_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise AssertionError("the meter reached for the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".codecarbon.config").write_text("[codecarbon]\nelectricitymaps_api_token=x\noutput_methods=csv,api\n")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    found = CodecarbonMeter(EnergyConfig(country_iso_code="FRA", pue=1.67), every_s=0.2)
    found.start()
    sum(range(3_000_000))
    window = found.stop()
    assert window.method.startswith("codecarbon"), window.method
    assert window.joules > 0
    assert window.joules == pytest.approx(window.cpu_joules + window.ram_joules + window.gpu_joules, rel=1e-6)
    assert window.seconds > 0
    if not os.path.exists("/sys/class/powercap/intel-rapl"):
        assert window.source == "estimated"
    assert [p.name for p in tmp_path.iterdir()] == [".codecarbon.config"]
    assert capfd.readouterr() == ("", "")


def test_a_fresh_process_prints_nothing() -> None:
    code = "from greenflow_ray.energy.meter import CodecarbonMeter as M; m = M(); m.start(); assert m.stop().joules > 0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_labels_follow_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = window_of(tracker("intel_rapl"), monkeypatch)
    assert (counted.source, counted.cpu_source, counted.cpu_joules) == ("measured", "measured", pytest.approx(3.6))
    modelled_memory = window_of(tracker("intel_rapl", ram_kwh=1e-6), monkeypatch)
    assert (modelled_memory.source, modelled_memory.cpu_source) == ("estimated", "measured")
    guessed = window_of(tracker("cpu_load", gpu_kwh=1e-6), monkeypatch)
    assert (guessed.source, guessed.cpu_source) == ("estimated", "estimated")
    assert "NVML" in guessed.method


@pytest.mark.parametrize("broken", ["start", "stop", "nothing", "absent"])
def test_a_failing_codecarbon_falls_back_and_says_so(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError("no such counter")

    fake = tracker("cpu_load", cpu_kwh=0.0 if broken == "nothing" else 1e-6)
    if broken in ("start", "stop"):
        setattr(fake, broken, fail)
    found = CodecarbonMeter()
    monkeypatch.setattr(found, "_new_tracker", fail if broken == "absent" else lambda: fake)
    found.start()
    window = found.stop()
    assert window.source == "estimated"
    assert "codecarbon failed" in window.method


def test_replay_yields_what_was_recorded() -> None:
    window = EnergyWindow(1.0, 2.0, 2.0, 0.0, 0.0, "measured", "measured", "replay", 0.5)
    replay = ReplayMeter([window])
    with measured(replay) as out:
        assert out == []
    assert out == [window]
    with pytest.raises(ResourceProblem, match="none is left"), measured(replay):
        pass


def test_memory_counters_are_found(tmp_path: Path) -> None:
    assert not meter.rapl_has_memory(tmp_path)
    for name, label in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "dram")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(label + "\n")
    assert not meter.rapl_has_memory(tmp_path)  # named, but without a readable counter
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("12")
    assert meter.rapl_has_memory(tmp_path)
