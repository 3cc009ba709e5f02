"""How pictures look: a restrained, colour-blind safe palette, units, and SVG that takes the page's colours."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Okabe and Ito's palette, in which colour-blind readers can tell every pair apart.
INK, MUTED, GRID = "#17212b", "#5d6a76", "#dde3e8"
EQUAL, GREEN, BUDGET, PRICE = "#8b949e", "#009e73", "#d55e00", "#0072b2"
ROSE, AMBER, SKY = "#cc79a7", "#e69f00", "#56b4e9"
_VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", EQUAL: "equal", GREEN: "green", BUDGET: "budget", PRICE: "price",
    ROSE: "rose", AMBER: "amber", SKY: "sky",
}  # fmt: skip

WIDE, NARROW = 9.4, 4.3
"""Inches: a picture for a desk and one for a phone."""

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "legend.frameon": False,
}

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def scale(largest: float) -> tuple[float, str]:
    """Divisor and SI prefix that make ``largest`` a number from 1 to 1,000."""
    return next(((size, prefix) for size, prefix in _PREFIXES if abs(largest) >= size), (1.0, ""))


def si(value: float, unit: str = "") -> str:
    """Three significant digits with an SI prefix, e.g. ``1.23 GFLOPs``."""
    size, prefix = scale(value)
    number = value / size
    digits = 0 if abs(number) >= 100 or float(number).is_integer() else 1 if abs(number) >= 10 else 2
    return f"{number:,.{digits}f} {prefix}{unit}".rstrip()


def signed_percent(fraction: float | None, digits: int = 1) -> str:
    """A fraction as a signed percentage with a true minus sign; a dash if unknown."""
    if fraction is None:
        return "–"
    text = f"{100 * fraction:+.{digits}f} %"
    return f"{0:.{digits}f} %" if float(text[:-2]) == 0 else text.replace("-", "−")


def seconds(value: float | None) -> str:
    """A latency: milliseconds below a second."""
    if value is None:
        return "–"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"


def figure(
    width: float, height: float, rows: Sequence[float] = (1,), columns: int = 1, *, share: bool = True
) -> tuple[Figure, list[Axes]]:
    """A figure of inches, with axes in rows of the given height ratios; ``share``: rows have one x axis."""
    out = Figure(figsize=(width, height), layout="constrained")
    axes = out.subplots(
        len(rows), columns, squeeze=False, sharex="col" if share else "none", gridspec_kw={"height_ratios": list(rows)}
    )
    return out, list(np.ravel(axes))


def tidy(axes: Axes) -> None:
    """No tick marks, no left spine: the grid carries the values."""
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0)


def title(axes: Axes, text: str) -> None:
    """A panel's title, which also says what its y axis shows."""
    axes.set_title(text, loc="left", fontsize=9.5, color=MUTED)


def ticks(n: int) -> MaxNLocator:
    """At most about ``n`` ticks, at least two."""
    return MaxNLocator(n, min_n_ticks=2)


def percent_axis(axes: Axes, which: str = "y") -> None:
    """Show an axis of fractions in per cent."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))


def end_labels(axes: Axes, x: float, entries: Sequence[tuple[float, str, str]], gap: float = 0.075) -> None:
    """Name lines at their right ends: (y, text, colour); moved apart vertically where they would touch."""
    low, high = axes.get_ylim()
    spots = sorted(((y - low) / (high - low), text, colour) for y, text, colour in entries)
    at = -1.0
    placed: list[tuple[float, str, str]] = []
    for y, text, colour in spots:
        at = max(min(max(y, 0.02), 0.98), at + gap)
        placed.append((at, text, colour))
    over = placed[-1][0] - 0.98 if placed else 0.0
    for y, text, colour in placed:
        axes.annotate(
            text, (x, y - max(over, 0.0)), xycoords=("data", "axes fraction"), xytext=(6, 0),
            textcoords="offset points", va="center", ha="left", color=colour, fontsize=9, annotation_clip=False,
        )  # fmt: skip


def svg(drawn: Figure, name: str, salt: str = "") -> str:
    """Inline SVG without a fixed size, whose colours follow the page's; ``name`` is its title for screen readers.

    Pictures that have one name need different salts to stand in one page.
    """
    buffer = io.StringIO()
    # The salt keeps clip paths of two pictures apart in one page, and the same in every build.
    with mpl.rc_context({**RC, "svg.hashsalt": name + salt}):
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(
        r' id="[A-Za-z0-9.]+_\d+"', "", text
    )  # group names, the same in every picture; nothing refers to them
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text
