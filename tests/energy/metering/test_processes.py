from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from greenflow_ray.energy.metering.processes import between, deployment_of, node_seconds, own_or_all, snapshot

# Burns CPU-seconds in itself and in a child, says so, and lives until its input is closed.
BURN = """
import subprocess, sys, time
spin = "import time\\nwhile time.process_time() < 0.15: pass"
subprocess.run([sys.argv[1], "-c", spin])
sys.stdin.readline()
exec(spin.replace("0.15", "0.3"))
subprocess.run([sys.argv[1], "-c", spin])
print("done", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("ray::ServeReplica:greenflow:ranking-din", "ranking-din"),
        ("ray::ServeReplica:greenflow:Gateway.handle_request_with_rejection", "Gateway"),
        ("ray::ServeReplica:greenflow:ranking-din.v2", "ranking-din.v2"),
        ("ray::ServeReplica:greenflow:ranking-din.v2.handle_request()", "ranking-din.v2"),
        ("ray::ServeReplica:other:Gateway", "Gateway"),
        ("ray::ProxyActor", "proxy"),
        ("ray::ServeController.run_control_loop", "controller"),
        ("ray::Ledger.exchange", "ledger"),
        ("ray::IDLE", None),
        ("ray::DashboardAgent", None),
        ("/usr/bin/python", None),
        ("", None),
    ],
)
def test_titles(title: str, name: str | None) -> None:
    assert deployment_of(title) == name


@pytest.fixture
def replica() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        ["ray::ServeReplica:metered:ranking-din", "-c", BURN, sys.executable],
        executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def test_a_replicas_cpu_seconds_with_its_childrens(replica: subprocess.Popen[str]) -> None:
    busy, before = node_seconds(), snapshot(under=os.getpid())
    assert replica.stdin is not None
    assert replica.stdout is not None
    replica.stdin.write("go\n")
    replica.stdin.flush()
    assert replica.stdout.readline() == "done\n"
    after = snapshot(under=os.getpid())
    assert {name for *_, name in snapshot()} >= {"ranking-din"}
    assert not snapshot(under=replica.pid + 10**7)
    assert own_or_all()().keys() == after.keys()
    use = between(before, after)
    assert list(use.by_deployment) == ["ranking-din"]
    assert use.by_deployment["ranking-din"] > 0.36  # the child's share is in it, reaped as it is
    assert use.total <= node_seconds() - busy + 0.2
    assert use.lost == 0


def test_new_and_lost_processes() -> None:
    before = {(1, 0.0, "a"): 5.0, (2, 0.0, "a"): 1.0}
    after = {(1, 0.0, "a"): 7.0, (2, 9.0, "b"): 3.0}  # pid 2 was given to another process
    use = between(before, after)
    assert (use.by_deployment, use.lost, use.total) == ({"a": 2.0, "b": 3.0}, 1, 5.0)


def test_processes_that_vanish_while_read_are_passed_over() -> None:
    class Gone(psutil.Process):
        def cmdline(self) -> list[str]:
            raise psutil.NoSuchProcess(self.pid)

    assert snapshot(processes=lambda: [Gone()]) == {}
