"""CPU-seconds of threads that work for one part of the system inside the process of another."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

PREFIX = "gf:"
_LINUX = sys.platform.startswith("linux")
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Crew:
    """This process's threads whose Python names begin with one of ``names``: they work for ``part``.

    On Linux they are marked by a name of their own, by which :func:`marked` finds them from outside the process;
    elsewhere their time can be told from inside alone.
    """

    def __init__(self, part: str, names: tuple[str, ...]) -> None:
        self._mark = (PREFIX + part)[:15]  # the longest name that Linux gives a thread
        self._names = names
        self._pid = os.getpid()
        self._marked: set[int] = set()

    def cpu_seconds(self) -> float:
        """So far, of those that live."""
        ids = {t.native_id for t in threading.enumerate() if t.name.startswith(self._names) and t.native_id}
        for thread in ids - self._marked:
            with suppress(OSError):
                Path(_task(self._pid, thread), "comm").write_text(self._mark)
        self._marked = ids
        return sum(_seconds(self._pid, ids).values())


def marked(pid: int) -> list[tuple[str, float]]:
    """Part and CPU-seconds so far of every marked thread of a process; nothing where threads cannot be marked."""
    parts: dict[int, str] = {}
    for name in Path(f"/proc/{pid}/task").glob("*/comm"):
        try:
            text = name.read_text().rstrip("\n")
        except OSError:
            continue
        if text.startswith(PREFIX):
            parts[int(name.parent.name)] = text.removeprefix(PREFIX)
    return [(parts[thread], seconds) for thread, seconds in _seconds(pid, parts).items()] if parts else []


def _seconds(pid: int, threads: Collection[int]) -> dict[int, float]:
    """CPU-seconds so far of those threads that live; psutil would read all of the process's to tell of some."""
    if not _LINUX:
        try:
            return {t.id: t.user_time + t.system_time for t in psutil.Process(pid).threads() if t.id in threads}
        except psutil.Error:
            return {}
    found: dict[int, float] = {}
    for thread in threads:
        try:
            with open(_task(pid, thread) + "/stat", "rb", buffering=0) as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        found[thread] = (int(fields[11]) + int(fields[12])) / _TICKS  # utime and stime, see proc(5)
    return found


def _task(pid: int, thread: int) -> str:
    return f"/proc/{pid}/task/{thread}"
