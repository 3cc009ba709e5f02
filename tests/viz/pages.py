"""Pages as tests look at them: their tags, and what a real browser draws on them."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

VOID = {"meta", "br", "img", "link"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Checker(HTMLParser):
    """Fails on tags that do not nest; gathers ids and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open[-1:]:
            self.text.append(data)


def outside_scripts(html: str) -> str:
    """The page without what its scripts hold."""
    return re.sub(r"<script[^>]*>.*?</script>", "", html, flags=re.DOTALL)


def browsed(html: str, folder: Path) -> dict[str, list[int]]:
    """Drawn marks of every panel of every picture (by its id), as a real browser without a network draws the page."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium here to draw the page")
    page = folder / "page.html"
    page.write_text(html, encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    wait = ["--virtual-time-budget=10000", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}"]
    done = subprocess.run(
        [browser, *flags, *wait, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert not re.findall(r"CONSOLE.*(?:Error|error|WARN).*", done.stderr), done.stderr[-2000:]
    drawn: dict[str, list[int]] = {}
    for name, picture in re.findall(r'<figure class="picture" id="([^"]+)".*?>(.*?)</figure>', done.stdout, re.DOTALL):
        panels = re.split(r'<div class="panel">', picture)[1:]
        drawn[name] = [_marks(outside_scripts(panel)) for panel in panels]
    return drawn


def _marks(panel: str) -> int:
    """Visible shapes and words that stand for data; axes, legends, backgrounds and bands to hover over are none."""
    layers = re.findall(r'<g class="mark-\w+ role-mark[^>]*>(.*?)</g>', panel, re.DOTALL)
    shapes = re.findall(r"<(?:path|line|text)\b[^>]*>", " ".join(layers))
    return sum(not re.search(r'\sopacity="0"| d=""', shape) for shape in shapes)
