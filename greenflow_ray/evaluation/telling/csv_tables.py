"""Every table and picture of an evaluation as flat CSV files: one row a point, an interval as three columns."""

from __future__ import annotations

import csv
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from greenflow_ray.evaluation.findings import shape
from greenflow_ray.evaluation.findings.shape import Evaluation, Interval
from greenflow_ray.support.documents import Part
from greenflow_ray.support.files import whole

Table = tuple[tuple[str, ...], Iterable[tuple[Any, ...]]]  # columns, and rows of as many cells; None is an empty cell


def tables(evaluation: Evaluation) -> dict[str, Table]:
    """Columns and rows by file name."""
    results = evaluation.results
    days = [(r.exposure, r.tracking) for r in results if r.tracking is not None]

    def parts(part: type[Part], name: str) -> Table:
        """A result's list of flat parts."""
        return ("exposure", *columns(part)), ((r.exposure, *flat(each)) for r in results for each in getattr(r, name))

    return {
        "policies": parts(shape.PolicyPoint, "policies"),
        "chains": (
            ("exposure", "role", "chain", "flops", *_triple("clicks")),
            ((r.exposure, role, *flat(getattr(r, role))) for r in results for role in ("fullest", "cheapest")),
        ),
        "waterfall": (
            ("exposure", "reference", "reference_flops", *_triple("reference_clicks"), "why",
             *columns(shape.WaterfallStep)),
            ((r.exposure, *flat(falls.reference), falls.why, *flat(step))
             for r in results for falls in r.waterfalls for step in falls.steps),
        ),
        "ablation": parts(shape.Ablation, "ablation"),
        "rankers": parts(shape.RankerRow, "rankers"),
        "reward_models": parts(shape.RewardModelLine, "reward_models"),
        "scale": (
            ("exposure", "name", "question", *columns(shape.ScalePoint)),
            ((r.exposure, s.name, s.question, *flat(point)) for r in results for s in r.scales for point in s.points),
        ),
        "tracking": (
            ("exposure", "window", "window_s", "demand", "budget", "policy", "spend"),
            ((exposure, window, day.window_s, demand, budget, policy, spent)
             for exposure, day in days for policy, spend in day.spend.items()
             for window, (demand, budget, spent) in enumerate(zip(day.demand, day.budget, spend, strict=False))),
        ),
        "tracking_summary": (
            ("exposure", "policy", "utilisation", "overuse"),
            ((exposure, policy, day.utilisation.get(policy), day.overuse.get(policy))
             for exposure, day in days for policy in day.spend),
        ),
        "ceiling": parts(shape.Ceiling, "ceilings"),
        "models": (
            ("stage", "name", "flops_per_item", "flops_per_request", "seed", "auc"),
            ((m.stage, m.name, m.flops_per_item, m.flops_per_request, seed, auc)
             for m in evaluation.models
             for seed, auc in (zip(evaluation.seeds, m.auc, strict=False) if m.auc else [(None, None)])),
        ),
        "checks": (columns(shape.Check), map(flat, evaluation.checks)),
    }  # fmt: skip


def write_csv(evaluation: Evaluation, folder: Path | str) -> list[Path]:
    """Write every table to ``folder`` as ``<name>.csv``, each file atomically; returns their paths."""
    out = []
    for name, (head, rows) in tables(evaluation).items():
        path = Path(folder) / f"{name}.csv"
        with whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([head, *rows])
        out.append(path)
    return out


def columns(part: type[Part]) -> tuple[str, ...]:
    """Columns of a flat part of the document: an interval ``x`` becomes ``x``, ``x_low`` and ``x_high``."""
    names = [(info.alias or field, _interval(info)) for field, info in part.model_fields.items()]
    return tuple(column for name, interval in names for column in (_triple(name) if interval else (name,)))


def flat(part: Part) -> tuple[Any, ...]:
    """One row of a flat part: what it declares, by :func:`columns`."""
    out: list[Any] = []
    for field, info in type(part).model_fields.items():
        value = getattr(part, field)
        if _interval(info):
            out += (value.value, value.low, value.high) if value else (None, None, None)
        else:
            out.append(" + ".join(value) if isinstance(value, tuple) else value)
    return tuple(out)


def _interval(field: FieldInfo) -> bool:
    """Whether a field is an interval, or one that may be unknown."""
    return Interval in (typing.get_args(field.annotation) or (field.annotation,))


def _triple(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"
