"""The page's cards and tables: arm against arm, CPU time and energy, models and the reward model's calibration."""

from __future__ import annotations

from greenflow_ray.report.contents import Report
from greenflow_ray.report.overhead import REPRICING
from greenflow_ray.report.telling.sentences import (
    carbon_line,
    change,
    energy_labels,
    grams,
    latency_change,
    later,
    number,
    own_parts,
    saving_interval,
    share,
    unit,
)
from greenflow_ray.viz import html_parts as pages
from greenflow_ray.viz.figures import scale, seconds, si


def cards(report: Report) -> str:
    """Headline figures, GreenFlow against EQUAL."""
    saving, arms, budget, overhead = report.saving, report.arms, report.budget, report.overhead
    source = arms.greenflow.energy_source
    energy = f"{source}, repricing and load generator included" if source else "not watched"
    held, over = "–", "no budget was set"
    if budget.utilisation is not None and budget.overuse is not None:
        held = f"{share(budget.utilisation, 1)} used"
        over = f"{share(budget.overuse)} over, {budget.windows} windows of {budget.window_seconds:g} s"
    slow = (arms.equal.latency_seconds.p99, arms.greenflow.latency_seconds.p99)
    waited = f"EQUAL {seconds(slow[0])}"
    waited += f"; {latency_change(report, 'p99')}" if "p99" in saving.latency_seconds else ""
    sci = (arms.equal.sci, arms.greenflow.sci)
    carbon = (arms.equal.carbon_grams_per_1000_requests, arms.greenflow.carbon_grams_per_1000_requests)
    parts = "embodied left out" if sci[1] is None or sci[1].embodied is None else "embodied included"
    own = f"of CPU time: {own_parts(report)} s" if overhead.cpu_seconds else "of CPU time"
    own += f"; {share(overhead.flops_share)} of FLOPs" if overhead.flops_share is not None else ""
    own += f"; {seconds(overhead.p99_seconds)} at p99" if overhead.p99_seconds is not None else ""
    entries = [
        ("FLOPs", change(saving.flops), saving_interval(report, "flops")),
        ("Clicks", change(saving.clicks), saving_interval(report, "clicks")),
        ("Budget", held, over),
        ("Latency p99", seconds(slow[1]), waited),
        ("Energy of the node", change(saving.energy), energy),
        ("CPU time", change(saving.cpu_seconds), "all Serve processes"),
        (
            "Carbon (SCI)",
            f"{grams(sci[1].grams if sci[1] else carbon[1])} g",
            f"CO2e per 1,000 requests, EQUAL {grams(sci[0].grams if sci[0] else carbon[0])} g; {parts}",
        ),
        ("GreenFlow's own cost", share(overhead.cpu_share, 1), own),
    ]
    return pages.cards("Headline figures, GreenFlow against EQUAL", entries)


def arms(report: Report) -> str:
    """Every figure of both arms and the change between them, with its interval where there is one."""
    a, b, saving = report.arms.equal, report.arms.greenflow, report.saving

    def both(name: str, saved: float | None) -> str:
        found = report.saving.intervals.get(name)
        return pages.Html(
            f"{change(saved)}<small>{change(found[1])} to {change(found[0])}</small>" if found else change(saved)
        )

    def slower(name: str) -> str:
        found = saving.latency_intervals.get(name)
        difference = later(saving.latency_seconds.get(name)) if name in saving.latency_seconds else ""
        return pages.Html(f"{difference}<small>{later(found[0])} to {later(found[1])}</small>" if found else difference)

    size, prefix = scale(max(a.flops, b.flops))
    rows = [
        ("Requests", f"{a.requests:,}", f"{b.requests:,}", ""),
        ("Errors", f"{a.errors:,}", f"{b.errors:,}", ""),
        ("Degraded answers", f"{a.degraded:,}", f"{b.degraded:,}", ""),
        ("Clicks", f"{a.clicks:,}", f"{b.clicks:,}", both("clicks", saving.clicks)),
        (f"{prefix}FLOPs", f"{a.flops / size:.3g}", f"{b.flops / size:.3g}", both("flops", saving.flops)),
        ("CPU-seconds", number(a.cpu_seconds), number(b.cpu_seconds), change(saving.cpu_seconds)),
        (
            f"Energy ({energy_labels(a, b)})",
            unit(a.energy_joules, "J"),
            unit(b.energy_joules, "J"),
            change(saving.energy),
        ),
        ("Carbon, gCO2e", grams(a.carbon_grams), grams(b.carbon_grams), change(saving.carbon)),
    ]
    if a.sci and b.sci:
        rows.append(("SCI, gCO2e per 1,000 requests", grams(a.sci.grams), grams(b.sci.grams), ""))
        if a.sci.embodied is not None or b.sci.embodied is not None:
            rows.append(("of it embodied", grams(a.sci.embodied), grams(b.sci.embodied), ""))
    elif a.carbon_grams_per_1000_requests is not None:
        each = (a.carbon_grams_per_1000_requests, b.carbon_grams_per_1000_requests)
        rows.append(("Carbon per 1,000 requests, gCO2e", grams(each[0]), grams(each[1]), ""))
    for q in ("p50", "p95", "p99"):
        waits = (getattr(a.latency_seconds, q), getattr(b.latency_seconds, q))
        rows.append((f"Latency {q}", seconds(waits[0]), seconds(waits[1]), slower(q)))
    rows.append(("Load generator's CPU-seconds", number(a.client_cpu_seconds), number(b.client_cpu_seconds), ""))
    note = "SCI as ISO/IEC 21031 has it." if b.sci else ""
    small = "Small figures: 95 % intervals." if saving.intervals else ""
    sentence = " ".join(part for part in (small, carbon_line(report), note) if part)
    return pages.table(("", "EQUAL", "GreenFlow", "change"), rows) + pages.paragraph(sentence)


def deployments(report: Report) -> str:
    """CPU-seconds and energy by deployment, the unattributed rest last."""
    a, b = report.arms.equal, report.arms.greenflow
    known = [arm.cpu_seconds_by_deployment | arm.energy_by_deployment_joules for arm in (a, b)]
    names = sorted(known[0] | known[1], key=lambda n: -max(found.get(n, 0.0) for found in known))
    if not names:
        return "<p>Serve's processes were not watched in this run.</p>"
    own = report.overhead.cpu_seconds.get(REPRICING)
    rows = []
    for name in names:
        spent = b.cpu_seconds_by_deployment.get(name, own if name == REPRICING else None)
        rows.append(
            (
                name,
                number(a.cpu_seconds_by_deployment.get(name)),
                number(spent),
                unit(a.energy_by_deployment_joules.get(name), "J"),
                unit(b.energy_by_deployment_joules.get(name), "J"),
            )
        )
    rest = (unit(a.energy_unattributed_joules, "J"), unit(b.energy_unattributed_joules, "J"))
    rows.append(("unattributed (other processes)", "–", "–", rest[0], rest[1]))
    head = ("deployment", "CPU-s EQUAL", "CPU-s GreenFlow", "energy EQUAL", "energy GreenFlow")
    return pages.table(head, rows, stack=True)


def models(report: Report) -> str:
    """The trained model instances."""
    if not report.models:
        return "<p>No table of models was given.</p>"
    return pages.table(
        ("stage", "model", "FLOPs an item", "AUC"),
        [(m.stage, m.name, si(m.flops_per_item), number(m.auc, 3)) for m in report.models],
        words=2,
    )


def reward(report: Report) -> str:
    """The reward model's calibration."""
    if not report.reward:
        return "<p>No calibration was given.</p>"
    return pages.table(("measure", "value"), [(name, f"{value:.4g}") for name, value in report.reward.items()])
