"""Self-contained HTML pages (escaped, no network) from each room's Jinja2 templates, and those here that serve all.
Pictures are Vega-Lite documents in the page, drawn by Vega's own script, which the page carries."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined
from markupsafe import Markup

from greenflow_ray.support.files import whole
from greenflow_ray.viz import style


def render(template: str, **values: Any) -> str:
    """HTML text of a page; ``template`` is ``room/file``, e.g. ``report/report.html.jinja``."""
    text = _environment().get_template(template).render(**values)
    return text.replace(" %<", "\u00a0%<").replace(" % ", "\u00a0% ")  # a number and its sign stay on one line


def stacked(value: str, below: str, *, bold: bool = False) -> Markup:
    """A cell of a table: a figure, with what to know about it in small below."""
    figure = Markup("<b>{}</b>").format(value) if bold else Markup("{}").format(value)
    return figure + Markup("<small>{}</small>").format(below) if below else figure


def save(text: str, path: Path | str) -> None:
    """Write a page atomically."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


@cache
def _environment() -> Environment:
    rooms = ("viz", "report", "evaluation")
    environment = Environment(
        loader=PrefixLoader({room: PackageLoader("greenflow_ray", f"{room}/templates") for room in rooms}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.globals |= {"vega": _vega, "colours": style.VARIABLES}
    return environment


@cache
def _vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed in one script, which cannot end the element that it stands in."""
    script = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub forgets that the snippet is optional
    return Markup(script.replace("</script", "<\\/script"))
