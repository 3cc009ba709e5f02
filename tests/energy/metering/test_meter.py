from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from greenflow_ray.config import EnergyConfig
from greenflow_ray.config.energy import MachineConfig
from greenflow_ray.energy.metering.live import CodecarbonMeter
from greenflow_ray.energy.metering.meter import by_machine
from greenflow_ray.errors import ResourceProblem
from tests.energy.trackers import told


def test_a_machine_by_hand() -> None:
    machine = MachineConfig(vcpus=4, idle_watts=6.0, full_watts=26.0)
    window = by_machine(60.0, 20.0, EnergyConfig(pue=1.5, machine=machine))
    assert (window.seconds, window.node_cpu_seconds) == (60, 20)
    assert window.marginal_joules == pytest.approx(20 / 4 * 20 * 1.5)
    assert window.joules == pytest.approx(6 * 60 * 1.5 + 20 / 4 * 20 * 1.5)
    assert (window.source, window.cpu_source) == ("estimated", "estimated")
    assert "energy.machine" in window.method
    assert "Cloud Carbon Footprint" in by_machine(1.0, 1.0, EnergyConfig()).method
    with pytest.raises(ValueError, match="full_watts must exceed"):
        MachineConfig(idle_watts=5.0, full_watts=5.0)


def test_a_meter_is_opened_before_it_is_closed() -> None:
    found = CodecarbonMeter(EnergyConfig(), tracker=told(1.0))
    found.start()
    found.stop()
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
    found = CodecarbonMeter(EnergyConfig(country_iso_code="FRA", pue=1.67, machine=MachineConfig(use="never")))
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
    imported = "from greenflow_ray.energy.metering.live import CodecarbonMeter as M"
    code = f"{imported}; m = M(); m.start(); assert m.stop().joules > 0"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("broken", ["start", "stop", "nothing"])
def test_a_failing_codecarbon_falls_back_and_says_so(broken: str) -> None:
    def fail(*_: Any) -> NoReturn:
        raise OSError("no such counter")

    found = CodecarbonMeter(tracker=fail if broken == "start" else told(broken if broken == "stop" else 0.0))
    found.start()
    window = found.stop()
    assert window.source == "estimated"
    assert "codecarbon failed" in window.method
    found = CodecarbonMeter(EnergyConfig(pue=1.0), tracker=told(1.5))
    found.start()
    assert found.stop().joules == pytest.approx(1.5)
