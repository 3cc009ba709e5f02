"""Carbon of an arm: joules times the grid's intensity, second by second where it changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from greenflow_ray.energy.carbon.intensity import JOULES_PER_KWH, CarbonIntensity
from greenflow_ray.loadtest.windows import edges
from greenflow_ray.report import contents
from greenflow_ray.report.contents import Moment
from greenflow_ray.report.course import steps

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Footprint:
    """An arm's energy and carbon over time.

    Attributes:
        bounds: float64 ``[n + 1]``, seconds; windows of 1 s.
        joules: float64 ``[n]``; adds up to the node's energy of the arm.
        grams_per_kwh: float64 ``[n]``, gCO2e/kWh.
        shaped: whether serving's watts were known second by second; without them energy is spread evenly.
    """

    bounds: Array
    joules: Array
    grams_per_kwh: Array
    shaped: bool

    @property
    def grams(self) -> Array:
        """gCO2e of each second, float64 ``[n]``."""
        return self.joules / JOULES_PER_KWH * self.grams_per_kwh

    @property
    def total(self) -> float:
        """gCO2e of the arm."""
        return float(self.grams.sum())


def footprint(
    joules: float,
    serving_joules: float,
    duration_s: float,
    grams_per_kwh: float,
    course: Sequence[Moment],
    *,
    own: bool,
) -> Footprint:
    """Spread ``joules`` over the arm's seconds and give each the intensity of the course, else ``grams_per_kwh``.

    ``own``: the course is this arm's, so that its watts, which are serving's, shape ``serving_joules`` of the joules;
    the rest is spread evenly. The intensity is taken by second of the trace for either arm, or they would not compare.
    """
    bounds = edges(duration_s, 1.0)
    spans = np.diff(bounds)
    intensity = steps(course, [m.grams_per_kwh for m in course], bounds)
    watts = steps(course, [m.watts for m in course], bounds) if own else np.full(len(spans), np.nan)
    shaped = bool(np.isfinite(watts).all() and watts.sum() > 0)
    weights = watts * spans if shaped else spans
    serving = min(serving_joules, joules)
    return Footprint(
        bounds,
        serving * weights / weights.sum() + (joules - serving) * spans / spans.sum(),
        np.where(np.isfinite(intensity), intensity, grams_per_kwh),
        shaped,
    )


def carbon_part(carbon: CarbonIntensity | None, course: Sequence[Moment], duration_s: float) -> contents.Carbon | None:
    """The intensity for the report: its mean and range over the arm where the course has it."""
    if carbon is None:
        return None
    found = footprint(0.0, 0.0, duration_s, carbon.grams_per_kwh, course, own=False)
    low, high = float(found.grams_per_kwh.min()), float(found.grams_per_kwh.max())
    return contents.Carbon(
        grams_per_kwh=low if low == high else float(np.average(found.grams_per_kwh, weights=np.diff(found.bounds))),
        source=carbon.source,
        kind=carbon.kind,
        stale=carbon.stale or any(m.carbon_stale for m in course),
        lowest=None if low == high else low,
        highest=None if low == high else high,
    )
