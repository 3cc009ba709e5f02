"""The main picture as a single PNG, for a README or a message."""

from __future__ import annotations

from pathlib import Path

from greenflow_ray.loadtest.result import ArmResult
from greenflow_ray.report.charts import timeline
from greenflow_ray.report.contents import Report
from greenflow_ray.report.telling.sentences import headline
from greenflow_ray.support.files import whole
from greenflow_ray.viz import figures as style


def save_png(
    report: Report,
    equal: ArmResult,
    greenflow: ArmResult,
    path: Path | str,
    *,
    dpi: int = 160,
) -> None:
    """Write spend against budget and price over time to ``path``, on white, atomically."""
    figure = timeline.spend_and_price(report, equal, greenflow, report.course)
    data = f"{report.dataset}, synthetic data" if report.synthetic else report.dataset
    figure.suptitle(f"{headline(report)} ({data})", x=0.01, ha="left", color=style.INK, fontsize=12, weight="bold")
    with whole(path) as part:
        figure.savefig(part, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
