"""From two played arms to a report: recounted, compared, and with every reservation written down."""

from __future__ import annotations

import importlib.metadata
import math
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
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
from greenflow_ray.viz.style import change

TOTALS = ("requests", "degraded", "degraded_by_reason", "clicks", "flops", "flops_by_receipts", "flops_mismatches",
          "chains", "client_cpu_seconds")  # fmt: skip
LATE_S = 0.05  # lateness of the load generator, p99 in seconds, that is worth a reservation


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
        with suppress(importlib.metadata.PackageNotFoundError):
            out[name] = importlib.metadata.version(name)
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
    energy, cpu, totals = result.energy, dict(result.cpu_seconds), result.totals()
    latency = contents.Latency(**{name: totals["latency_seconds"][name] for name in contents.Latency.model_fields})
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
        **{name: totals[name] for name in TOTALS},
        errors=result.errors,
        cpu_seconds=sum(cpu.values()) if cpu else None,
        energy_joules=energy.joules if energy else None,
        energy_source=energy.source if energy else None,
        joules=energy.joules if energy else None,
        marginal_joules=energy.marginal_joules if energy else None,
        p99_ms=None if latency.p99 is None else 1000 * latency.p99,
        carbon_grams=grams,
        latency_seconds=latency,
        duration_seconds=result.duration_s,
        errors_by_kind=result.error_counts(),
        cpu_seconds_by_deployment=cpu,
        energy_by_deployment_joules=parts.joules if parts else {},
        energy_unattributed_joules=parts.unattributed_joules if parts else None,
        energy_method=energy.method if energy else None,
        carbon_grams_per_1000_requests=intensity.operational if intensity else None,
        sci=contents.Sci(**asdict(intensity)) if intensity else None,
        client_send_delay_p99_seconds=result.send_delay_s["p99"],
    )


def _model(row: Any) -> contents.Model:
    """One row of the models' table from an object or a mapping; an unknown AUC is null."""
    names = contents.Model.model_fields
    values = {name: row.get(name) if isinstance(row, Mapping) else getattr(row, name, None) for name in names}
    return contents.Model.model_validate({**values, "auc": finite(values["auc"])})


def reservations(report: contents.Report, equal: ArmResult, greenflow: ArmResult) -> list[str]:
    """Sentences for the page and for ``report.json``, most important first."""
    out: list[str] = []
    if report.synthetic:
        out.append("The data set is synthetic: clicks follow known probabilities, not people.")
    arms = (("EQUAL", equal), ("GreenFlow", greenflow))
    for label, arm in arms:
        if arm.errors:
            kinds = ", ".join(f"{n} × {kind}" for kind, n in arm.error_counts().items())
            out.append(
                f"{arm.errors:,} of {len(arm.requests):,} requests of the {label} arm failed ({kinds}); "
                "they count as no clicks and no FLOPs."
            )
    for label, arm in arms:
        if arm.mismatches:
            degraded = int(np.count_nonzero(arm.differs & arm.requests.degraded))
            out.append(
                f"{arm.mismatches:,} receipts of the {label} arm name other FLOPs than their chain costs ({degraded:,} "
                "of them degraded answers, of which some stages did not run); the receipts add up to "
                f"{int(arm.requests.flops.sum()):,}, the recount to {int(arm.recounted.sum()):,}."
            )
    clicks = report.saving.intervals.get("clicks")
    if clicks and clicks[0] <= 0 <= clicks[1]:
        out.append(
            f"The difference in clicks is within chance: its 95 % interval, {change(clicks[1])} to "
            f"{change(clicks[0])}, holds 0."
        )
    if any(arm.energy is not None and arm.energy.source == "estimated" for _, arm in arms):
        methods = dict.fromkeys(arm.energy.method for _, arm in arms if arm.energy is not None)
        out.append(
            f"Energy is estimated, not measured ({'; '.join(methods)}). It covers the whole node: idling, the "
            "repricing job and the load generator included."
        )
    for label, arm in arms:
        if arm.processes_lost:
            out.append(
                f"{arm.processes_lost} Serve processes ended during the {label} arm; their CPU-seconds are missing."
            )
        if arm.send_delay_s["p99"] > LATE_S:
            out.append(
                f"The load generator was late in the {label} arm (p99 {arm.send_delay_s['p99']:.2f} s): its "
                "lateness is inside the latencies."
            )
        if arm.feedback_failed:
            out.append(f"{arm.feedback_failed:,} click messages of the {label} arm were not accepted by the server.")
    if report.overhead.cpu_share is not None and REPRICING not in report.overhead.cpu_seconds:
        out.append(
            "GreenFlow's own share of CPU time is its allocator's, ledger's and meters'; the repricing job's CPU time "
            "is missing there, but is part of the node's energy."
        )
    if report.carbon is not None and report.carbon.stale:
        out.append("The carbon intensity was out of date at times; the last known value was used.")
    if report.carbon is not None and report.carbon.lowest is not None:
        known = any(m.watts is not None for m in report.course)
        shape = "its energy is spread by serving's watts, EQUAL's" if known else "energy is spread"
        out.append(
            "The carbon intensity changed: grams add up by the second, for both arms at the intensity of the GreenFlow "
            f"arm's second, so that they compare; {shape} evenly."
        )
    if report.arms.greenflow.sci is not None:
        out.append(f"SCI: {report.arms.greenflow.sci.note}.")
    if report.frontier is not None:
        out.append(
            "The revenue frontier is the reward model's prediction for sampled requests, the arms' points are realised "
            "clicks; EQUAL's single chain need not lie on it."
        )
    out.append(
        "Intervals are 95 % percentile intervals of bootstraps: FLOPs, clicks and latency draw whole users, both arms' "
        "requests together; the budget's use and over-use draw blocks of neighbouring windows of "
        f"{report.budget.window_seconds:g} s. CPU time, energy and carbon are one reading an arm and have none. "
        "Another machine or trace may differ by more."
    )
    out.append(
        "Latency runs from the instant at which a request was due, so waiting in an overloaded server is counted."
        + (" Load generator and server ran on the same machine." if greenflow.cpu_seconds else "")
    )
    return out
