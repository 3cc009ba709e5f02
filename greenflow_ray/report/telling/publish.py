"""The report as one self-contained HTML page: no script, no network, readable on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from greenflow_ray.config import RunPaths
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.charts import arms, emissions, revenue, timeline
from greenflow_ray.report.contents import Report, load
from greenflow_ray.report.course import replicas_moved
from greenflow_ray.report.telling import cards
from greenflow_ray.report.telling.main_picture import save_png
from greenflow_ray.report.telling.sentences import budget_lines, headline, latency_change, phase_lines, replica_line
from greenflow_ray.viz import html_parts as pages
from greenflow_ray.viz.html_parts import save

__all__ = ["headline", "publish", "rebuild", "render", "save"]


def render(report: Report, equal: ArmResult, greenflow: ArmResult) -> str:
    """HTML text of the page."""
    body = "\n".join(
        [
            _header(report),
            cards.cards(report),
            _spend(report, equal, greenflow),
            _bought(report, greenflow),
            _picture(
                "Which chains answered",
                "A chain is the model and the number of items of every stage. EQUAL gives all requests the same one; "
                "GreenFlow gives each the chain that is worth its price. Darker is dearer.",
                "chains",
                lambda narrow: arms.chain_mix(equal, greenflow, narrow=narrow),
            ),
            _replicas(report),
            _picture(
                "Latency",
                "From the instant a request was due to its answer's last byte, so waiting in a queue counts. "
                + _slower(report),
                "latency",
                lambda narrow: arms.latency(equal, greenflow, narrow=narrow),
            ),
            _carbon(report),
            pages.section("Arm against arm", cards.arms(report)),
            pages.pair(
                pages.section("Models", cards.models(report)),
                pages.section("Reward model's calibration", cards.reward(report)),
            ),
            pages.section("Before you believe it", pages.bullets(report.notes)),
            _footer(report),
        ]
    )
    return pages.document(f"GreenFlow report: {report.dataset}", body)


def publish(report: Report, equal: ArmResult, greenflow: ArmResult, paths: RunPaths) -> None:
    """Write the page and the picture of a run."""
    save_png(report, equal, greenflow, paths.report_png)
    save(render(report, equal, greenflow), paths.report_html)


def rebuild(run: Path | str) -> Path:
    """Make page and picture of a finished run again from what it left on disk; returns the page's path.

    Raises DataError.
    """
    paths = RunPaths(Path(run))
    report = load(paths.report_json)
    equal, greenflow = (ArmResult.load(paths.loadtest, name) for name in ("equal", "greenflow"))
    publish(report, equal, greenflow, paths)
    return paths.report_html


def _picture(title: str, sentence: str, name: str, draw: Callable[[bool], Figure], more: str = "") -> str:
    """A section with a picture, drawn wide and narrow."""
    return pages.section(
        title, pages.paragraph(sentence) + pages.picture(title, name, [draw(False), draw(True)]) + more
    )


def _header(report: Report) -> str:
    kind = "synthetic data" if report.synthetic else "real data"
    when = report.created_at[:16].replace("T", " ") + " UTC" if report.created_at else ""
    return (
        f'<header><p class="kicker">GreenFlow report</p><h1>{escape(headline(report))}</h1>'
        f"<p>{escape(report.dataset)} ({kind}) · {report.requests:,} requests an arm over "
        f"{report.arms.equal.duration_seconds:g} s · seed {report.seed} · {escape(when)}</p></header>"
    )


def _spend(report: Report, equal: ArmResult, greenflow: ArmResult) -> str:
    first, *rest = budget_lines(report)
    return _picture(
        "Spend against budget",
        f"{first} Each request counts at the instant it was due.",
        "spend",
        lambda narrow: timeline.spend_and_price(report, equal, greenflow, report.course, narrow=narrow),
        pages.bullets(rest) if rest else "",
    )


def _bought(report: Report, greenflow: ArmResult) -> str:
    """Clicks against FLOPs: on the revenue frontier if it is known, else as bars."""
    phases = "".join(f" {line[0].upper()}{line[1:]}." for line in phase_lines(report))
    shown = report.frontier
    if shown is None:
        return _picture(
            "What it bought",
            "Held-out clicks among the answered items, and FLOPs recounted from the answers' receipts." + phases,
            "outcomes",
            lambda narrow: arms.outcomes(report, narrow=narrow),
        )
    return _picture(
        "Revenue frontier",
        "The curve is a prediction: the clicks that the reward model expects from the best mix of chains at each mean "
        f"cost, from {shown.requests:,.0f} sampled requests. The dots are what happened: held-out clicks among the "
        "answered items, and FLOPs recounted from the receipts." + phases,
        "frontier",
        lambda narrow: revenue.frontier(report, shown, greenflow, narrow=narrow),
    )


def _replicas(report: Report) -> str:
    """A picture where replicas changed, one sentence where they did not, nothing where they are unknown."""
    end = report.arms.greenflow.duration_seconds
    sentence = replica_line(report)
    if not replicas_moved(report.course, end):
        return pages.section("Replicas", pages.paragraph(sentence)) if sentence else ""
    return _picture(
        "Replicas",
        sentence,
        "replicas",
        lambda narrow: timeline.replicas(report, report.course, end, narrow=narrow),
    )


def _slower(report: Report) -> str:
    if not report.saving.latency_seconds:
        return ""
    return f"GreenFlow less EQUAL: p50 {latency_change(report, 'p50')}, p99 {latency_change(report, 'p99')}."


def _carbon(report: Report) -> str:
    """Carbon over time where it changed, and where the energy went."""
    a, b = report.arms.equal, report.arms.greenflow
    if not a.energy_by_deployment_joules and not b.energy_by_deployment_joules:
        return pages.section("Where CPU time and energy went", cards.deployments(report))
    over_time = ""
    if emissions.changing(report):
        over_time = pages.picture(
            "Carbon over time", "carbon", [emissions.carbon(report, narrow=n) for n in (False, True)]
        )
    drawn = [emissions.energy(report, narrow=narrow) for narrow in (False, True)]
    bars = pages.picture("Energy by deployment", "energy", drawn)
    sentence = (
        "The node's energy is shared by CPU-seconds; deployments and the unattributed rest (other processes, idling) "
        "add up to it exactly."
    )
    table = pages.folded("CPU-seconds and joules as a table", cards.deployments(report))
    return pages.section("Energy and carbon", pages.paragraph(sentence) + over_time + bars + table)


def _footer(report: Report) -> str:
    versions = " · ".join(f"{escape(name)} {escape(version)}" for name, version in report.versions.items())
    return f"<footer><p>{versions}</p></footer>"
