"""Self-contained HTML pages: the document, sections, tables and pictures that every page of the project is made of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path

from matplotlib.figure import Figure

from greenflow_ray.support.files import whole
from greenflow_ray.viz import figures as style


class Html(str):
    """Text that is HTML already; every other string is escaped when it enters a page."""


def document(title: str, body: str) -> str:
    """A whole page in the project's look; ``body`` is HTML."""
    body = body.replace(" %", "\u00a0%")  # a number and its sign stay on one line
    css = resources.files("greenflow_ray.viz").joinpath("templates/page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{css}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def save(text: str, path: Path | str) -> None:
    """Write a page atomically."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8")


def text(value: str) -> str:
    """``value`` as HTML."""
    return value if isinstance(value, Html) else escape(value)


def section(title: str, content: str, name: str = "") -> str:
    """A titled box; ``content`` is HTML, ``name`` its id."""
    own = f' id="{name}"' if name else ""
    return f"<section{own}><h2>{escape(title)}</h2>{content}</section>"


def pair(*sections: str) -> str:
    """Sections side by side where there is room."""
    return f'<div class="pair">{"".join(sections)}</div>'


def cards(label: str, entries: Sequence[tuple[str, str, str]]) -> str:
    """Headline figures: (name, figure, what to know about it)."""
    each = "".join(
        f'<div class="card"><h2>{text(name)}</h2><p class="figure">{text(value)}</p><p>{text(detail)}</p></div>'
        for name, value, detail in entries
    )
    kind = "cards three" if len(entries) % 3 == 0 and len(entries) % 4 else "cards"
    return f'<section class="{kind}" aria-label="{escape(label)}">{each}</section>'


def picture(title: str, name: str, figures: Sequence[Figure]) -> str:
    """A picture drawn twice, wide for a desk and narrow for a phone, or once for both; ``name`` is its id."""
    if len(figures) == 1:
        return f'<div class="picture single" id="{name}">{style.svg(figures[0], escape(title), name)}</div>'
    wide, narrow = (
        style.svg(figure, escape(f"{title} ({size})"), name)
        for figure, size in zip(figures, ("wide", "narrow"), strict=True)
    )
    return f'<div class="picture wide" id="{name}">{wide}</div><div class="picture narrow">{narrow}</div>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, *, stack: bool = False) -> str:
    """A table whose first ``words`` columns are text and whose others are numbers, aligned to the right.

    ``stack``: on a phone each row becomes a list of its cells, each after its column's name.
    """
    css = [' class="word"' if i < words else "" for i in range(len(head))]
    tags = [f' data-label="{escape(cell)}"' if stack else "" for cell in head]
    top = "".join(f"<th{c}>{text(cell)}</th>" for c, cell in zip(css, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{c}{t}>{text(cell)}</td>" for c, t, cell in zip(css, tags, row, strict=True)) + "</tr>"
        for row in rows
    )
    kind = ' class="stack"' if stack else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def bullets(lines: Sequence[str]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def paragraph(sentence: str) -> str:
    """A paragraph; nothing if there is nothing to say."""
    return f"<p>{text(sentence)}</p>" if sentence else ""


def folded(summary: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"
