"""CPU-seconds of threads that work for one part of the system inside the process of another."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psutil

PREFIX = "gf:"
_TASKS = "/proc/{pid}/task"


class Crew:
    """This process's threads whose Python names begin with one of ``names``: they work for ``part``.

    On Linux they are marked by a name of their own, by which :func:`marked` finds them from outside the process;
    elsewhere their time can be told from inside alone.
    """

    def __init__(self, part: str, names: tuple[str, ...]) -> None:
        self._mark = PREFIX + part
        self._names = names
        self._process = psutil.Process()
        self._known: set[int] = set()

    def cpu_seconds(self) -> float:
        """So far, of those that live."""
        ids = {t.native_id for t in threading.enumerate() if t.name.startswith(self._names) and t.native_id}
        for thread in ids - self._known:
            self._named(thread)
        self._known = ids
        return float(sum(t.user_time + t.system_time for t in self._process.threads() if t.id in ids))

    def _named(self, thread: int) -> None:
        try:
            Path(_TASKS.format(pid=self._process.pid), str(thread), "comm").write_text(self._mark)
        except OSError:
            return


def marked(pid: int) -> Iterator[tuple[str, float]]:
    """Part and CPU-seconds so far of every marked thread of a process; nothing where threads cannot be marked."""
    try:
        ids = {
            int(task.parent.name): name.removeprefix(PREFIX)
            for task in Path(_TASKS.format(pid=pid)).glob("*/comm")
            if (name := task.read_text().rstrip("\n")).startswith(PREFIX)
        }
        if ids:
            yield from ((ids[t.id], t.user_time + t.system_time) for t in psutil.Process(pid).threads() if t.id in ids)
    except (OSError, psutil.Error):
        return
