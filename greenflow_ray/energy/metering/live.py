"""Meters over codecarbon: one that runs as long as a node serves, and one for a single window after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.metering.meter import EnergyWindow, by_machine
from greenflow_ray.energy.metering.processes import node_seconds
from greenflow_ray.energy.metering.tracker import Tracker
from greenflow_ray.errors import ResourceProblem

RENEW_S = 3600.0
"""A tracker is replaced after this long, as codecarbon keeps every second's samples."""
RETRY_S = 60.0
"""After a failure, codecarbon is tried again after this long."""
NOTHING_S = 1.0
"""A longer window without any energy is a failure."""


class LiveMeter:
    """One a node, never one a replica: it sees the whole machine. Any thread may read it.

    One codecarbon tracker keeps running; a reading takes the differences of its totals. While it fails, or where it has
    no counter to read, windows are the machine's watts by load (:func:`~.meter.by_machine`) and say so. The first
    tracker of a process takes a second or two to start, here; a reading costs about a millisecond of CPU, and
    codecarbon's own samples about another one a second. Read it at least every few minutes: windows may be of any
    length, but hardware counters go round.
    """

    def __init__(
        self,
        config: EnergyConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = node_seconds,
        tracker: Callable[[EnergyConfig], Tracker] = Tracker,
        nothing_s: float = NOTHING_S,
    ) -> None:
        self._config = config or EnergyConfig()
        self._clock, self._busy = clock, busy
        self._new_tracker, self._nothing_s = tracker, nothing_s
        self._lock = threading.Lock()
        self._tracker: Tracker | None = None
        self._problem = ""
        self._closed = False
        self._countless = False  # there is no counter to read, hence no tracker either
        self._renew()  # before the first window opens: it may take its time
        self._began = clock(), busy()

    def read(self) -> EnergyWindow:
        """What the node used since the last reading, or since the start. Raises ResourceProblem once closed."""
        with self._lock:
            if self._closed:
                raise ResourceProblem("energy meter read after it was closed; make a new LiveMeter")
            return self._window(last=self._clock() - self._since >= (RETRY_S if self._tracker is None else RENEW_S))

    def close(self) -> EnergyWindow | None:
        """The last window, and the end of codecarbon's threads; None if it is closed already."""
        with self._lock:
            if self._closed:
                return None
            self._closed = True
            return self._window(last=True)

    def _window(self, *, last: bool) -> EnergyWindow:
        """Close the open window and open the next; ``last``: of its tracker."""
        (began, busy), self._began = self._began, (self._clock(), self._busy())
        now, used = self._began
        estimate = by_machine(now - began, max(0.0, used - busy), self._config)
        window = self._measured(estimate, last=last)
        if last and not (self._closed or self._countless):
            self._renew()
        return window or replace(estimate, method=f"{estimate.method} (codecarbon failed: {self._problem})")

    def _measured(self, estimate: EnergyWindow, *, last: bool) -> EnergyWindow | None:
        """The tracker's window, or ``estimate`` where there is no counter; None if it fails and is given up."""
        tracker = self._tracker
        if self._countless:
            return estimate
        if tracker is None:
            return None
        try:
            window = tracker.read(estimate, last=last)
            if not window.joules > 0 and window.seconds > self._nothing_s:
                raise ValueError("no energy counted")
            guessed = window.cpu_source == "estimated" and not window.gpu_joules
            if guessed and self._config.machine.use == "auto":  # codecarbon would charge the whole package's TDP
                self._countless = True
                if not last:
                    tracker.read(estimate, last=True)
                self._tracker, window = None, estimate
            return window
        except Exception as error:  # codecarbon reads hardware in many ways; none may stop the meter
            self._tracker, self._problem, self._since = None, type(error).__name__, self._clock()
            with suppress(Exception):  # it has failed already, and says why in the window
                tracker.read(estimate, last=True)
            return None

    def _renew(self) -> None:
        self._since = self._clock()
        try:
            self._tracker = self._new_tracker(self._config)
        except Exception as error:
            self._tracker, self._problem = None, type(error).__name__


class CodecarbonMeter:
    """A :class:`~.meter.EnergyMeter` of separate windows: codecarbon is started for each.

    If it cannot start or counts nothing, the window is of the machine's watts by load, and its method says so.
    """

    def __init__(
        self, config: EnergyConfig | None = None, *, tracker: Callable[[EnergyConfig], Tracker] = Tracker
    ) -> None:
        self._config = config
        self._new_tracker = tracker
        self._open: LiveMeter | None = None

    def start(self) -> None:
        """Open a window."""
        self._open = LiveMeter(self._config, tracker=self._new_tracker, nothing_s=0.0)

    def stop(self) -> EnergyWindow:
        """Close the window. Raises ResourceProblem if none is open."""
        meter, self._open = self._open, None
        window = None if meter is None else meter.close()
        if window is None:
            raise ResourceProblem("energy meter stopped before it was started; call start() first")
        return window
