"""The report as one self-contained HTML page, as one picture, and in the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from greenflow_ray.config import RunPaths
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.charts import emissions, outcomes, timeline
from greenflow_ray.report.contents import Report, load
from greenflow_ray.report.telling import sentences
from greenflow_ray.viz import pages
from greenflow_ray.viz.style import number, si


def render(report: Report, equal: ArmResult, greenflow: ArmResult, tuned: ArmResult | None = None) -> str:
    """HTML text of the page."""
    arms = {"EQUAL": equal, **({} if tuned is None else {"TUNED": tuned}), "GreenFlow": greenflow}
    watched = report.arms.equal.energy_by_deployment_joules or report.arms.greenflow.energy_by_deployment_joules
    shown = report.frontier
    return pages.render(
        "report/report.html.jinja",
        report=report,
        headline=sentences.headline(report),
        cards=sentences.cards(report),
        spend=timeline.spend_and_price(report, equal, greenflow),
        budget=sentences.budget_lines(report),
        bought=outcomes.bought(report) if shown is None else outcomes.frontier(report, shown, greenflow),
        phases="".join(f" {line[0].upper()}{line[1:]}." for line in sentences.phase_lines(report)),
        chains=outcomes.chain_mix(arms),
        replicas=timeline.replicas(report, report.arms.greenflow.duration_seconds),
        still=sentences.replica_line(report),
        latency=outcomes.latency(arms),
        slower={q: sentences.latency_line(report, q) for q in ("p50", "p99") if report.saving.latency_seconds},
        carbon=emissions.carbon(report) if watched else None,
        energy=emissions.energy(report) if watched else None,
        deployments=sentences.deployments(report),
        arms=[(*row[:-2], pages.stacked(row[-2], row[-1])) for row in sentences.arms(report)],
        against=sentences.against_lines(report),
        arms_note=sentences.arms_note(report),
        models=[(m.stage, m.name, si(m.flops_per_item), number(m.auc)) for m in report.models],
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
    picture = timeline.spend_and_price(report, equal, greenflow)
    picture.save_png(path, title=f"{sentences.headline(report)} ({data})")


def rebuild(run: Path | str) -> Path:
    """Make page and picture of a finished run again from what it left; the page's path. Raises DataError."""
    paths = RunPaths(Path(run))
    report = load(paths.report_json)
    equal, greenflow = (ArmResult.load(paths.loadtest, name) for name in ("equal", "greenflow"))
    tuned = ArmResult.load(paths.loadtest, "tuned") if report.arms.tuned else None
    publish(report, equal, greenflow, paths, tuned)
    return paths.report_html


def print_report(report: Report, console: Console, page: Path | str) -> None:
    """Print the table of arms, what is to be said about them and, last, what was saved at what cost."""
    table = Table(title=f"{report.dataset}: {report.requests:,} requests an arm", title_justify="left")
    table.add_column("")
    for name in (*report.arms.played, "change"):
        table.add_column(name, justify="right")
    for *cells, _ in sentences.arms(report):
        table.add_row(*cells)
    console.print(table)
    for tell in (sentences.against_lines, sentences.budget_lines, sentences.phase_lines, sentences.own_line):
        for line in tell(report):
            console.print(line, markup=False, highlight=False)
    for note in report.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    console.print(sentences.last_line(report, page), style="bold", markup=False, highlight=False, soft_wrap=True)
