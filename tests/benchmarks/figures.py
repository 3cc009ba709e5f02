"""How benches tell what they measured: a figure with its bar and moonshot, the machine, a table, a JSON file."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from greenflow_ray.models.costing import timing
from greenflow_ray.support.files import whole

Row = dict[str, Any]


def row(figure: str, value: float, bar: float, moonshot: float | None, *, least: bool = False, **more: Any) -> Row:
    """One figure; ``least``: the bar is a minimum, else a maximum."""

    def met(limit: float | None) -> bool | None:
        return None if limit is None else bool(value >= limit if least else value <= limit)

    bounds = {"bar": bar, "moonshot": moonshot, "sense": "min" if least else "max"}
    return {"figure": figure, "value": value, **bounds, "met": met(bar), "moonshot_met": met(moonshot), **more}


def machine() -> dict[str, Any]:
    """Where and with what this was measured."""

    def told(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = ("numpy", "numba", "scipy", "pyarrow", "torch", "ray", "ortools", "greenflow-ray")
    return {
        "cpu": timing.machine()["processor"],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {p: told(p) for p in packages},
        "load_before": os.getloadavg(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def show(rows: list[Row]) -> None:
    """Print the table of figures, bars and moonshots."""
    table = Table("figure", "value", "bar", "moonshot", "met")
    marks = {None: "–", True: "yes", False: "NO"}
    for r in rows:
        sign = "≥" if r["sense"] == "min" else "≤"
        moonshot = "" if r["moonshot"] is None else f"{sign} {r['moonshot']:g}"
        met = f"{marks[r['met']]} / {marks[r['moonshot_met']]}"
        table.add_row(r["figure"], f"{r['value']:.4g}", f"{sign} {r['bar']:g}", moonshot, met)
    Console(width=140).print(table)


def save(path: Path, report: dict[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    with whole(path) as part:
        part.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
