"""Threads' CPU time is told apart from their process's, from inside and from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from greenflow_ray.energy.metering.processes import between, snapshot
from greenflow_ray.energy.metering.thread_seconds import Crew, marked

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="threads have names of their own on Linux only")


def burn(seconds: float) -> None:
    """Use so much CPU time in this thread."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


@contextmanager
def burning(name: str, seconds: float) -> Iterator[None]:
    """A thread of that name which has used so much CPU time and lives on as long as the block."""
    done, leave = threading.Event(), threading.Event()

    def work() -> None:
        burn(seconds)
        done.set()
        leave.wait()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        assert done.wait(60)
        yield
    finally:
        leave.set()
        thread.join()


def test_a_crew_counts_its_own_threads_alone() -> None:
    crew = Crew("allocator", ("mine", "also-mine"))
    assert crew.cpu_seconds() == 0.0
    with burning("mine_0", 0.2), burning("another", 0.2), burning("also-mine", 0.1):
        assert 0.25 <= crew.cpu_seconds() <= 0.4
    assert crew.cpu_seconds() == 0.0, "threads that have ended are not counted"


@LINUX
def test_marked_threads_are_found_from_outside() -> None:
    with burning("mine", 0.2), burning("another", 0.1):
        Crew("allocator", ("mine",)).cpu_seconds()
        ((part, seconds),) = marked(os.getpid())
    assert part == "allocator"
    assert 0.15 <= seconds <= 0.3


def test_a_process_that_has_gone_has_no_threads() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    assert marked(gone.pid) == []


WORKER = """
import threading, time
from greenflow_ray.energy.metering.thread_seconds import Crew
from tests.energy.metering.test_thread_seconds import burn
crew = Crew("allocator", ("mine",))
go, done = threading.Event(), threading.Event()
def work():
    go.wait(); burn(0.4); done.set(); time.sleep(60)
threading.Thread(target=work, name="mine", daemon=True).start()
crew.cpu_seconds()
print("ready", flush=True); input()
go.set(); done.wait(); burn(0.2)
print("done", flush=True); input()
"""


@LINUX
def test_a_gateways_snapshot_shows_its_allocator_apart() -> None:
    gateway = subprocess.Popen(
        ["ray::ServeReplica:metered:gateway", "-c", WORKER], executable=sys.executable, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    try:
        assert gateway.stdin is not None
        assert gateway.stdout is not None
        assert gateway.stdout.readline() == "ready\n"
        before = snapshot(under=os.getpid())
        gateway.stdin.write("go\n")
        gateway.stdin.flush()
        assert gateway.stdout.readline() == "done\n"
        whole = psutil.Process(gateway.pid).cpu_times()
        after = snapshot(under=os.getpid())
    finally:
        gateway.kill()
        gateway.wait()
        for stream in (gateway.stdin, gateway.stdout):
            assert stream is not None
            stream.close()
    use = between(before, after)
    assert set(use.by_deployment) == {"allocator", "gateway"}
    assert 0.35 <= use.by_deployment["allocator"] <= 0.5
    assert 0.15 <= use.by_deployment["gateway"] <= 0.35
    assert abs(sum(after.values()) - whole.user - whole.system) <= 0.03, "nothing is counted twice"
    assert use.lost == 0
