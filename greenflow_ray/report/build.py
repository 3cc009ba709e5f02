"""From two played arms to a report: recounted, compared, and with every reservation written down."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from greenflow_ray.energy.attribution import share
from greenflow_ray.energy.carbon import CarbonIntensity
from greenflow_ray.energy.processes import LEDGER
from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report import schema
from greenflow_ray.report.bootstrap import saving_interval
from greenflow_ray.report.notes import reservations
from greenflow_ray.report.windows import kept

WINDOW_S = 5.0


def build_report(
    equal: ArmResult,
    greenflow: ArmResult,
    *,
    dataset: str,
    synthetic: bool,
    seed: int,
    budget_flops_per_second: float | None = None,
    trajectory: Sequence[schema.Price] | None = None,
    models: Iterable[Any] = (),
    reward: Mapping[str, float] | None = None,
    reward_flops_per_request: int | None = None,
    allocator_p99_s: float | None = None,
    carbon: CarbonIntensity | None = None,
    spike: tuple[float, float] | None = None,
    versions: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    clock: Callable[[], float] = time.time,
) -> schema.Report:
    """Compare the GreenFlow arm with the EQUAL arm.

    ``trajectory`` is the ledger's course of the price; without it the receipts' prices are taken. ``models`` are rows
    with ``stage``, ``name``, ``flops_per_item`` and ``auc``, as attributes or keys. ``reward`` is the reward model's
    calibration. ``reward_flops_per_request`` is what the reward model costs. ``spike``: from and until which
    second of the trace traffic was multiplied. Raises DataError if the arms did not play the same trace.
    """
    a, b = equal.requests, greenflow.requests
    if len(a) != len(b) or np.any(a.user_id != b.user_id) or np.any(a.scheduled != b.scheduled):
        raise DataError("the two arms did not play the same trace; play one trace twice and report that")
    arms = schema.Arms(equal=_arm(equal, carbon), greenflow=_arm(greenflow, carbon))
    if trajectory is None:
        trajectory = prices_of(greenflow)
    report = schema.Report(
        dataset=dataset,
        synthetic=synthetic,
        seed=seed,
        requests=len(a),
        arms=arms,
        saving=_saving(equal, greenflow, arms, seed),
        budget=_budget(equal, greenflow, budget_flops_per_second),
        overhead=_overhead(greenflow, reward_flops_per_request, allocator_p99_s),
        prices=tuple(trajectory),
        phases=_phases(equal, greenflow, spike),
        models=tuple(_model(row) for row in models),
        reward={name: float(value) for name, value in (reward or {}).items() if math.isfinite(value)},
        versions=dict(versions if versions is not None else versions_here()),
        created_at=datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
        carbon=None
        if carbon is None
        else schema.Carbon(
            grams_per_kwh=carbon.grams_per_kwh, source=carbon.source, kind=carbon.kind, stale=carbon.stale
        ),
    )
    return report.model_copy(update={"notes": (*reservations(report, equal, greenflow), *notes)})


def prices_of(result: ArmResult) -> tuple[schema.Price, ...]:
    """The course of the price as receipts show it: one point where price or version changed."""
    requests = result.requests
    rows = np.flatnonzero(result.ok & np.isfinite(requests.price))
    price, version = requests.price[rows], requests.price_version[rows]
    new = np.ones(len(rows), dtype=np.bool_)
    new[1:] = (np.diff(price) != 0) | (np.diff(version) != 0)
    return tuple(
        schema.Price(t=float(requests.scheduled[i]), version=int(requests.price_version[i]), price=float(p))
        for i, p in zip(rows[new], price[new], strict=True)
    )


def trajectory_of(rows: Iterable[Mapping[str, Any]], started_at: float) -> tuple[schema.Price, ...]:
    """The ledger's course of the price, rows with ``time`` (or ``t``, unix seconds), ``version`` and ``price``.

    ``started_at``, unix seconds, becomes 0; the last point before it is kept at 0, earlier and unfinished ones are
    dropped. Raises DataError on a row without these keys.
    """
    points: list[schema.Price] = []
    for row in rows:
        try:
            moment = float(row["time"] if "time" in row else row["t"]) - started_at
            price, version = row["price"], int(row["version"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"course of the price: a row lacks time, version or price ({error!r})") from error
        if price is None or not math.isfinite(price):
            continue
        points.append(schema.Price(t=max(0.0, moment), version=version, price=float(price)))
    points.sort(key=lambda point: point.t)
    before = [point for point in points if point.t == 0.0]
    return tuple(before[-1:] + points[len(before) :])


def versions_here() -> dict[str, str]:
    """Versions of what a result depends on."""
    out = {"python": platform.python_version()}
    for name in ("greenflow-ray", "ray", "torch", "numpy", "codecarbon"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def _arm(result: ArmResult, carbon: CarbonIntensity | None) -> schema.Arm:
    energy = result.energy
    latency = {k: v if math.isfinite(v) else None for k, v in result.latency_seconds((0.5, 0.95, 0.99)).items()}
    parts = share(energy.joules, result.cpu_seconds, energy.node_cpu_seconds) if energy else None
    grams = carbon.grams(energy.joules) if carbon and energy else None
    requests = len(result.requests)
    return schema.Arm(
        requests=requests,
        errors=result.errors,
        degraded=int(np.count_nonzero(result.requests.degraded)),
        clicks=int(result.requests.clicks.sum()),
        flops=int(result.recounted.sum()),
        cpu_seconds=sum(result.cpu_seconds.values()) if result.cpu_seconds else None,
        energy_joules=energy.joules if energy else None,
        energy_source=energy.source if energy else None,
        carbon_grams=grams,
        latency_seconds=schema.Latency(**latency),
        chains=result.chain_counts(),
        duration_seconds=result.duration_s,
        flops_by_receipts=int(result.requests.flops.sum()),
        flops_mismatches=result.mismatches,
        errors_by_kind=result.error_counts(),
        degraded_by_reason=result.degraded_counts(),
        cpu_seconds_by_deployment=dict(result.cpu_seconds),
        energy_by_deployment_joules=parts.joules if parts else {},
        energy_unattributed_joules=parts.unattributed_joules if parts else None,
        energy_method=energy.method if energy else None,
        carbon_grams_per_1000_requests=1000 * grams / requests if grams is not None and requests else None,
        client_cpu_seconds=result.client_cpu_seconds,
        client_send_delay_p99_seconds=result.send_delay_s["p99"],
    )


def _less(new: float | None, old: float | None) -> float | None:
    """1 − new ÷ old, or None where that means nothing."""
    return None if new is None or not old else 1 - new / old


def _saving(equal: ArmResult, greenflow: ArmResult, arms: schema.Arms, seed: int) -> schema.Saving:
    a, b = arms.equal, arms.greenflow
    users = equal.requests.user_id
    intervals: dict[str, tuple[float, float]] = {}
    for name, x, y in (
        ("flops", equal.recounted, greenflow.recounted),
        ("clicks", equal.requests.clicks, greenflow.requests.clicks),
    ):
        found = saving_interval(users, x.astype(np.float64), y.astype(np.float64), np.random.default_rng(seed))
        if found is not None:
            intervals[name] = found
    return schema.Saving(
        flops=_less(b.flops, a.flops),
        clicks=_less(b.clicks, a.clicks),
        cpu_seconds=_less(b.cpu_seconds, a.cpu_seconds),
        energy=_less(b.energy_joules, a.energy_joules),
        carbon=_less(b.carbon_grams, a.carbon_grams),
        intervals=intervals,
    )


def _phases(equal: ArmResult, greenflow: ArmResult, spike: tuple[float, float] | None) -> tuple[schema.Phase, ...]:
    """Steady traffic and spike, each arm against arm on its own; nothing if there was no spike."""
    if spike is None:
        return ()
    due = equal.requests.scheduled
    inside = (due >= spike[0]) & (due < spike[1])
    return tuple(
        schema.Phase(
            name=name,
            requests=int(rows.sum()),
            flops=_less(float(greenflow.recounted[rows].sum()), float(equal.recounted[rows].sum())),
            clicks=_less(float(greenflow.requests.clicks[rows].sum()), float(equal.requests.clicks[rows].sum())),
            degraded=int(greenflow.requests.degraded[rows].sum()),
        )
        for name, rows in (("steady traffic", ~inside), ("spike", inside))
        if rows.any()
    )


def _budget(equal: ArmResult, greenflow: ArmResult, flops_per_second: float | None) -> schema.Budget:
    if flops_per_second is None:
        return schema.Budget(flops_per_second=None, utilisation=None, overuse=None, window_seconds=WINDOW_S)
    found = kept(equal, greenflow, flops_per_second, WINDOW_S)
    return schema.Budget(
        flops_per_second=flops_per_second,
        utilisation=found.utilisation,
        overuse=found.overuse,
        window_seconds=WINDOW_S,
        windows=found.windows,
        worst_window=found.worst,
    )


def _overhead(result: ArmResult, reward_flops: int | None, p99_s: float | None) -> schema.Overhead:
    answered = int(np.count_nonzero(result.ok))
    flops_share = None
    if reward_flops is not None and answered:
        own = reward_flops * answered
        flops_share = own / (own + int(result.recounted.sum()))
    total = sum(result.cpu_seconds.values())
    own_cpu = sum(s for name, s in result.cpu_seconds.items() if name.lower() == "allocator" or LEDGER in name.lower())
    return schema.Overhead(flops_share=flops_share, cpu_share=own_cpu / total if total > 0 else None, p99_seconds=p99_s)


def _model(row: Any) -> schema.Model:
    """One row of the models' table from an object or a mapping; an unknown AUC is null."""

    def get(name: str) -> Any:
        return row.get(name) if isinstance(row, Mapping) else getattr(row, name, None)

    auc = get("auc")
    return schema.Model(
        stage=get("stage"),
        name=get("name"),
        flops_per_item=get("flops_per_item"),
        auc=None if auc is None or not math.isfinite(auc) else float(auc),
        parameters=get("parameters"),
        flops_per_request=get("flops_per_request"),
    )
