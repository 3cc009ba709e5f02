"""The carbon source that a cascade declares; of a live one, the last value is kept while it does not answer."""

from __future__ import annotations

import math
import time as clocks
from collections.abc import Callable
from dataclasses import replace

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.carbon.intensity import (
    HOUR_S,
    CarbonIntensity,
    CarbonSource,
    ConstantSource,
    Kind,
    NotAnswered,
    country_source,
    replay_source,
)
from greenflow_ray.errors import ConfigError, GreenFlowError

PAUSE_S = 30.0
"""Seconds without asking after a first failure; doubled by every further one, up to an hour."""
_LONGEST_WAIT_S = 24 * HOUR_S


def source_for(config: EnergyConfig, clock: Callable[[], float] = clocks.time) -> CarbonSource:
    """The source a cascade's configuration declares.

    A live one comes as a :class:`LastKnown`, which has to be refreshed, and answers with the country's average until
    then. Raises ConfigError on an unknown country or a missing token, DataError on a bad record.
    """
    carbon = config.carbon
    if carbon.grams_per_kwh is not None:
        return ConstantSource(carbon.grams_per_kwh, "energy.carbon.grams_per_kwh", carbon.kind)
    if carbon.path is not None:
        return replay_source(carbon.path, kind=carbon.kind, limit_s=carbon.limit_s)
    country = country_source(config.country_iso_code)
    if carbon.source == "country":
        return country
    from greenflow_ray.energy.carbon.services import live_source  # here: most commands need no HTTP client

    return LastKnown(live_source(carbon), carbon.limit_s, clock, fallback=country)


def refresh(source: CarbonSource) -> None:
    """Ask the service behind a live source; nothing to do for the others."""
    if isinstance(source, LastKnown):
        source.refresh()


def now(source: CarbonSource, time: Callable[[], float] = clocks.time) -> CarbonIntensity:
    """The intensity at this moment of ``time``, a clock of unix seconds; a live source is asked first."""
    refresh(source)
    return source.at(time())


class LastKnown:
    """Keeps the last good value of ``source``, whose ``at`` may ask the network, fail and take its time.

    :meth:`refresh` is for a background thread; :meth:`at` may be called from any other, never asks and never fails. A
    value is stale from ``limit_s`` seconds after the moment it stands for. Before the first value, and for that time
    only, ``fallback`` answers, flagged as stale. Values and fallback are of one kind, average or marginal: another
    raises ConfigError here, and counts as a failure later. ``problem`` is why the last request failed, in one line
    without secrets; None while all is well.
    """

    def __init__(
        self, source: CarbonSource, limit_s: float, clock: Callable[[], float] = clocks.time, *, fallback: CarbonSource
    ) -> None:
        stand_in = fallback.at(clock())
        if stand_in.kind != source.kind:
            raise ConfigError(
                f"energy.carbon.kind: the source gives {source.kind} intensities and its fallback ({stand_in.source}) "
                f"{stand_in.kind} ones, and the two are never mixed; give a fallback of kind {source.kind}"
            )
        self.kind: Kind = source.kind
        self._source, self._limit_s, self._clock = source, limit_s, clock
        words = f"{stand_in.source}, until the live source answers for the first time"
        self._fallback = replace(stand_in, stale=True, source=words)
        self._last: CarbonIntensity | None = None
        self._failures = 0
        self._not_before = -math.inf
        self.problem: str | None = None

    def refresh(self) -> bool:
        """Ask the source, unless it wants to be left alone or has just failed; whether a new value came. Never raises.

        After a failure it is asked again when its Retry-After has passed, or after a pause that doubles each time.
        """
        now = self._clock()
        if now < self._not_before:
            return False
        try:
            self._take(self._source.at(now), now)
        except Exception as error:  # whatever a source may raise, serving goes on with the last value
            told = str(error) if isinstance(error, GreenFlowError) else type(error).__name__
            self.problem = " ".join(told.split())
            asked = getattr(error, "retry_after_s", None)
            pause = min(PAUSE_S * 2.0 ** min(self._failures, 16), HOUR_S) if asked is None else asked
            self._failures += 1
            self._not_before = now + min(pause, _LONGEST_WAIT_S)
            return False
        self._failures, self.problem = 0, None
        return True

    def _take(self, found: CarbonIntensity, now: float) -> None:
        """Keep a value, or raise what is wrong with it."""
        if found.kind != self.kind:
            raise NotAnswered(f"{found.source}: gives {found.kind} intensities where {self.kind} ones are expected")
        if not (math.isfinite(found.grams_per_kwh) and found.grams_per_kwh >= 0 and math.isfinite(found.time)):
            raise NotAnswered(f"{found.source}: its value or time is not a usable number")
        if found.time > now + self._limit_s:
            raise NotAnswered(f"{found.source}: its value is of the future; set this machine's clock")
        if self._last is None or found.time >= self._last.time:
            self._last = found

    def at(self, time: float) -> CarbonIntensity:
        """The last known value, stamped with its own moment, and stale if ``time`` is too far from it."""
        if (last := self._last) is None:
            return replace(self._fallback, time=time)
        return replace(last, stale=last.stale or time - last.time > self._limit_s)
