"""How dirty the grid's electricity is: one protocol for a country's average, a fixed value, a record and live ones."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from greenflow_ray.errors import ConfigError, DataError, ResourceProblem

JOULES_PER_KWH = 3.6e6
HOUR_S = 3600.0

Kind = Literal["average", "marginal"]


@dataclass(frozen=True)
class CarbonIntensity:
    """One value of the grid's carbon intensity, with where it comes from."""

    grams_per_kwh: float  # gCO2e
    source: str  # who says so, in words
    kind: Kind  # average or marginal; the two are never mixed
    time: float  # the moment the value stands for, unix seconds
    stale: bool = False  # whether the source had nothing for this moment, so that its last known value was taken

    def grams(self, joules: float) -> float:
        """gCO2e of ``joules`` (paper's PFEC: CE = EC · CI; PUE belongs to the joules)."""
        return joules / JOULES_PER_KWH * self.grams_per_kwh


class CarbonSource(Protocol):
    """Anything that knows the carbon intensity at a moment."""

    @property
    def kind(self) -> Kind:
        """Average or marginal: of all its values."""

    def at(self, time: float) -> CarbonIntensity:
        """The intensity at ``time``, unix seconds."""


class NotAnswered(ResourceProblem):
    """A live service gave no usable value. Its text quotes neither what was sent nor what came, which may hold a token.

    ``retry_after_s``: seconds that the service asked to be left alone; None: it did not say.
    """

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class ConstantSource:
    """The same intensity at any time."""

    grams_per_kwh: float
    source: str = "given value"
    kind: Kind = "average"

    def __post_init__(self) -> None:
        _check(self.grams_per_kwh, "carbon intensity")

    def at(self, time: float) -> CarbonIntensity:
        """The constant, stamped with ``time``."""
        return CarbonIntensity(self.grams_per_kwh, self.source, self.kind, time)


@dataclass(frozen=True)
class ReplaySource:
    """A recorded series, each value valid from its time until the next one's; both arrays float64 ``[n]``."""

    times: npt.NDArray[np.float64]  # strictly increasing: unix seconds, or seconds of the day if ``daily``
    grams_per_kwh: npt.NDArray[np.float64]
    source: str  # who recorded it
    kind: Kind = "average"
    daily: bool = False  # the series is one UTC day that repeats
    limit_s: float = HOUR_S  # seconds after the last time for which its value is still fresh

    def at(self, time: float) -> CarbonIntensity:
        """The value valid at ``time``; flagged stale past the record's end. Raises DataError before its start."""
        moment = time % (24 * HOUR_S) if self.daily else time
        row = int(np.searchsorted(self.times, moment, side="right")) - 1
        if row < 0 and not self.daily:
            raise DataError(f"{self.source}: no carbon intensity before {_iso(self.times[0])}, asked for {_iso(time)}")
        # A repeating day whose first hour is missing goes on with the evening before: index -1.
        found = CarbonIntensity(float(self.grams_per_kwh[row]), self.source, self.kind, time)
        return replace(found, stale=True) if not self.daily and moment > self.times[-1] + self.limit_s else found


def country_source(iso_code: str) -> ConstantSource:
    """The yearly average of a country (three-letter ISO code) from codecarbon's table. Raises ConfigError."""
    from codecarbon.input import DataSource  # here, because it takes a moment that most commands need not spend

    row = DataSource().get_global_energy_mix_data().get(iso_code.upper())
    if row is None:
        raise ConfigError(
            f"energy.country_iso_code: {iso_code!r} is not in codecarbon's table; give a three-letter ISO code "
            "such as 'USA', or set energy.carbon.source: constant"
        )
    words = f"codecarbon table, {row['country_name']} {row['year']}, yearly average"
    return ConstantSource(float(row["carbon_intensity"]), words)


def replay_source(path: Path | str, *, kind: Kind = "average", limit_s: float = HOUR_S) -> ReplaySource:
    """Read a CSV: ``grams_per_kwh`` and either ``time`` (ISO 8601 or unix seconds) or ``hour`` (UTC, of every day).

    Raises DataError, naming the line, on anything else.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}); give a CSV of carbon intensities") from error
    daily = bool(rows) and "hour" in rows[0]
    key = "hour" if daily else "time"
    if not rows or key not in rows[0] or "grams_per_kwh" not in rows[0]:
        raise DataError(f"{path}: expected columns 'grams_per_kwh' and 'time' or 'hour', with at least one row")
    times, grams = [], []
    for line, row in enumerate(rows, start=2):
        try:
            times.append(float(row[key]) * HOUR_S if daily else unix_seconds(row[key]))
            grams.append(_check(float(row["grams_per_kwh"]), "grams_per_kwh"))
        except (TypeError, ValueError, ConfigError) as error:
            raise DataError(f"{path}, line {line}: {error}; correct or remove the line") from error
    array = np.array(times, dtype=np.float64)
    if np.any(np.diff(array) <= 0):
        raise DataError(f"{path}: column {key!r} must increase strictly; sort the rows and remove duplicates")
    if daily and not (array[0] >= 0 and array[-1] < 24 * HOUR_S):
        raise DataError(f"{path}: column 'hour' must lie from 0 up to, not including, 24")
    return ReplaySource(array, np.array(grams), f"replay of {path.name}", kind, daily, limit_s)


def _check(value: float, what: str) -> float:
    """Return ``value`` if it is a possible intensity; raise ConfigError otherwise."""
    if not math.isfinite(value) or value < 0:
        raise ConfigError(f"{what}: {value} is not a number of at least 0 gCO2e/kWh")
    return value


def unix_seconds(text: str) -> float:
    """Unix seconds of ISO 8601 text (UTC if it names no zone) or of a number."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _iso(time: float) -> str:
    return datetime.fromtimestamp(float(time), UTC).isoformat(timespec="seconds")
