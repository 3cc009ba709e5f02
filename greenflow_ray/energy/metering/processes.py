"""CPU-seconds of Ray Serve's processes on this node, by deployment, read from the operating system."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import psutil

from greenflow_ray.energy.metering.thread_seconds import marked

LEDGER = "ledger"
METER = "meter"
_ACTORS = {"ProxyActor": "proxy", "HAProxyManager": "proxy", "ServeController": "controller", "NodeMeter": METER}

# While a call runs, Ray appends the method to the title; a deployment's own name may hold dots too ("din.v2"), so only
# what looks like a method of Serve's replica wrapper is cut off.
_METHOD = re.compile(
    r"\.(?:handle_\w+|check_\w+|initialize_\w+|reconfigure\w*|record_\w+|perform_\w+|push_\w+|get_\w+|list_\w+"
    r"|is_\w+|prepare_\w+|pong|ping|__\w+|_\w+)(?:\(\))?$"
)
_AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
_REPLICA = re.compile(r"^ray::ServeReplica:[^:]*:(.+)$")
_GONE = (psutil.NoSuchProcess, psutil.AccessDenied)


Snapshot = Mapping[tuple[int, float, str], float]
"""CPU-seconds so far of every Serve process by (pid, creation time, deployment), children included.

Threads that work for another deployment than their process's are apart.
"""


@dataclass(frozen=True)
class CpuUse:
    """CPU-seconds spent between two snapshots."""

    by_deployment: Mapping[str, float]  # proxies, Serve's controller and the ledger appear under their own names
    lost: int  # Serve processes that ended in between; their CPU-seconds are unknown and missing above

    @property
    def total(self) -> float:
        """CPU-seconds of all Serve processes."""
        return sum(self.by_deployment.values())


def deployment_of(title: str) -> str | None:
    """Name under which a process title is counted, or None if it is not Serve's."""
    found = _REPLICA.match(title.strip())
    if found:
        return _METHOD.sub("", found[1])
    if not title.startswith("ray::"):
        return None
    actor = title[5:].split(".")[0].strip()
    return LEDGER if "ledger" in actor.lower() else _ACTORS.get(actor)


def snapshot(
    processes: Callable[[], Iterable[psutil.Process]] = psutil.process_iter, *, under: int | None = None
) -> Snapshot:
    """Read every process of this node once. Needs no Ray; other nodes' replicas are not seen from here.

    ``under`` limits them to the descendants of one process, e.g. the driver that started Ray, where several Ray
    clusters share the node.
    """
    seen: dict[int, psutil.Process] = {}
    parents: dict[int, int] = {}
    roots: dict[int, str] = {}
    for process in processes():
        try:
            with process.oneshot():
                parents[process.pid] = process.ppid()
                name = deployment_of(_title(process))
        except _GONE:
            continue
        seen[process.pid] = process
        if name is not None:
            roots[process.pid] = name
    if under is not None:
        roots = {pid: name for pid, name in roots.items() if under in _ancestors(pid, parents)}
    used = dict.fromkeys(roots, 0.0)
    for pid, process in seen.items():
        root = next((p for p in _ancestors(pid, parents) if p in roots), None)
        if root is not None:
            used[root] += _seconds(process)
    spent: dict[tuple[int, float, str], float] = {}
    for pid, name in roots.items():
        key = (pid, seen[pid].create_time())
        spent[*key, name] = used[pid]
        for part, seconds in marked(pid):
            spent[*key, name] -= seconds
            spent[*key, part] = spent.get((*key, part), 0.0) + seconds
    return spent


def job_seconds() -> float:
    """CPU-seconds so far of jobs on the Ray cluster below this process, their tasks included.

    Every Ray worker that is not Serve's counts, with all it has started: on a cluster of one's own that is repricing.
    The agents that Ray runs on every node, jobs or not, do not.
    What ended before is known only as far as its parent lives.
    """
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            title = _title(process)
            if title.startswith("ray::") and title not in _AGENTS and deployment_of(title) is None:
                total += _seconds(process) + sum(_seconds(child) for child in process.children(recursive=True))
        except _GONE:
            continue
    return total


def own_or_all() -> Callable[[], Snapshot]:
    """How to watch a server: this process's own Ray cluster if it started one, else every Serve process of the node."""
    own = os.getpid()
    return partial(snapshot, under=own if snapshot(under=own) else None)


def between(before: Snapshot, after: Snapshot) -> CpuUse:
    """CPU-seconds spent from ``before`` to ``after``; processes started in between count in full."""
    spent: dict[str, float] = {}
    for key, seconds in after.items():
        spent[key[2]] = spent.get(key[2], 0.0) + max(0.0, seconds - before.get(key, 0.0))
    return CpuUse(dict(sorted(spent.items())), sum(key not in after for key in before))


def node_seconds() -> float:
    """Busy CPU-seconds of this node since boot: everything but idling, waiting for disks and stolen time."""
    times = psutil.cpu_times()
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # already inside user and nice
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    return float(sum(times) - guest - idle)


def _ancestors(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    """A process, its parent, its parent's parent, …"""
    seen: set[int] = set()
    while pid not in seen:  # a pid given anew while we read could close a circle
        yield pid
        seen.add(pid)
        pid = parents.get(pid, pid)


def _title(process: psutil.Process) -> str:
    return (process.cmdline() or [""])[0]


def _seconds(process: psutil.Process) -> float:
    """CPU-seconds of a process and of its children that have ended; 0 if it has gone meanwhile."""
    try:
        times = process.cpu_times()
    except _GONE:
        return 0.0
    parts = ("user", "system", "children_user", "children_system")
    return float(sum(getattr(times, part, 0.0) for part in parts))
