"""The report as one self-contained HTML page: no script, no network, readable on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from greenflow_ray.config import RunPaths
from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report import charts, html
from greenflow_ray.report.html import save
from greenflow_ray.report.schema import Arm, Price, Report, load
from greenflow_ray.report.style import seconds, si, signed_percent
from greenflow_ray.report.terminal import phase_lines

__all__ = ["headline", "rebuild", "render", "save"]


def render(report: Report, equal: ArmResult, greenflow: ArmResult, trajectory: Sequence[Price] | None = None) -> str:
    """HTML text of the page; ``trajectory`` defaults to the report's prices."""
    prices = report.prices if trajectory is None else trajectory
    pictures = [
        (
            "Spend against budget",
            _spend_sentence(report),
            "spend",
            [charts.spend_and_price(report, equal, greenflow, prices, narrow=narrow) for narrow in (False, True)],
        ),
        (
            "What it bought",
            "Held-out clicks among the answered items, and FLOPs recounted from the answers' receipts."
            + "".join(f" {line[0].upper()}{line[1:]}." for line in phase_lines(report)),
            "outcomes",
            [charts.outcomes(report, narrow=narrow) for narrow in (False, True)],
        ),
        (
            "Which chains answered",
            "A chain is the model and the number of items of every stage. EQUAL gives all requests the same one; "
            "GreenFlow gives each the chain that is worth its price. Darker is dearer.",
            "chains",
            [charts.chain_mix(equal, greenflow, narrow=narrow) for narrow in (False, True)],
        ),
        (
            "Latency",
            "From the instant a request was due to its answer's last byte, so waiting in a queue counts.",
            "latency",
            [charts.latency(equal, greenflow, narrow=narrow) for narrow in (False, True)],
        ),
    ]
    body = "\n".join(
        [
            _header(report),
            _cards(report),
            *(_picture(*entry) for entry in pictures),
            html.section("Arm against arm", _arms(report)),
            html.section("Where CPU time and energy went", _deployments(report)),
            html.pair(
                html.section("Models", _models(report)),
                html.section("Reward model's calibration", _reward(report)),
            ),
            html.section("Before you believe it", html.bullets(report.notes)),
            _footer(report),
        ]
    )
    return html.document(f"GreenFlow report: {report.dataset}", body)


def rebuild(run: Path | str) -> Path:
    """Make the page of a finished run again from what it left on disk; returns the page's path. Raises DataError."""
    paths = RunPaths(Path(run))
    report = load(paths.report_json)
    equal, greenflow = (ArmResult.load(paths.loadtest, name) for name in ("equal", "greenflow"))
    save(render(report, equal, greenflow), paths.report_html)
    return paths.report_html


def headline(report: Report) -> str:
    """The result in one line."""
    saved, lost = report.saving.flops, report.saving.clicks
    if saved is None or lost is None:
        return "Two arms of one trace"
    clicks = "no change in clicks" if round(lost, 3) == 0 else f"{signed_percent(-lost)} clicks"
    return f"{abs(100 * saved):.1f} % {'less' if saved >= 0 else 'more'} computation, {clicks}"


def _header(report: Report) -> str:
    kind = "synthetic data" if report.synthetic else "real data"
    return (
        f'<header><p class="kicker">GreenFlow report</p><h1>{escape(headline(report))}</h1>'
        f"<p>{escape(report.dataset)} ({kind}) · {report.requests:,} requests an arm over "
        f"{report.arms.equal.duration_seconds:g} s · seed {report.seed} · {escape(_when(report))}</p></header>"
    )


def _cards(report: Report) -> str:
    saving, arms, budget, overhead = report.saving, report.arms, report.budget, report.overhead
    source = arms.greenflow.energy_source
    energy = f"{source}, repricing and load generator included" if source else "not watched"
    grams = (arms.equal.carbon_grams_per_1000_requests, arms.greenflow.carbon_grams_per_1000_requests)
    held, over = "–", "no budget was set"
    if budget.utilisation is not None and budget.overuse is not None:
        held = f"{100 * budget.utilisation:.1f} % used"
        over = f"{100 * budget.overuse:.2f} % over, {budget.windows} windows of {budget.window_seconds:g} s"
    own = f"{_share(overhead.flops_share)} of FLOPs, {_share(overhead.cpu_share)} of CPU time"
    own += f", {seconds(overhead.p99_seconds)} at p99" if overhead.p99_seconds is not None else ""
    slow = (arms.equal.latency_seconds.p99, arms.greenflow.latency_seconds.p99)
    entries = [
        ("FLOPs", _change(saving.flops), _interval(report, "flops")),
        ("Clicks", _change(saving.clicks), _interval(report, "clicks")),
        ("CPU time", _change(saving.cpu_seconds), "all Serve processes"),
        ("Energy of the node", _change(saving.energy), energy),
        ("Budget", held, over),
        ("Latency p99", seconds(slow[1]), f"EQUAL {seconds(slow[0])}"),
        ("gCO2e per 1,000 requests", _number(grams[1], 3), f"EQUAL {_number(grams[0], 3)}"),
        (
            "GreenFlow's own cost",
            _share(overhead.cpu_share if overhead.flops_share is None else overhead.flops_share),
            own,
        ),
    ]
    return html.cards("Headline figures, GreenFlow against EQUAL", entries)


def _picture(title: str, sentence: str, name: str, figures: Sequence[Figure]) -> str:
    return html.section(title, html.paragraph(sentence) + html.picture(title, name, figures))


def _spend_sentence(report: Report) -> str:
    budget = report.budget
    text = "Each request counts at the instant it was due."
    if budget.flops_per_second is None:
        return text + " No budget was set."
    text += f" The budget is {si(budget.flops_per_second, 'FLOP/s')}."
    if budget.utilisation is not None and budget.overuse is not None and budget.worst_window is not None:
        text += (
            f" Of what could be spent of it, GreenFlow spent {100 * budget.utilisation:.1f} % (windows of "
            f"{budget.window_seconds:g} s); it overran by {100 * budget.overuse:.2f} % on average, and the fullest "
            f"window took {100 * budget.worst_window:.0f} % of the budget."
        )
    return text


def _arms(report: Report) -> str:
    a, b = report.arms.equal, report.arms.greenflow
    saving = report.saving
    rows = [
        ("Requests", f"{a.requests:,}", f"{b.requests:,}", ""),
        ("Errors", f"{a.errors:,}", f"{b.errors:,}", ""),
        ("Degraded answers", f"{a.degraded:,}", f"{b.degraded:,}", ""),
        ("Clicks", f"{a.clicks:,}", f"{b.clicks:,}", _change(saving.clicks)),
        ("FLOPs", si(a.flops, "FLOPs"), si(b.flops, "FLOPs"), _change(saving.flops)),
        ("CPU-seconds", _number(a.cpu_seconds), _number(b.cpu_seconds), _change(saving.cpu_seconds)),
        (f"Energy ({_labels(a, b)})", _unit(a.energy_joules, "J"), _unit(b.energy_joules, "J"), _change(saving.energy)),
        ("Carbon, gCO2e", _number(a.carbon_grams, 3), _number(b.carbon_grams, 3), _change(saving.carbon)),
        (
            "Carbon per 1,000 requests, gCO2e",
            _number(a.carbon_grams_per_1000_requests, 3),
            _number(b.carbon_grams_per_1000_requests, 3),
            "",
        ),
        *(
            (f"Latency {q}", seconds(getattr(a.latency_seconds, q)), seconds(getattr(b.latency_seconds, q)), "")
            for q in ("p50", "p95", "p99")
        ),
        ("Load generator's CPU-seconds", _number(a.client_cpu_seconds), _number(b.client_cpu_seconds), ""),
    ]
    carbon = report.carbon
    source = (
        f"<p>Carbon intensity: {carbon.grams_per_kwh:g} gCO2e/kWh, {escape(carbon.kind)} ({escape(carbon.source)}).</p>"
        if carbon
        else ""
    )
    return html.table(("", "EQUAL", "GreenFlow", "change"), rows) + source


def _deployments(report: Report) -> str:
    a, b = report.arms.equal, report.arms.greenflow
    names = sorted(
        a.cpu_seconds_by_deployment | b.cpu_seconds_by_deployment,
        key=lambda n: -max(a.cpu_seconds_by_deployment.get(n, 0), b.cpu_seconds_by_deployment.get(n, 0)),
    )
    if not names:
        return "<p>Serve's processes were not watched in this run.</p>"
    rows = [
        (
            name,
            _number(a.cpu_seconds_by_deployment.get(name)),
            _number(b.cpu_seconds_by_deployment.get(name)),
            _unit(a.energy_by_deployment_joules.get(name), "J"),
            _unit(b.energy_by_deployment_joules.get(name), "J"),
        )
        for name in names
    ]
    rows.append(
        (
            "unattributed (other processes)", "–", "–",
            _unit(a.energy_unattributed_joules, "J"), _unit(b.energy_unattributed_joules, "J"),
        )
    )  # fmt: skip
    head = ("deployment", "CPU-s EQUAL", "CPU-s GreenFlow", "energy EQUAL", "energy GreenFlow")
    return html.table(head, rows) + (
        "<p>The node's energy is shared by CPU-seconds; deployments and the unattributed rest add up to it exactly.</p>"
    )


def _models(report: Report) -> str:
    if not report.models:
        return "<p>No table of models was given.</p>"
    return html.table(
        ("stage", "model", "FLOPs an item", "AUC"),
        [(m.stage, m.name, si(m.flops_per_item), _number(m.auc, 3)) for m in report.models],
        words=2,
    )


def _reward(report: Report) -> str:
    if not report.reward:
        return "<p>No calibration was given.</p>"
    return html.table(("measure", "value"), [(name, f"{value:.4g}") for name, value in report.reward.items()])


def _footer(report: Report) -> str:
    versions = " · ".join(f"{escape(name)} {escape(version)}" for name, version in report.versions.items())
    return f"<footer><p>{versions}</p></footer>"


def _change(saving: float | None) -> str:
    return signed_percent(None if saving is None else -saving)


def _interval(report: Report, name: str) -> str:
    found = report.saving.intervals.get(name)
    return f"95 % interval {signed_percent(-found[1])} to {signed_percent(-found[0])}" if found else ""


def _when(report: Report) -> str:
    return report.created_at[:16].replace("T", " ") + " UTC" if report.created_at else ""


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _unit(value: float | None, unit: str) -> str:
    return "–" if value is None else si(value, unit)


def _labels(a: Arm, b: Arm) -> str:
    return " / ".join(dict.fromkeys(arm.energy_source or "not watched" for arm in (a, b)))
