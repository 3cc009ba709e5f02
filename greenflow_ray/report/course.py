"""The GreenFlow arm second by second, as the ledger kept it: moments, steps for pictures and sums, and carbon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from greenflow_ray.energy.carbon.intensity import JOULES_PER_KWH, CarbonIntensity
from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import Array, BudgetCourse, edges
from greenflow_ray.report import contents
from greenflow_ray.report.contents import Moment

LIMITS = {"flops": "FLOPs", "cores": "cores", "watts": "watts", "kwh": "energy", "grams": "carbon"}


def finite(value: Any) -> float | None:
    """A finite number, or None."""
    return float(value) if value is not None and math.isfinite(value) else None


def trajectory_of(rows: Iterable[Mapping[str, Any]], started_at: float) -> tuple[Moment, ...]:
    """Moments from the ledger's trajectory: rows with ``time`` (or ``t``, unix seconds), ``version`` and ``price``.

    What else a row says (budget, bound_by, spend, requests, grams_per_kwh, carbon_stale, watts, replicas) is kept,
    what it does not say is unknown. ``started_at``, unix seconds, becomes 0; the last point before it is kept at 0,
    earlier and unfinished ones are dropped. Raises DataError on a row without time, version or price.
    """
    points: list[Moment] = []
    for row in rows:
        try:
            t = float(row["time"] if "time" in row else row["t"]) - started_at
            price, version = row["price"], int(row["version"])
            if price is None or not math.isfinite(price):
                continue
            spend, requests = (None if row.get(n) is None else int(row[n]) for n in ("spend", "requests"))
            point = Moment(
                t=max(0.0, t),
                version=version,
                price=float(price),
                budget=finite(row.get("budget")),
                bound_by=row.get("bound_by"),
                spend=spend,
                requests=requests,
                grams_per_kwh=finite(row.get("grams_per_kwh")),
                carbon_stale=bool(row.get("carbon_stale")),
                watts=finite(row.get("watts")),
                replicas={str(name): int(n) for name, n in (row.get("replicas") or {}).items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"course of the price: a row lacks time, version or price, or holds something else ({error!r}); "
                "give the trajectory of GET /v1/stats"
            ) from error
        points.append(point)
    points.sort(key=lambda point: point.t)
    before = [point for point in points if point.t == 0.0]
    return tuple(before[-1:] + points[len(before) :])


def prices_of(result: ArmResult) -> tuple[Moment, ...]:
    """The course of the price as receipts show it: one point where price or version changed."""
    requests = result.requests
    rows = np.flatnonzero(result.ok & np.isfinite(requests.price))
    price, version = requests.price[rows], requests.price_version[rows]
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (np.diff(price) != 0) | (np.diff(version) != 0)
    columns = requests.scheduled[rows][new].tolist(), version[new].tolist(), price[new].tolist()
    return tuple(Moment(t=t, version=v, price=p) for t, v, p in zip(*columns, strict=True))


def budget_course(course: Sequence[Moment], flops_per_second: float | None) -> BudgetCourse | None:
    """The budget as the course has it, else the constant one, else None: no budget was set.

    A course that names no budget at all does not know it; in one that names some, none means no limit.
    """
    if all(m.budget is None for m in course):
        return None if flops_per_second is None else BudgetCourse.constant(flops_per_second)
    moments = [b for a, b in zip((None, *course), course, strict=False) if a is None or b.t > a.t]
    new = [b for a, b in zip((None, *moments), moments, strict=False) if a is None or b.budget != a.budget]
    rates = [math.inf if m.budget is None else m.budget for m in new]
    return BudgetCourse(np.array([m.t for m in new]), np.array(rates))


def steps(course: Sequence[Moment], name: str, bounds: Array) -> Array:
    """The course's ``name`` in force at the middle of each window, float64 ``[windows]``: the last one known before.

    Before any is known the first one, and NaN everywhere if none is.
    """
    known = [(m.t, v) for m in course if (v := getattr(m, name)) is not None]
    if not known:
        return np.full(len(bounds) - 1, np.nan)
    times, numbers = (np.array(column) for column in zip(*known, strict=True))
    middle = (bounds[:-1] + bounds[1:]) / 2
    return np.asarray(numbers[np.maximum(np.searchsorted(times, middle, side="right") - 1, 0)], np.float64)


def limit_of(bound_by: str) -> str:
    """Short name of the limit that binds, a key of :data:`LIMITS`, or the ledger's own word if it is unknown."""
    return next((name for name in LIMITS if bound_by.startswith(name)), bound_by)


def intensity_changes(course: Sequence[Moment], end: float) -> list[tuple[float, float, float]]:
    """Moments at which the carbon intensity changed by more than 5 %: (second, from, to)."""
    known = [(m.t, m.grams_per_kwh) for m in course if m.grams_per_kwh is not None]
    out: list[tuple[float, float, float]] = []
    old = known[0][1] if known else 0.0
    for t, new in known:
        if 0 < t < end and abs(new - old) > 0.05 * min(new, old):
            out.append((t, old, new))
            old = new
    return out


def replica_states(course: Sequence[Moment], end: float) -> tuple[dict[str, list[int]], Array]:
    """Replicas by deployment, one number a moment before ``end``, and these moments' seconds; empty if unknown."""
    points = [m for m in course if m.t < end and m.replicas]
    names = sorted({name for m in points for name in m.replicas})
    return {name: [m.replicas.get(name, 0) for m in points] for name in names}, np.array([m.t for m in points])


@dataclass(frozen=True)
class Footprint:
    """An arm's energy and carbon over time, by the second."""

    bounds: Array  # [n + 1], seconds
    joules: Array  # [n]; adds up to the node's energy of the arm
    grams_per_kwh: Array  # [n], gCO2e/kWh
    shaped: bool  # whether serving's watts were known by the second; without them energy is spread evenly

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
    intensity = steps(course, "grams_per_kwh", bounds)
    watts = steps(course, "watts", bounds)
    shaped = own and bool(np.isfinite(watts).all() and watts.sum() > 0)
    weights = watts * spans if shaped else spans
    serving = min(serving_joules, joules)
    spread = serving * weights / weights.sum() + (joules - serving) * spans / spans.sum()
    return Footprint(bounds, spread, np.where(np.isfinite(intensity), intensity, grams_per_kwh), shaped)


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
