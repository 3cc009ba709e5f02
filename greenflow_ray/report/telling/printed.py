"""The report in the terminal: both arms side by side, and one last line that says what was saved at what cost."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from greenflow_ray.report.contents import Report
from greenflow_ray.report.telling.sentences import (
    budget_lines,
    change,
    grams,
    later,
    number,
    own_parts,
    phase_lines,
    share,
    unit,
)
from greenflow_ray.viz.figures import seconds, si, signed_percent


def table(report: Report) -> Table:
    """Both arms and the change between them."""
    a, b, saving = report.arms.equal, report.arms.greenflow, report.saving
    out = Table(title=f"{report.dataset}: {report.requests:,} requests an arm", title_justify="left")
    out.add_column("")
    for name in ("EQUAL", "GreenFlow", "change"):
        out.add_column(name, justify="right")

    out.add_row("clicks", f"{a.clicks:,}", f"{b.clicks:,}", change(saving.clicks))
    out.add_row("FLOPs", si(a.flops, "FLOPs"), si(b.flops, "FLOPs"), change(saving.flops))
    out.add_row("CPU-seconds", number(a.cpu_seconds, 1), number(b.cpu_seconds, 1), change(saving.cpu_seconds))
    label = b.energy_source or a.energy_source or "not watched"
    out.add_row(f"energy ({label})", unit(a.energy_joules, "J"), unit(b.energy_joules, "J"), change(saving.energy))
    out.add_row("gCO2e", grams(a.carbon_grams), grams(b.carbon_grams), change(saving.carbon))
    if a.sci and b.sci:
        out.add_row("SCI, gCO2e per 1,000 requests", grams(a.sci.grams), grams(b.sci.grams), "")
    for name in ("p50", "p95", "p99"):
        x, y = getattr(a.latency_seconds, name), getattr(b.latency_seconds, name)
        out.add_row(f"latency {name}", seconds(x), seconds(y), later(saving.latency_seconds.get(name)))
    out.add_row("errors", f"{a.errors:,}", f"{b.errors:,}", "")
    out.add_row("degraded", f"{a.degraded:,}", f"{b.degraded:,}", "")
    return out


def own_line(report: Report) -> list[str]:
    """What GreenFlow itself costs."""
    overhead = report.overhead
    own = [
        f"{share(value)} of {what}"
        for value, what in ((overhead.flops_share, "FLOPs"), (overhead.cpu_share, "CPU time"))
        if value is not None
    ]
    parts = f" ({own_parts(report)} CPU-seconds)" if overhead.cpu_seconds else ""
    return [f"GreenFlow itself: {', '.join(own)}{parts}"] if own else []


def last_line(report: Report, page: Path | str) -> str:
    """What was saved, at what cost in clicks, and where the report lies."""
    saved, lost = report.saving.flops, report.saving.clicks
    if saved is None or lost is None:
        return f"Nothing to compare: the EQUAL arm had no answers or no clicks. Report: {page}"
    what = f"{abs(100 * saved):.1f} % of the FLOPs {'saved' if saved >= 0 else 'MORE spent'}"
    cost = "clicks unchanged" if round(lost, 3) == 0 else f"{signed_percent(-lost)} clicks"
    found = report.saving.intervals.get("clicks")
    interval = f" (95 % interval {signed_percent(-found[1])} to {signed_percent(-found[0])})" if found else ""
    return f"{what}; {cost}{interval}. Report: {page}"


def print_report(report: Report, console: Console, page: Path | str) -> None:
    """Print table, reservations and, last, :func:`last_line`."""
    console.print(table(report))
    for line in (*budget_lines(report), *phase_lines(report), *own_line(report)):
        console.print(line, markup=False, highlight=False)
    for note in report.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    console.print(last_line(report, page), style="bold", markup=False, highlight=False, soft_wrap=True)
