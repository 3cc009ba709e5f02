"""From two played arms to a report: recounted, compared, and with every reservation written down."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np

from greenflow_ray.config import EnergyConfig
from greenflow_ray.energy.attribution import share
from greenflow_ray.energy.carbon.intensity import CarbonIntensity
from greenflow_ray.energy.carbon.sci import sci
from greenflow_ray.errors import DataError
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.loadtest.windows import BudgetCourse
from greenflow_ray.pricing.frontier import Frontier
from greenflow_ray.report import compare, contents
from greenflow_ray.report.compare import REPRICING
from greenflow_ray.report.course import budget_course, carbon_part, finite, footprint, prices_of
from greenflow_ray.report.notes import reservations


def build_report(
    equal: ArmResult,
    greenflow: ArmResult,
    tuned: ArmResult | None = None,
    *,
    tuned_chains: Mapping[str, float] | None = None,
    dataset: str,
    synthetic: bool,
    seed: int,
    budget_flops_per_second: float | None = None,
    budget: BudgetCourse | None = None,
    trajectory: Sequence[contents.Moment] | None = None,
    models: Iterable[Any] = (),
    reward: Mapping[str, float] | None = None,
    reward_flops_per_request: int | None = None,
    allocator_p99_s: float | None = None,
    repricing_cpu_seconds: float | None = None,
    frontier: Frontier | None = None,
    carbon: CarbonIntensity | None = None,
    energy: EnergyConfig | None = None,
    spike: tuple[float, float] | None = None,
    clock: Callable[[], float] = time.time,
) -> contents.Report:
    """Compare the GreenFlow arm with EQUAL and, if it was played, TUNED, which served ``tuned_chains``.

    ``trajectory`` is the GreenFlow arm as the ledger kept it (``trajectory_of``); without it the receipts' prices are
    taken. The budget is ``budget``, else the trajectory's, else the constant ``budget_flops_per_second``. ``models``
    are rows with ``stage``, ``name``, ``flops_per_item`` and ``auc``, as attributes or keys. ``reward`` is the reward
    model's calibration. ``reward_flops_per_request`` is what the reward model costs, ``repricing_cpu_seconds`` what the
    repricing job used while the GreenFlow arm ran. ``frontier`` is the published price's. ``energy``
    says what is embodied in a node; without it that is left out. ``spike``: from and until which second of the trace
    traffic was multiplied. Raises DataError if the arms did not play the same trace.
    """
    a = equal.requests
    for b in (arm.requests for arm in (greenflow, tuned) if arm is not None):
        if len(a) != len(b) or np.any(a.user_id != b.user_id) or np.any(a.scheduled != b.scheduled):
            raise DataError("the arms did not play the same trace; play one trace with each and report that")
    course = tuple(prices_of(greenflow) if trajectory is None else trajectory)
    means = energy or EnergyConfig()
    arms = contents.Arms(
        equal=_arm(equal, carbon, course, means),
        tuned=None if tuned is None else _arm(tuned, carbon, course, means),
        greenflow=_arm(greenflow, carbon, course, means, own=True, repricing=repricing_cpu_seconds),
    )
    rivals = contents.Rivals(equal=compare.against(equal, greenflow, arms.equal, arms.greenflow, seed))
    if tuned is not None and arms.tuned is not None:
        held = compare.against(tuned, greenflow, arms.tuned, arms.greenflow, seed)
        rivals = rivals.model_copy(update={"tuned": held, "tuned_chains": dict(tuned_chains or {})})
    report = contents.Report(
        dataset=dataset,
        synthetic=synthetic,
        seed=seed,
        requests=len(a),
        arms=arms,
        against=rivals,
        saving=compare.saving(equal, greenflow, arms, seed),
        budget=compare.budget(equal, greenflow, budget or budget_course(course, budget_flops_per_second), spike, seed),
        overhead=compare.overhead(greenflow, reward_flops_per_request, allocator_p99_s, repricing_cpu_seconds),
        phases=compare.phases(equal, greenflow, spike),
        models=tuple(map(_model, models)),
        reward={name: float(value) for name, value in (reward or {}).items() if math.isfinite(value)},
        versions=versions_here(),
        created_at=datetime.fromtimestamp(clock(), UTC).isoformat(timespec="seconds"),
        carbon=carbon_part(carbon, course, greenflow.duration_s),
        course=course,
        frontier=None if frontier is None else compare.curve(frontier, equal, greenflow, seed, tuned),
    )
    return report.model_copy(update={"notes": tuple(reservations(report, equal, greenflow))})


def versions_here() -> dict[str, str]:
    """Versions of what a result depends on."""
    out = {"python": platform.python_version()}
    for name in ("greenflow-ray", "ray", "torch", "numpy", "codecarbon"):
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return out


def _arm(
    result: ArmResult,
    carbon: CarbonIntensity | None,
    course: Sequence[contents.Moment],
    config: EnergyConfig,
    *,
    own: bool = False,
    repricing: float | None = None,
) -> contents.Arm:
    """One arm; ``own``: ``course`` is its own; ``repricing``: CPU-seconds of the job beside it."""
    energy, cpu = result.energy, dict(result.cpu_seconds)
    latency = contents.Latency(**{name: finite(v) for name, v in result.latency_seconds((0.5, 0.95, 0.99)).items()})
    parts, grams, intensity = None, None, None
    if energy:
        parts = share(
            energy.joules, cpu | ({} if repricing is None else {REPRICING: repricing}), energy.node_cpu_seconds
        )
        if carbon:
            serving = parts.attributed_joules
            grams = footprint(energy.joules, serving, result.duration_s, carbon.grams_per_kwh, course, own=own).total
            intensity = sci(grams, int(np.count_nonzero(result.ok)), config, node_seconds=energy.seconds)
    return contents.Arm(
        requests=len(result.requests),
        errors=result.errors,
        degraded=int(np.count_nonzero(result.requests.degraded)),
        clicks=int(result.requests.clicks.sum()),
        flops=int(result.recounted.sum()),
        cpu_seconds=sum(cpu.values()) if cpu else None,
        energy_joules=energy.joules if energy else None,
        energy_source=energy.source if energy else None,
        joules=energy.joules if energy else None,
        marginal_joules=energy.marginal_joules if energy else None,
        p99_ms=None if latency.p99 is None else 1000 * latency.p99,
        carbon_grams=grams,
        latency_seconds=latency,
        chains=result.chain_counts(),
        duration_seconds=result.duration_s,
        flops_by_receipts=int(result.requests.flops.sum()),
        flops_mismatches=result.mismatches,
        errors_by_kind=result.error_counts(),
        degraded_by_reason=result.degraded_counts(),
        cpu_seconds_by_deployment=cpu,
        energy_by_deployment_joules=parts.joules if parts else {},
        energy_unattributed_joules=parts.unattributed_joules if parts else None,
        energy_method=energy.method if energy else None,
        carbon_grams_per_1000_requests=intensity.operational if intensity else None,
        sci=contents.Sci(**asdict(intensity)) if intensity else None,
        client_cpu_seconds=result.client_cpu_seconds,
        client_send_delay_p99_seconds=result.send_delay_s["p99"],
    )


def _model(row: Any) -> contents.Model:
    """One row of the models' table from an object or a mapping; an unknown AUC is null."""
    names = contents.Model.model_fields
    values = {name: row.get(name) if isinstance(row, Mapping) else getattr(row, name, None) for name in names}
    return contents.Model.model_validate({**values, "auc": finite(values["auc"])})
