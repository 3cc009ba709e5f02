"""The page's tables as rows of cells; a table that has nothing to show has no rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from greenflow_ray.evaluation.findings.shape import (
    Ablation,
    Ceiling,
    Check,
    Evaluation,
    ExposureResult,
    Interval,
    PolicyPoint,
    RankerRow,
    RewardModelLine,
    Scale,
    Tracking,
    Waterfall,
)
from greenflow_ray.evaluation.telling import words
from greenflow_ray.viz.pages import stacked
from greenflow_ray.viz.style import si


@dataclass(frozen=True)
class Table:
    """Column names, rows, how many of the first columns are text, and whether a row becomes a list on a phone."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    stack: bool = True


def of(value: Interval | None, places: int = 3, against: float | None = None) -> str:
    """A number over its interval; bold if the whole interval lies on one side of ``against``."""
    if value is None:
        return "–"
    return stacked(words.number(value.value, places), words.span(value, places), bold=_sure(value, against))


def of_share(value: Interval | None, against: float | None = None) -> str:
    """A fraction in per cent over its interval."""
    if value is None:
        return "–"
    return stacked(words.percent(value.value), words.percent_span(value), bold=_sure(value, against))


def of_plain(value: Interval, places: int = 3) -> str:
    """A number and its interval on one line."""
    return f"{words.number(value.value, places)} ({words.span(value, places)})"


def steps(falls: Waterfall, result: ExposureResult) -> Table:
    """The waterfall's numbers."""
    reference = falls.reference
    clicks = of_plain(reference.clicks, words.digits(reference.clicks.value))
    name = f"fixed chain {words.chain_name(reference.name, result)}: {clicks} clicks"
    rows = [(name, si(reference.flops, "FLOPs"), "", "")]
    for step in falls.steps:
        span = f"{si(step.flops.low)} to {si(step.flops.high, 'FLOPs')}"
        flops = stacked(si(step.flops.value, "FLOPs"), span)
        rows.append((f"{step.step} ({step.policy})", flops, of_share(step.added, 0.0), of_share(step.saved, 0.0)))
    return Table(("step", "FLOPs a request", "saved by this step", "saved so far"), rows)


def main_points(result: ExposureResult) -> Table:
    """GreenFlow, budget by budget."""
    line = words.points(result, words.main_policy(result))
    places = _places(line)
    rows = [
        (
            words.budget(p.budget_share),
            si(p.budget_flops),
            of(p.clicks, places),
            of(p.ratio_to_global, against=1.0),
            of(p.ratio_to_fixed, against=1.0),
            of_share(p.saved_against_fixed, 0.0),
            words.used(p.used),
        )
        for p in line
    ]
    head = ("budget", "FLOPs a request", "clicks", "÷ GLOBAL", "÷ best fixed", "saved against it", "budget used")
    return Table(head, rows)


def side_by_side(result: ExposureResult, names: Sequence[str]) -> Table:
    """Clicks of some policies next to each other, one row a budget (the paper's Table 2)."""
    found = [p for p in result.policies if p.policy in names]
    places = _places(found)
    return _grid({(p.budget_share, p.policy): of(p.clicks, places) for p in found}, names)


def ratios(result: ExposureResult) -> Table:
    """Every policy's clicks ÷ GLOBAL's, one row a budget."""
    cells = {(p.budget_share, p.policy): of(p.ratio_to_global, against=1.0) for p in result.policies}
    return _grid(cells, [name for name in words.policies(result) if name.lower() != "global"])


def rankers(rows: Sequence[RankerRow]) -> Table:
    """One ranker or both, one row a budget (the paper's Table 3)."""
    places = words.digits(max((r.clicks.value for r in rows), default=1.0))
    cells = {(r.budget_share, " + ".join(r.rankers)): of(r.clicks, places) for r in rows}
    return _grid(cells, list(dict.fromkeys(name for _, name in cells)))


def reward_models(rows: Sequence[RewardModelLine]) -> Table:
    """What each reward model earns and costs."""
    cells = [
        (
            Markup('{} <span class="tag met">serves</span>').format(r.name) if r.serves else r.name,
            of(r.revenue, against=1.0),
            of(r.ratio_to_boosted, 4, against=1.0),
            words.number(r.field_rce),
            words.number(r.bias),
            words.number(r.spread_correlation),
            "not counted (trees)" if r.flops_per_request is None else si(r.flops_per_request),
        )
        for r in rows
    ]
    head = (
        "model", "clicks ÷ GLOBAL", "÷ boosted", "Field-RCE", "predicted ÷ realised", "correlation of spreads",
        "FLOPs a request",
    )  # fmt: skip
    return Table(head, cells)


def variant(row: Ablation) -> str:
    """A variant's name by its switches."""
    on = [name for name, there in (("recursive", row.recursive), ("multi-basis", row.multi_basis)) if there]
    return " + ".join(on or ["neither"]) + (", monotone" if row.monotone else "") + (", taught" if row.teacher else "")


def ablation(rows: Sequence[Ablation]) -> Table:
    """Variants of the network (the paper's Table 4)."""
    cells = [
        (variant(r), words.number(r.field_rce), words.number(r.spread_correlation), of(r.revenue, against=1.0),
         of(r.ratio_to_full, 4, against=1.0))
        for r in rows
    ]  # fmt: skip
    return Table(("variant", "Field-RCE", "correlation of spreads", "clicks ÷ GLOBAL", "÷ full network"), cells)


def scale(question: Scale) -> Table:
    """One question of scale."""
    rows = [
        (p.label, of(p.ratio_to_global, against=1.0), of_share(p.saved, 0.0))
        for p in sorted(question.points, key=lambda p: p.x)
    ]
    return Table(("", "clicks ÷ GLOBAL", "FLOPs saved"), rows, stack=False)


def tracking(of_day: Tracking) -> Table:
    """How each policy kept the budget."""
    rows = [
        (name, words.percent(of_day.utilisation.get(name), 2), words.percent(of_day.overuse.get(name), 2))
        for name in of_day.spend
    ]
    return Table(("policy", "of the budget used", "over it, mean"), rows, stack=False)


def ceilings(rows: Sequence[Ceiling]) -> Table:
    """What knowing expected rewards would earn (synthetic data)."""
    cells = [
        (
            words.budget(c.budget_share),
            *(words.number(value, 4) for value in (c.global_, c.greenflow, c.foreseeable, c.optimum)),
            words.percent(c.share),
        )
        for c in sorted(rows, key=lambda c: c.budget_share)
    ]
    return Table(("budget", "GLOBAL", "GreenFlow", "foreseeable", "optimum", "GreenFlow's share of the gain"), cells)


def checks(rows: Sequence[Check]) -> Table:
    """The claims, each with what decides it, met and missed alike, in the document's order."""
    tags = {True: Markup('<span class="tag met">met</span>'), False: Markup('<span class="tag missed">missed</span>')}
    return Table(("claim", "measured", ""), [(c.claim, c.value, tags[c.met]) for c in rows], 2)


def models(evaluation: Evaluation) -> Table:
    """The cascade's models (the paper's Table 1)."""
    least = min((m.flops_per_item for m in evaluation.models if m.flops_per_item > 0), default=1)
    rows = [
        (
            f"{m.name} ({m.stage})",
            f"{m.flops_per_item:,}",
            f"{m.flops_per_item / least:,.3g}",
            f"{m.flops_per_request:,}",
            _auc(m.auc),
        )
        for m in evaluation.models
    ]
    return Table(("model", "FLOPs an item", "÷ the cheapest", "FLOPs a request", "AUC, mean of seeds"), rows)


def _auc(values: Sequence[float]) -> str:
    if not values:
        return "–"
    span = f"{words.number(min(values))} to {words.number(max(values))}" if len(values) > 1 else ""
    return stacked(words.number(sum(values) / len(values)), span)


def _grid(cells: dict[tuple[float, str], str], names: Sequence[str]) -> Table:
    """A table of one row a budget and one column a name; what is missing is a dash."""
    shares = sorted({share for share, _ in cells})
    rows = [(words.budget(s), *(cells.get((s, name), "–") for name in names)) for s in shares]
    return Table(("budget", *(words.policy_name(name) for name in names)), rows, stack=len(names) > 3)


def _places(found: Sequence[PolicyPoint]) -> int:
    return words.digits(max((p.clicks.value for p in found), default=1.0))


def _sure(interval: Interval, against: float | None) -> bool:
    return against is not None and words.decided(interval, against)
