"""What stands in the page's cards and tables: arm against arm, CPU time and energy by deployment."""

from __future__ import annotations

from collections.abc import Callable

from greenflow_ray.report.compare import REPRICING
from greenflow_ray.report.contents import Arm, Report
from greenflow_ray.report.telling.sentences import carbon_line, interval, latency_change, latency_line, own_parts
from greenflow_ray.viz.style import change, number, percent, scale, seconds, si

Rows = list[tuple[str, ...]]


def grams(value: float | None) -> str:
    """gCO2e with three significant digits."""
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def cards(report: Report) -> Rows:
    """Headline figures, GreenFlow against EQUAL: name, figure, what to know about it."""
    saving, budget, overhead = report.saving, report.budget, report.overhead
    a, b = report.arms.equal, report.arms.greenflow
    source = b.energy_source
    held, over = "–", "no budget was set"
    if budget.utilisation is not None and budget.overuse is not None:
        held = f"{percent(budget.utilisation)} used"
        over = f"{percent(budget.overuse, 2)} over, {budget.windows} windows of {budget.window_seconds:g} s"
    slower = latency_line(report, "p99")
    per_1000 = [grams(arm.sci.grams if arm.sci else arm.carbon_grams_per_1000_requests) for arm in (a, b)]
    parts = "embodied left out" if b.sci is None or b.sci.embodied is None else "embodied included"
    own = f"of CPU time: {own_parts(report)} s" if overhead.cpu_seconds else "of CPU time"
    own += f"; {percent(overhead.flops_share, 2)} of FLOPs" if overhead.flops_share is not None else ""
    own += f"; {seconds(overhead.p99_seconds)} at p99" if overhead.p99_seconds is not None else ""
    flops, clicks = (f"95 % interval {found}" if (found := interval(report, n)) else "" for n in ("flops", "clicks"))
    return [
        ("FLOPs", change(saving.flops), flops),
        ("Clicks", change(saving.clicks), clicks),
        ("Budget", held, over),
        (
            "Latency p99",
            seconds(b.latency_seconds.p99),
            f"EQUAL {seconds(a.latency_seconds.p99)}" + (f"; {slower}" if slower else ""),
        ),
        (
            "Energy of the node",
            change(saving.energy),
            f"{source}, repricing and load generator included" if source else "not watched",
        ),
        ("CPU time", change(saving.cpu_seconds), "all Serve processes"),
        ("Carbon (SCI)", f"{per_1000[1]} g", f"CO2e per 1,000 requests, EQUAL {per_1000[0]} g; {parts}"),
        ("GreenFlow's own cost", percent(overhead.cpu_share), own),
    ]


def arms(report: Report) -> Rows:
    """Every figure of all arms, the change from EQUAL to GreenFlow, and its 95 % interval where there is one."""
    saving, played = report.saving, list(report.arms.played.values())
    a, b = report.arms.equal, report.arms.greenflow

    def row(label: str, tell: Callable[[Arm], str], *changed: str) -> tuple[str, ...]:
        return (label, *map(tell, played), *changed, *[""] * (2 - len(changed)))

    size, prefix = scale(max(arm.flops for arm in played))
    sources = " / ".join(dict.fromkeys(arm.energy_source or "not watched" for arm in (a, b)))
    rows = [
        row("Requests", lambda arm: f"{arm.requests:,}"),
        row("Errors", lambda arm: f"{arm.errors:,}"),
        row("Degraded answers", lambda arm: f"{arm.degraded:,}"),
        row("Clicks", lambda arm: f"{arm.clicks:,}", change(saving.clicks), interval(report, "clicks")),
        row(f"{prefix}FLOPs", lambda arm: f"{arm.flops / size:.3g}", change(saving.flops), interval(report, "flops")),
        row("CPU-seconds", lambda arm: number(arm.cpu_seconds, 1), change(saving.cpu_seconds)),
        row(f"Energy ({sources})", lambda arm: si(arm.energy_joules, "J"), change(saving.energy)),
        row("Carbon, gCO2e", lambda arm: grams(arm.carbon_grams), change(saving.carbon)),
    ]
    if a.sci and b.sci:
        rows.append(row("SCI, gCO2e per 1,000 requests", lambda arm: grams(arm.sci.grams if arm.sci else None)))
        if a.sci.embodied is not None or b.sci.embodied is not None:
            rows.append(row("of it embodied", lambda arm: grams(arm.sci.embodied if arm.sci else None)))
    elif a.carbon_grams_per_1000_requests is not None:
        rows.append(row("Carbon per 1,000 requests, gCO2e", lambda arm: grams(arm.carbon_grams_per_1000_requests)))
    for name in ("p50", "p95", "p99"):
        waits = (seconds(getattr(arm.latency_seconds, name)) for arm in played)
        rows.append((f"Latency {name}", *waits, *latency_change(report, name)))
    rows.append(row("Load generator's CPU-seconds", lambda arm: number(arm.client_cpu_seconds, 1)))
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
    spent = [(number(a.cpu_seconds_by_deployment.get(name), 1), number(own.get(name), 1)) for name in names]
    joules = [[si(arm.energy_by_deployment_joules.get(name), "J") for arm in (a, b)] for name in names]
    rest = [si(arm.energy_unattributed_joules, "J") for arm in (a, b)]
    rows: Rows = [(name, *cpu, *energy) for name, cpu, energy in zip(names, spent, joules, strict=True)]
    return [*rows, ("unattributed (other processes)", "–", "–", *rest)] if rows else []
