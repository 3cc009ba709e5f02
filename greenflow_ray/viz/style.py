"""How pictures and numbers look: a restrained, colour-blind safe palette, one configuration for charts, and units."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's palette, in which colour-blind readers can tell every pair apart.
INK, MUTED, GRID = "#17212b", "#5d6a76", "#dde3e8"
EQUAL, GREEN, BUDGET, PRICE = "#8b949e", "#009e73", "#d55e00", "#0072b2"
ROSE, AMBER, SKY = "#cc79a7", "#e69f00", "#56b4e9"
VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", EQUAL: "equal", GREEN: "green", BUDGET: "budget", PRICE: "price",
    ROSE: "rose", AMBER: "amber", SKY: "sky",
}  # fmt: skip
"""The page's CSS variable for each colour: a page has a dark look too, and its pictures follow it."""

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif'
CONFIG: dict[str, Any] = {
    "font": FONT,
    "view": {"stroke": None, "continuousHeight": 200},
    "axis": {
        "labelColor": MUTED, "titleColor": MUTED, "gridColor": GRID, "domain": False, "ticks": False,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelPadding": 6, "titlePadding": 8,
    },
    "axisX": {"domain": True, "domainColor": GRID, "grid": False, "tickCount": 7, "labelOverlap": True},
    "axisY": {"minExtent": 46, "tickCount": 4, "title": None},
    "title": {
        "anchor": "start", "frame": "bounds", "fontSize": 12, "fontWeight": "normal", "color": MUTED, "offset": 8,
    },
    "legend": {
        "labelColor": INK, "titleColor": MUTED, "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal",
        "orient": "top", "symbolType": "square", "offset": 4, "title": None, "labelLimit": 360,
    },
    "text": {"fontSize": 11, "color": INK},
    "line": {"strokeWidth": 2},
}  # fmt: skip
"""The look of every picture, as Vega-Lite's configuration."""

HEADLINE: dict[str, Any] = {
    "anchor": "start", "frame": "group", "fontSize": 15, "fontWeight": 600, "color": INK, "subtitleColor": MUTED,
    "offset": 16,
}  # fmt: skip
"""The title of a picture that stands alone."""

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def scale(largest: float) -> tuple[float, str]:
    """Divisor and SI prefix that make ``largest`` a number from 1 to 1,000."""
    return next(((size, prefix) for size, prefix in _PREFIXES if abs(largest) >= size), (1.0, ""))


def number(value: float | None, places: int = 3) -> str:
    """A number with thousands set apart and a true minus sign; a dash if unknown."""
    return "–" if value is None else f"{value:,.{places}f}".replace("-", "−")


def percent(value: float | None, places: int = 1) -> str:
    """A fraction in per cent; a dash if unknown."""
    return "–" if value is None else f"{number(100 * value, places)} %"


def change(saving: float | None) -> str:
    """A saving as a signed change, e.g. 0.4 as −40.0 %; a dash if unknown."""
    if saving is None:
        return "–"
    text = f"{-100 * saving:+.1f} %"
    return "0.0 %" if float(text[:-2]) == 0 else text.replace("-", "−")


def si(value: float | None, unit: str = "") -> str:
    """Three significant digits with an SI prefix, e.g. ``1.23 GFLOPs``; a dash if unknown."""
    if value is None:
        return "–"
    size, prefix = scale(value)
    scaled = value / size
    digits = 0 if abs(scaled) >= 100 or float(scaled).is_integer() else 1 if abs(scaled) >= 10 else 2
    return f"{scaled:,.{digits}f} {prefix}{unit}".rstrip()


def seconds(value: float | None) -> str:
    """A latency: milliseconds below a second; a dash if unknown."""
    if value is None:
        return "–"
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1000 * value:.0f} ms" if value >= 0.01 else f"{1000 * value:.1f} ms"
