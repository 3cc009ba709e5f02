"""Both deployment files start with Serve's own command line, and nothing of them listens beyond loopback here."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from greenflow_ray import config as configuration
from greenflow_ray.serving.local import haproxy
from greenflow_ray.serving.local.launch import free_port, loopback_address
from tests.serving.fakes import PATIENCE_S, PATIENT, cascade

pytestmark = pytest.mark.serve

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SERVE = [sys.executable, "-m", "ray.serve.scripts"]


def deployment(name: str, run: Path, port: int) -> dict[str, Any]:
    """The file as it is, but for a port of its own, the tests' cascade, and loopback in place of all interfaces."""
    options: dict[str, Any] = yaml.safe_load((ROOT / "deployments" / f"{name}.yaml").read_text(encoding="utf-8"))
    options["http_options"] |= {"host": "127.0.0.1", "port": port}
    options["applications"][0]["args"]["config"] = str(configuration.store(cascade(run, serving=PATIENT)))
    return options


@contextlib.contextmanager
def command(arguments: list[Any], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs until the block ends; what it started ends with it."""
    with log.open("wb") as out, subprocess.Popen(arguments, env=env, stdout=out, stderr=out, cwd=ROOT) as process:
        try:
            yield process
        finally:
            started = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            _, alive = psutil.wait_procs(started, timeout=15)
            for left in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    left.kill()
            process.kill()


def answered(url: str, process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    """Wait until every part is ready, then one recommendation."""
    deadline = time.monotonic() + PATIENCE_S
    with httpx.Client(base_url=url, trust_env=False, timeout=10.0) as http:
        while time.monotonic() < deadline:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            with contextlib.suppress(httpx.HTTPError):
                if http.get("/readyz").status_code == 200:
                    answer: dict[str, Any] = http.post("/v1/recommend", json={"user_id": 3}).raise_for_status().json()
                    return answer
            time.sleep(0.5)
    raise AssertionError(log.read_text(errors="replace")[-3000:])


def listeners(name: str, of: subprocess.Popen[bytes]) -> set[str]:
    """Addresses on which processes of that name listen, among those that a command has started."""
    return {
        connection.laddr.ip
        for process in psutil.Process(of.pid).children(recursive=True)
        if process.name() == name
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.fixture
def temporary() -> Iterator[str]:
    """Ray's own folder, with a name short enough for its sockets: no other cluster of this machine is known there."""
    with tempfile.TemporaryDirectory(prefix="gf-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


def environment(**more: str) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ours = {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    # Serve gives a proxy 5 s to start, which a busy machine does not always keep.
    return {**os.environ, **ours, "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60", **more}


def test_the_laptop_file(tmp_path: Path, temporary: str) -> None:
    port = free_port()
    options = deployment("laptop", tmp_path / "run", port)
    file = tmp_path / "laptop.yaml"
    file.write_text(yaml.safe_dump(options))
    log = tmp_path / "log"
    env = environment(RAY_TMPDIR=temporary)
    with command([*SERVE, "run", file], env, log) as process:
        answer = answered(f"http://127.0.0.1:{port}", process, log)
    assert len(answer["items"]) == 5
    assert answer["receipt"]["chain"]


def test_the_cluster_file(tmp_path: Path, temporary: str) -> None:
    """On a cluster that says it has the CPUs; as many replicas as the file wants, and HAProxy as it advises."""
    port, gcs = free_port(), free_port()
    options = deployment("cluster", tmp_path / "run", port)
    app = options["applications"][0]
    app["deployments"] = [part for part in app["deployments"] if part["name"] != "ranking-din-small"]  # not in ours
    for part in app["deployments"]:
        part["num_replicas"] = 2 if part["name"] == "gateway" else 1  # this machine is small
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump(options))
    address = loopback_address()
    env = environment(RAY_TMPDIR=temporary, **haproxy.environment(Path(temporary), free_port))
    log = tmp_path / "log"
    head = [
        *RAY, "start", "--head", "--block", f"--node-ip-address={address}", f"--port={gcs}", "--num-cpus=64",
        "--include-dashboard=false", "--object-store-memory=200000000",
    ]  # fmt: skip
    with command(head, env, tmp_path / "head.log") as cluster:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and "Ray runtime started" not in (tmp_path / "head.log").read_text():
            assert cluster.poll() is None, (tmp_path / "head.log").read_text()
            time.sleep(0.5)
        with command([*SERVE, "run", f"--address={address}:{gcs}", file], env, log) as process:
            answer = answered(f"http://127.0.0.1:{port}", process, log)
            assert listeners("haproxy", cluster) == {"127.0.0.1"}
    assert len(answer["items"]) == 5
