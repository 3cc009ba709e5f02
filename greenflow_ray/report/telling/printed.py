"""The report in the terminal: both arms side by side, and one last line that says what was saved at what cost."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from greenflow_ray.report.contents import Report
from greenflow_ray.report.telling.cards import arm_names, arms
from greenflow_ray.report.telling.sentences import (
    against_lines,
    budget_lines,
    own_parts,
    phase_lines,
    saving_interval,
    share,
)
from greenflow_ray.viz.style import signed_percent


def table(report: Report) -> Table:
    """Both arms and the change between them."""
    out = Table(title=f"{report.dataset}: {report.requests:,} requests an arm", title_justify="left")
    out.add_column("")
    for name in (*arm_names(report), "change"):
        out.add_column(name, justify="right")
    for *cells, _ in arms(report):
        out.add_row(*cells)
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
    interval = saving_interval(report, "clicks")
    return f"{what}; {cost}{f' ({interval})' if interval else ''}. Report: {page}"


def print_report(report: Report, console: Console, page: Path | str) -> None:
    """Print table, reservations and, last, :func:`last_line`."""
    console.print(table(report))
    for line in (*against_lines(report), *budget_lines(report), *phase_lines(report), *own_line(report)):
        console.print(line, markup=False, highlight=False)
    for note in report.notes:
        console.print(f"• {note}", style="dim", markup=False, highlight=False)
    console.print(last_line(report, page), style="bold", markup=False, highlight=False, soft_wrap=True)
