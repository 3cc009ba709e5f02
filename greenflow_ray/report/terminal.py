"""The report in the terminal: both arms side by side, and one last line that says what was saved at what cost."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from greenflow_ray.report.schema import Report
from greenflow_ray.report.style import seconds, si, signed_percent


def table(report: Report) -> Table:
    """Both arms and the change between them."""
    a, b, saving = report.arms.equal, report.arms.greenflow, report.saving
    out = Table(
        title=f"{report.dataset}: {report.requests:,} requests an arm", title_justify="left", caption_justify="left"
    )
    out.add_column("")
    for name in ("EQUAL", "GreenFlow", "change"):
        out.add_column(name, justify="right")

    def joules(value: float | None) -> str:
        return "–" if value is None else si(value, "J")

    def number(value: float | None, digits: int) -> str:
        return "–" if value is None else f"{value:,.{digits}f}"

    out.add_row("clicks", f"{a.clicks:,}", f"{b.clicks:,}", change(saving.clicks))
    out.add_row("FLOPs", si(a.flops, "FLOPs"), si(b.flops, "FLOPs"), change(saving.flops))
    out.add_row("CPU-seconds", number(a.cpu_seconds, 1), number(b.cpu_seconds, 1), change(saving.cpu_seconds))
    label = b.energy_source or a.energy_source or "not watched"
    out.add_row(f"energy ({label})", joules(a.energy_joules), joules(b.energy_joules), change(saving.energy))
    out.add_row("gCO2e", number(a.carbon_grams, 3), number(b.carbon_grams, 3), change(saving.carbon))
    for name in ("p50", "p95", "p99"):
        x, y = getattr(a.latency_seconds, name), getattr(b.latency_seconds, name)
        out.add_row(f"latency {name}", seconds(x), seconds(y), "")
    out.add_row("errors", f"{a.errors:,}", f"{b.errors:,}", "")
    out.add_row("degraded", f"{a.degraded:,}", f"{b.degraded:,}", "")
    budget, overhead = report.budget, report.overhead
    captions = []
    if budget.flops_per_second is not None and budget.overuse is not None:
        used = "–" if budget.utilisation is None else f"{100 * budget.utilisation:.1f} %"
        captions.append(
            f"budget {si(budget.flops_per_second, 'FLOP/s')}: {used} used, {100 * budget.overuse:.2f} % over"
        )
    captions += phase_lines(report)
    own = [
        f"{100 * value:.2f} % of {what}"
        for value, what in ((overhead.flops_share, "FLOPs"), (overhead.cpu_share, "CPU time"))
        if value is not None
    ]
    captions += [f"GreenFlow itself: {', '.join(own)}"] if own else []
    out.caption = "\n".join(captions) or None
    return out


def phase_lines(report: Report) -> list[str]:
    """One line for steady traffic and one for the spike."""
    return [
        f"{phase.name} ({phase.requests:,}): FLOPs {change(phase.flops)}, clicks {change(phase.clicks)}"
        for phase in report.phases
    ]


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


def change(saving: float | None) -> str:
    """A saving as a signed change, e.g. 0.4 as −40.0 %."""
    return signed_percent(None if saving is None else -saving)


def print_report(report: Report, console: Console, page: Path | str) -> None:
    """Print table, reservations and, last, :func:`last_line`."""
    console.print(table(report))
    for note in report.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    console.print(last_line(report, page), style="bold", markup=False, highlight=False, soft_wrap=True)
