"""What stands in the page's cards and tables: arm against arm, CPU time and energy by deployment."""

from __future__ import annotations

from collections.abc import Callable

from greenflow_ray.report.contents import Arm, Report
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
from greenflow_ray.viz.style import scale, seconds

Cards = list[tuple[str, str, str]]
Rows = list[tuple[str, ...]]


def cards(report: Report) -> Cards:
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
    return [
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


def arm_names(report: Report) -> list[str]:
    """The arms' columns."""
    return ["EQUAL", *(["TUNED"] if report.arms.tuned else []), "GreenFlow"]


def arms(report: Report) -> Rows:
    """Every figure of all arms, the change from EQUAL to GreenFlow, and its 95 % interval where there is one."""
    saving = report.saving
    played = [arm for arm in (report.arms.equal, report.arms.tuned, report.arms.greenflow) if arm is not None]
    a, b = played[0], played[-1]

    def row(label: str, tell: Callable[[Arm], str], change: str = "", interval: str = "") -> tuple[str, ...]:
        return (label, *(tell(arm) for arm in played), change, interval)

    def changed(name: str, saved: float | None) -> tuple[str, str]:
        found = saving.intervals.get(name)
        return change(saved), f"{change(found[1])} to {change(found[0])}" if found else ""

    def slower(name: str) -> tuple[str, str]:
        found, less = saving.latency_intervals.get(name), saving.latency_seconds.get(name)
        return "" if less is None else later(less), f"{later(found[0])} to {later(found[1])}" if found else ""

    size, prefix = scale(max(arm.flops for arm in played))
    rows = [
        row("Requests", lambda arm: f"{arm.requests:,}"),
        row("Errors", lambda arm: f"{arm.errors:,}"),
        row("Degraded answers", lambda arm: f"{arm.degraded:,}"),
        row("Clicks", lambda arm: f"{arm.clicks:,}", *changed("clicks", saving.clicks)),
        row(f"{prefix}FLOPs", lambda arm: f"{arm.flops / size:.3g}", *changed("flops", saving.flops)),
        row("CPU-seconds", lambda arm: number(arm.cpu_seconds), change(saving.cpu_seconds)),
        row(f"Energy ({energy_labels(a, b)})", lambda arm: unit(arm.energy_joules, "J"), change(saving.energy)),
        row("Carbon, gCO2e", lambda arm: grams(arm.carbon_grams), change(saving.carbon)),
    ]
    if a.sci and b.sci:
        rows.append(row("SCI, gCO2e per 1,000 requests", lambda arm: grams(arm.sci.grams if arm.sci else None)))
        if a.sci.embodied is not None or b.sci.embodied is not None:
            rows.append(row("of it embodied", lambda arm: grams(arm.sci.embodied if arm.sci else None)))
    elif a.carbon_grams_per_1000_requests is not None:
        rows.append(row("Carbon per 1,000 requests, gCO2e", lambda arm: grams(arm.carbon_grams_per_1000_requests)))
    waits: dict[str, Callable[[Arm], float | None]] = {
        "p50": lambda arm: arm.latency_seconds.p50,
        "p95": lambda arm: arm.latency_seconds.p95,
        "p99": lambda arm: arm.latency_seconds.p99,
    }
    rows += [(f"Latency {q}", *(seconds(wait(arm)) for arm in played), *slower(q)) for q, wait in waits.items()]
    rows.append(row("Load generator's CPU-seconds", lambda arm: number(arm.client_cpu_seconds)))
    return rows


def arms_note(report: Report) -> str:
    """What to know about the table of arms."""
    small = "Small figures: 95 % intervals." if report.saving.intervals else ""
    sci = "SCI as ISO/IEC 21031 has it." if report.arms.greenflow.sci else ""
    return " ".join(part for part in (small, carbon_line(report), sci) if part)


def deployments(report: Report) -> Rows:
    """CPU-seconds and energy by deployment, the unattributed rest last; nothing if they were not watched."""
    a, b = report.arms.equal, report.arms.greenflow
    known = [arm.cpu_seconds_by_deployment | arm.energy_by_deployment_joules for arm in (a, b)]
    names = sorted(known[0] | known[1], key=lambda n: -max(found.get(n, 0.0) for found in known))
    own = {REPRICING: report.overhead.cpu_seconds.get(REPRICING)} | b.cpu_seconds_by_deployment
    rows: Rows = [
        (
            name,
            number(a.cpu_seconds_by_deployment.get(name)),
            number(own.get(name)),
            unit(a.energy_by_deployment_joules.get(name), "J"),
            unit(b.energy_by_deployment_joules.get(name), "J"),
        )
        for name in names
    ]
    rest = (unit(a.energy_unattributed_joules, "J"), unit(b.energy_unattributed_joules, "J"))
    return [*rows, ("unattributed (other processes)", "–", "–", *rest)] if rows else []
