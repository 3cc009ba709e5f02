"""What pictures are made of: *panels*, Altair charts with a height and no width, below each other; a page gives them
the room there is, a PNG a fixed width. They share an x axis by having one domain and the same room for y labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert

from greenflow_ray.support.files import whole
from greenflow_ray.viz import style

Panel = alt.Chart | alt.LayerChart
DIGITS = 6  # significant digits of a number in a picture: pages stay small, and no eye sees more
WIDTH = 860  # pixels of a panel in a PNG, before its scale


@dataclass(frozen=True)
class Picture:
    """One picture of a page: panels below each other, with a title for screen readers and a name that is its id."""

    name: str
    title: str
    panels: Sequence[Panel]

    def specs(self) -> list[dict[str, Any]]:
        """Vega-Lite documents for a page, as wide as their place is."""
        fit = alt.AutoSizeParams(type="fit-x", contains="padding")
        return [spec(panel.properties(width="container", autosize=fit)) for panel in self.panels]

    def save_png(self, path: Path | str, title: str | Sequence[str] = "") -> None:
        """Write the panels as one PNG, on white, atomically."""
        save_png(stacked(self.panels), path, title)


def spec(chart: alt.TopLevelMixin) -> dict[str, Any]:
    """The chart's Vega-Lite document in the project's look."""
    document: dict[str, Any] = chart.to_dict(validate=True)
    return {**document, "config": style.CONFIG, "background": None}


def stacked(panels: Sequence[Panel], width: int = WIDTH) -> alt.VConcatChart:
    """Panels below each other, ``width`` pixels wide; their scales stay their own."""
    wide = [panel.properties(width=width) for panel in panels]
    return alt.vconcat(*wide, spacing=18).resolve_scale(
        x="independent", y="independent", color="independent", strokeDash="independent"
    )


def save_png(chart: alt.TopLevelMixin, path: Path | str, title: str | Sequence[str] = "") -> None:
    """Write a chart whose widths are set as a PNG, on white, atomically."""
    document = {**spec(chart), "background": "white", "padding": 16}
    if title:
        head, *rest = [title] if isinstance(title, str) else title
        document["title"] = {"text": head, "subtitle": rest, **style.HEADLINE}
    with whole(path) as part:
        part.write_bytes(vl_convert.vegalite_to_png(document, scale=2))


def table(**columns: Any) -> alt.InlineData:
    """Columns of equal length (a single value counts for all rows) as a chart's data; what is not finite is absent."""
    size = max((len(c) for c in columns.values() if _many(c)), default=1)
    lists = [column if _many(column) else [column] * size for column in columns.values()]
    return records(dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True))


def records(rows: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Rows as a chart's data; numbers are rounded, and null where they are not finite."""
    return alt.InlineData(values=[{name: _plain(value) for name, value in row.items()} for row in rows])


def steps(bounds: Any, **values: Any) -> alt.InlineData:
    """Values ``[n]`` that hold between ``bounds`` ``[n + 1]``: rows with ``x``, ``x2`` and the values' own names."""
    return table(x=np.asarray(bounds)[:-1], x2=np.asarray(bounds)[1:], **values)


def x_axis(low: float, high: float, title: str | None = None) -> alt.X:
    """The x axis that a picture's panels share; numbers and title below the panel that gives ``title``."""
    axis = alt.Axis(title=title, labels=title is not None, ticks=False, grid=False)
    return alt.X("x:Q", scale=alt.Scale(domain=[low, high], nice=False), axis=axis)


def titled(layers: Sequence[alt.Chart | alt.LayerChart], title: str, height: int) -> alt.LayerChart:
    """Layers as one panel, whose title says what its y axis shows."""
    return alt.LayerChart(layer=list(layers), height=height, title=title)


@dataclass(frozen=True)
class Line:
    """A quantity over time: value ``y[i]`` holds from ``x[i]`` to ``x[i + 1]``; ``x`` has one entry more than ``y``."""

    name: str
    colour: str
    x: Any
    y: Any
    dashed: bool = False


def step_lines(lines: Sequence[Line], x: alt.X, y: alt.Y, *, legend: bool = True, width: float = 1.8) -> alt.Chart:
    """Lines that step, in their colours, named by a legend above the panel; cut off at the panel's edge."""
    rows = [
        {"x": a, "y": b, "line": line.name}
        for line in lines
        for a, b in zip(np.asarray(line.x, float), np.append(line.y, line.y[-1:]), strict=True)
    ]
    names = [line.name for line in lines]
    shown = alt.Legend(symbolType="stroke") if legend else None
    colour = alt.Scale(domain=names, range=[line.colour for line in lines])
    dash = alt.Scale(domain=names, range=[[5, 2] if line.dashed else [1, 0] for line in lines])
    return alt.Chart(records(rows)).mark_line(interpolate="step-after", strokeWidth=width, clip=True).encode(
        x=x,
        y=y,
        color=alt.Color("line:N", scale=colour, legend=shown),
        strokeDash=alt.StrokeDash("line:N", scale=dash, legend=shown),
    )  # fmt: skip


def filled(bounds: Any, values: Any, x: alt.X, y: alt.Y, colour: str, opacity: float = 0.25) -> alt.Chart:
    """The area under a quantity that steps; ``bounds`` has one entry more than ``values``."""
    y_values = np.append(values, values[-1:])
    data = table(x=np.asarray(bounds)[: len(y_values)], y=y_values)
    area = alt.Chart(data).mark_area(interpolate="step-after", color=colour, opacity=opacity, clip=True)
    return area.encode(x=x, y=y)


def y_axis(top: float, *, low: float = 0.0, ticks: int = 4, **axis: Any) -> alt.Y:
    """A y axis from ``low`` to ``top``."""
    scale = alt.Scale(domain=[low, top], nice=False, zero=False)
    return alt.Y("y:Q", scale=scale, axis=alt.Axis(tickCount=ticks, title=None, **axis))


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, for a log axis."""
    return [step * 10.0**e for e in range(-4, 8) for step in (1, 2, 5) if low <= step * 10.0**e <= high]


def tips(*shown: tuple[str, ...]) -> list[alt.Tooltip]:
    """What a pointer is told: for each a field, its title and its number format; the last two may be left out."""
    return [alt.Tooltip(**dict[str, Any](zip(("shorthand", "title", "format"), each, strict=False))) for each in shown]


ENDS = (("low:Q", "95 % from", ".4f"), ("high:Q", "to", ".4f"))  # what a pointer is told of an interval's ends

PERCENT = "format(100 * datum.value, '~g') + ' %'"  # the labelExpr of an axis that shows fractions in per cent


def hover(name: str, data: alt.InlineData, x: alt.X, tooltips: Sequence[alt.Tooltip]) -> alt.Chart:
    """Bands from ``x`` to ``x2``, as high as the panel, which is ``name``, that light up and say their values."""
    under = alt.selection_point(name=f"{name}_pointer", on="pointerover", clear="pointerout", empty=False)
    shown = alt.when(under).then(alt.value(0.09)).otherwise(alt.value(0.0))
    bands = alt.Chart(data).mark_rect(color=style.INK).encode(
        x=x, x2="x2:Q", y=alt.value(0), y2=alt.value("height"), opacity=shown, tooltip=list(tooltips)
    )  # fmt: skip
    return bands.add_params(under)


def band(begin: float, end: float, x: alt.X, colour: str, opacity: float = 0.13) -> alt.Chart:
    """A stretch of time, shaded."""
    return alt.Chart(table(x=[begin], x2=[end])).mark_rect(color=colour, opacity=opacity).encode(x=x, x2="x2:Q")


def rules(at: Sequence[float], x: alt.X, colour: str, **options: Any) -> alt.Chart:
    """Vertical lines at moments."""
    return alt.Chart(table(x=list(at))).mark_rule(color=colour, **options).encode(x=x)


def words(x: float, y: float | None, text: str | Sequence[str], colour: str, **options: Any) -> alt.Chart:
    """Words at a point of a panel; ``y`` None: at its upper edge. Offsets ``dx``, ``dy`` and ``align`` are options."""
    place = {"align": "left", "dx": 4, "dy": 8 if y is None else 0, **options}
    chart = alt.Chart(table(x=[x], y=[y], text=[text])).mark_text(color=colour, clip=False, **place)
    return chart.encode(x="x:Q", y=alt.value(0) if y is None else alt.Y("y:Q"), text="text:N")


def _many(column: Any) -> bool:
    return isinstance(column, (np.ndarray, list, tuple))


def _plain(value: Any) -> Any:
    """A JSON value: numbers rounded, what is not finite None."""
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
