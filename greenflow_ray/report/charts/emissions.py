"""The pictures of energy and carbon: the grid's intensity, grams so far, and where each arm's energy went."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from greenflow_ray.report.charts.timeline import mark_spike
from greenflow_ray.report.contents import Arm, Report
from greenflow_ray.report.footprint import Footprint, footprint
from greenflow_ray.viz import figures as style
from greenflow_ray.viz.figures import EQUAL, GREEN, INK, MUTED, NARROW, ROSE, WIDE

UNATTRIBUTED = "unattributed"


def footprints(report: Report) -> tuple[Footprint, Footprint] | None:
    """Both arms' energy and carbon over time, EQUAL first; None if energy or intensity is unknown."""
    a, b = report.arms.equal, report.arms.greenflow
    if report.carbon is None or a.energy_joules is None or b.energy_joules is None:
        return None
    first, second = (
        footprint(
            joules,
            sum(arm.energy_by_deployment_joules.values()),
            arm.duration_seconds,
            report.carbon.grams_per_kwh,
            report.course,
            own=own,
        )
        for joules, arm, own in ((a.energy_joules, a, False), (b.energy_joules, b, True))
    )
    return first, second


def changing(report: Report) -> bool:
    """Whether carbon over time has something to show: the intensity changed, or watts are known by second."""
    found = footprints(report)
    return found is not None and (found[1].shaped or float(np.ptp(found[1].grams_per_kwh)) > 0)


@mpl.rc_context(style.RC)
def carbon(report: Report, *, narrow: bool = False) -> Figure:
    """The grid's intensity, each arm's grams a second, and its grams so far, over the same time."""
    found = footprints(report)
    figure, (grid, rate, total) = style.figure(NARROW if narrow else WIDE, 4.6, rows=(1, 1.2, 1.6))
    if found is None:
        return figure
    end = float(found[1].bounds[-1])
    grid.stairs(found[1].grams_per_kwh, found[1].bounds, baseline=None, color=ROSE, lw=1.8)
    grid.set_ylim(0, 1.15 * found[1].grams_per_kwh.max() or 1)
    style.title(grid, "Grid's intensity, gCO2e/kWh")
    size, prefix = _grams(max(float((f.grams / np.diff(f.bounds)).max()) for f in found))
    whole, unit = _grams(max(f.total for f in found))
    labels = []
    for arm, colour, name in zip(found, (EQUAL, GREEN), ("EQUAL", "GreenFlow"), strict=True):
        rate.stairs(arm.grams / np.diff(arm.bounds) / size, arm.bounds, baseline=None, color=colour, lw=1.6)
        so_far = np.concatenate([[0.0], np.cumsum(arm.grams)]) / whole
        total.plot(arm.bounds, so_far, color=colour, lw=2.0)
        labels.append((float(so_far[-1]), f"{name}\n{so_far[-1]:.3g} {unit}g" if not narrow else name, colour))
    rate.set_ylim(0, 1.15 * max(float((f.grams / np.diff(f.bounds)).max()) for f in found) / size or 1)
    total.set_ylim(0, 1.08 * max(f.total for f in found) / whole or 1)
    style.title(rate, f"{prefix}gCO2e a second" + ("" if found[1].shaped else ", energy spread evenly over the arm"))
    style.title(total, f"{unit}gCO2e so far")
    total.set_xlabel("seconds from the start")
    for axes, n in ((grid, 3), (rate, 3), (total, 4)):
        mark_spike(axes, report)
        style.tidy(axes)
        axes.set_xlim(0, end)
        axes.yaxis.set_major_locator(style.ticks(n))
    if narrow:
        for (y, text, colour), place in zip(labels, (0.99, 0.85), strict=True):
            total.annotate(
                f"{text} {y:.3g} {unit}g", (0.01, place), xycoords="axes fraction", va="top", fontsize=9, color=colour
            )
    else:
        style.end_labels(total, end, labels, gap=0.22)
    return figure


@mpl.rc_context(style.RC)
def energy(report: Report, *, narrow: bool = False) -> Figure:
    """Each arm's energy by deployment, and what nobody can be charged for, as bars from 0."""
    a, b = report.arms.equal, report.arms.greenflow
    names = sorted(a.energy_by_deployment_joules | b.energy_by_deployment_joules, key=lambda n: -_most(a, b, n))
    names.append(UNATTRIBUTED)
    figure, (axes,) = style.figure(NARROW if narrow else WIDE, 0.6 + 0.36 * len(names))
    largest = max(_most(a, b, name) for name in names) or 1.0
    for row, name in enumerate(names):
        for arm, offset, colour in ((a, -0.19, EQUAL), (b, 0.19, GREEN)):
            joules = _joules(arm, name)
            if joules is None:
                continue
            faint = 0.45 if name == UNATTRIBUTED else 1.0
            axes.barh(row + offset, joules, height=0.36, color=colour, alpha=faint, lw=0)
            axes.annotate(
                style.si(joules, "J"), (joules, row + offset), xytext=(4, 0), textcoords="offset points",
                va="center", fontsize=8 if narrow else 8.5, color=MUTED,
            )  # fmt: skip
    _names(axes, names)
    axes.set_xlim(0, 1.16 * largest)
    handles = [mpl.patches.Patch(color=c, label=t) for c, t in ((EQUAL, "EQUAL"), (GREEN, "GreenFlow"))]
    axes.legend(handles=handles, loc="center right", fontsize=9, labelcolor=INK, handlelength=0.9)
    style.title(axes, "Energy by deployment")
    return figure


def _names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.grid(False)
    style.tidy(axes)
    axes.tick_params(labelbottom=False, labelcolor=INK)
    axes.spines["bottom"].set_visible(False)


def _joules(arm: Arm, name: str) -> float | None:
    return arm.energy_unattributed_joules if name == UNATTRIBUTED else arm.energy_by_deployment_joules.get(name)


def _most(a: Arm, b: Arm, name: str) -> float:
    return max(_joules(a, name) or 0.0, _joules(b, name) or 0.0)


def _grams(largest: float) -> tuple[float, str]:
    """Divisor and prefix for grams: milli- and micrograms below one."""
    return next(((size, prefix) for size, prefix in ((1.0, ""), (1e-3, "m")) if largest >= size), (1e-6, "µ"))
