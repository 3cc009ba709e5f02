"""The report as one self-contained HTML page and one picture: no network, readable on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

from greenflow_ray.config import RunPaths
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.charts import emissions, outcomes, revenue, timeline
from greenflow_ray.report.contents import Report, load
from greenflow_ray.report.telling import cards
from greenflow_ray.report.telling.sentences import (
    against_lines,
    budget_lines,
    headline,
    latency_change,
    number,
    phase_lines,
    replica_line,
)
from greenflow_ray.viz import pages
from greenflow_ray.viz.style import si


def render(report: Report, equal: ArmResult, greenflow: ArmResult, tuned: ArmResult | None = None) -> str:
    """HTML text of the page."""
    arms = outcomes.present(equal, greenflow, tuned)
    watched = report.arms.equal.energy_by_deployment_joules or report.arms.greenflow.energy_by_deployment_joules
    shown = report.frontier
    return pages.render(
        "report/report.html.jinja",
        report=report,
        headline=headline(report),
        cards=cards.cards(report),
        spend=timeline.spend_and_price(report, equal, greenflow),
        budget=budget_lines(report),
        bought=outcomes.bought(report) if shown is None else revenue.frontier(report, shown, greenflow),
        phases="".join(f" {line[0].upper()}{line[1:]}." for line in phase_lines(report)),
        chains=outcomes.chain_mix(arms),
        replicas=timeline.replicas(report, report.arms.greenflow.duration_seconds),
        still=replica_line(report),
        latency=outcomes.latency(arms),
        slower={name: latency_change(report, name) for name in ("p50", "p99") if report.saving.latency_seconds},
        carbon=emissions.carbon(report) if watched else None,
        energy=emissions.energy(report) if watched else None,
        deployments=cards.deployments(report),
        arms=[(*row[:-2], pages.stacked(row[-2], row[-1])) for row in cards.arms(report)],
        arm_names=cards.arm_names(report),
        against=against_lines(report),
        arms_note=cards.arms_note(report),
        models=[(m.stage, m.name, si(m.flops_per_item), number(m.auc, 3)) for m in report.models],
        reward=[(name, f"{value:.4g}") for name, value in report.reward.items()],
    )


def publish(
    report: Report, equal: ArmResult, greenflow: ArmResult, paths: RunPaths, tuned: ArmResult | None = None
) -> None:
    """Write the page and the picture of a run."""
    save_png(report, equal, greenflow, paths.report_png)
    pages.save(render(report, equal, greenflow, tuned), paths.report_html)


def save_png(report: Report, equal: ArmResult, greenflow: ArmResult, path: Path | str) -> None:
    """Write spend against budget and price over time to ``path``, for a README or a message."""
    data = f"{report.dataset}, synthetic data" if report.synthetic else report.dataset
    timeline.spend_and_price(report, equal, greenflow).save_png(path, title=f"{headline(report)} ({data})")


def rebuild(run: Path | str) -> Path:
    """Make page and picture of a finished run again from what it left on disk; returns the page's path.

    Raises DataError.
    """
    paths = RunPaths(Path(run))
    report = load(paths.report_json)
    equal, greenflow = (ArmResult.load(paths.loadtest, name) for name in ("equal", "greenflow"))
    tuned = ArmResult.load(paths.loadtest, "tuned") if report.arms.tuned else None
    publish(report, equal, greenflow, paths, tuned)
    return paths.report_html
