"""Every table and picture of an evaluation as flat CSV files: one row a point, an interval as three columns."""

from __future__ import annotations

import csv
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path

from greenflow_ray.evaluation.findings.shape import (
    Ablation,
    Ceiling,
    Check,
    Evaluation,
    Interval,
    PolicyPoint,
    RankerRow,
    RewardModelLine,
    ScalePoint,
    WaterfallStep,
)
from greenflow_ray.support.documents import Part
from greenflow_ray.support.files import whole

Cell = str | int | float | bool | None
Row = dict[str, Cell]
Table = tuple[tuple[str, ...], list[Row]]


def tables(evaluation: Evaluation) -> dict[str, Table]:
    """Columns and rows by file name; each row has all columns, unknown values as None."""
    results = evaluation.results
    reference = ("reference", "reference_flops", *_triple("reference_clicks"))
    tracked = ("window", "window_s", "demand", "budget", "policy", "spend")
    return {
        "policies": _of(PolicyPoint, ((r.exposure, p) for r in results for p in r.policies)),
        "chains": _table(
            ("exposure", "role", "chain", "flops", *_triple("clicks")),
            (
                {
                    "exposure": r.exposure,
                    "role": role,
                    "chain": c.name,
                    "flops": c.flops,
                    **_interval("clicks", c.clicks),
                }
                for r in results
                for role, c in (("fullest", r.fullest), ("cheapest", r.cheapest))
            ),
        ),
        "waterfall": _table(
            ("exposure", *reference, "why", *columns(WaterfallStep)),
            (
                {
                    "exposure": r.exposure,
                    "reference": w.reference.name,
                    "reference_flops": w.reference.flops,
                    **_interval("reference_clicks", w.reference.clicks),
                    "why": w.why,
                    **flat(step),
                }
                for r in results
                for w in r.waterfalls
                for step in w.steps
            ),
        ),
        "ablation": _of(Ablation, ((r.exposure, row) for r in results for row in r.ablation)),
        "rankers": _of(RankerRow, ((r.exposure, row) for r in results for row in r.rankers)),
        "reward_models": _of(RewardModelLine, ((r.exposure, row) for r in results for row in r.reward_models)),
        "scale": _table(
            ("exposure", "name", "question", *columns(ScalePoint)),
            (
                {"exposure": r.exposure, "name": s.name, "question": s.question, **flat(point)}
                for r in results
                for s in r.scales
                for point in s.points
            ),
        ),
        "tracking": _table(("exposure", *tracked), _windows(evaluation)),
        "tracking_summary": _table(
            ("exposure", "policy", "utilisation", "overuse"),
            (
                {
                    "exposure": r.exposure,
                    "policy": policy,
                    "utilisation": r.tracking.utilisation.get(policy),
                    "overuse": r.tracking.overuse.get(policy),
                }
                for r in results
                if r.tracking is not None
                for policy in r.tracking.spend
            ),
        ),
        "ceiling": _of(Ceiling, ((r.exposure, row) for r in results for row in r.ceilings)),
        "models": _table(
            ("stage", "name", "flops_per_item", "flops_per_request", "seed", "auc"),
            (
                {
                    "stage": m.stage,
                    "name": m.name,
                    "flops_per_item": m.flops_per_item,
                    "flops_per_request": m.flops_per_request,
                    "seed": seed,
                    "auc": auc,
                }
                for m in evaluation.models
                for seed, auc in (zip(evaluation.seeds, m.auc, strict=False) if m.auc else [(None, None)])
            ),
        ),
        "checks": _table(columns(Check), map(flat, evaluation.checks)),
    }


def write_csv(evaluation: Evaluation, folder: Path | str) -> list[Path]:
    """Write every table to ``folder`` as ``<name>.csv``, each file atomically; returns their paths."""
    out = []
    for name, (head, rows) in tables(evaluation).items():
        path = Path(folder) / f"{name}.csv"
        with whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, head, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        out.append(path)
    return out


def columns(part: type[Part]) -> tuple[str, ...]:
    """Columns of a flat part of the document: an interval ``x`` becomes ``x``, ``x_low`` and ``x_high``."""
    out: list[str] = []
    for field, info in part.model_fields.items():
        name = info.alias or field
        kinds = typing.get_args(info.annotation) or (info.annotation,)
        out += _triple(name) if Interval in kinds else (name,)
    return tuple(out)


def flat(part: Part) -> Row:
    """One row of a flat part: what it declares, by :func:`columns`."""
    out: Row = {}
    for field, info in type(part).model_fields.items():
        name, value = info.alias or field, getattr(part, field)
        if isinstance(value, Interval):
            out |= _interval(name, value)
        else:
            out[name] = " + ".join(value) if isinstance(value, tuple) else value
    return out


def _windows(evaluation: Evaluation) -> Iterable[Row]:
    for result in evaluation.results:
        day = result.tracking
        if day is None:
            continue
        for policy, spend in day.spend.items():
            for window, (demand, budget, spent) in enumerate(zip(day.demand, day.budget, spend, strict=False)):
                yield {
                    "exposure": result.exposure,
                    "window": window,
                    "window_s": day.window_s,
                    "demand": demand,
                    "budget": budget,
                    "policy": policy,
                    "spend": spent,
                }


def _of(part: type[Part], entries: Iterable[tuple[int, Part]]) -> Table:
    return _table(("exposure", *columns(part)), ({"exposure": exposure, **flat(row)} for exposure, row in entries))


def _table(head: Sequence[str], rows: Iterable[Row]) -> Table:
    return tuple(head), [{name: row.get(name) for name in head} for row in rows]


def _triple(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def _interval(name: str, of: Interval) -> Row:
    return dict(zip(_triple(name), (of.value, of.low, of.high), strict=True))
