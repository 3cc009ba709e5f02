from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from greenflow_ray.serving.local.haproxy import LONGEST_FOLDER, end, environment
from greenflow_ray.serving.local.launch import free_port

CONFIG = """frontend prometheus
    bind :9101
    mode http
frontend http_frontend
    bind 127.0.0.1:8000
listen stats
  bind *:8404
"""


def test_every_port_is_put_on_loopback(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        told = environment(Path(folder), free_port)
        if not told:
            pytest.skip("no HAProxy for this platform")
        assert told["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
        config = tmp_path / "ha proxy.cfg"
        config.write_text(CONFIG)
        done = subprocess.run(
            [told["RAY_SERVE_HAPROXY_BINARY_PATH"], "-c", "-f", config], capture_output=True, text=True, check=False
        )
    assert config.read_text() == CONFIG.replace("bind :", "bind 127.0.0.1:").replace("*:", "127.0.0.1:")
    assert "HAProxy" in done.stdout + done.stderr or "onfiguration" in done.stdout + done.stderr, "it becomes HAProxy"


def test_a_folder_with_too_long_a_name_means_rays_own_proxy(tmp_path: Path) -> None:
    long = tmp_path / ("x" * LONGEST_FOLDER)
    os.mkdir(long)
    assert environment(long, free_port) == {}


def test_what_outlives_its_ray_is_ended(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "mine-too"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)", "-f"]
    with (
        subprocess.Popen([*sleep, mine / "x" / "haproxy.cfg"]) as left,
        subprocess.Popen([*sleep, other / "a"]) as kept,
    ):
        try:
            time.sleep(0.2)
            end(mine)
            assert left.wait(timeout=10) != 0
            assert kept.poll() is None
        finally:
            left.kill()
            kept.kill()
