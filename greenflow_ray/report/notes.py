"""The reservations of a report: what a reader must know before believing its numbers."""

from __future__ import annotations

import numpy as np

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.compare import REPRICING
from greenflow_ray.report.contents import Report
from greenflow_ray.viz.style import change

LATE_S = 0.05


def reservations(report: Report, equal: ArmResult, greenflow: ArmResult) -> list[str]:
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
