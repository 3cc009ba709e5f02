"""The page's tables, each as HTML; a table that has no rows is no text."""

from __future__ import annotations

from collections.abc import Sequence

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
from greenflow_ray.viz import html_parts as pages
from greenflow_ray.viz.figures import si
from greenflow_ray.viz.html_parts import Html


def of(value: Interval | None, places: int = 3, against: float | None = None) -> str:
    """A number over its interval; bold if the whole interval lies on one side of ``against``."""
    if value is None:
        return "–"
    return _stacked(words.number(value.value, places), words.span(value, places), value, against)


def of_share(value: Interval | None, against: float | None = None) -> str:
    """A fraction in per cent over its interval."""
    if value is None:
        return "–"
    return _stacked(words.percent(value.value), words.percent_span(value), value, against)


def steps(falls: Waterfall, result: ExposureResult) -> str:
    """The waterfall's numbers."""
    reference = falls.reference
    places = words.digits(reference.clicks.value)
    rows = [
        (
            f"fixed chain {words.chain_name(reference.name, result)}: {of_plain(reference.clicks, places)} clicks",
            si(reference.flops, "FLOPs"),
            "",
            "",
        )
    ]
    rows += [
        (
            f"{step.step} ({step.policy})",
            _stacked(
                si(step.flops.value, "FLOPs"),
                f"{si(step.flops.low)} to {si(step.flops.high, 'FLOPs')}",
                step.flops,
                None,
            ),
            of_share(step.added, 0.0),
            of_share(step.saved, 0.0),
        )
        for step in falls.steps
    ]
    return pages.table(("step", "FLOPs a request", "saved by this step", "saved so far"), rows, stack=True)


def of_plain(value: Interval, places: int = 3) -> str:
    """A number and its interval on one line."""
    return f"{words.number(value.value, places)} ({words.span(value, places)})"


def main_points(result: ExposureResult) -> str:
    """GreenFlow, budget by budget."""
    line = words.points(result, words.main_policy(result))
    if not line:
        return ""
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
    return pages.table(head, rows, stack=True)


def all_points(result: ExposureResult) -> str:
    """Clicks of every policy at every budget, then their ratio to GLOBAL's."""
    names = words.policies(result)
    if not names:
        return ""
    return "<h3>Clicks a request</h3>" + side_by_side(result, names) + "<h3>÷ GLOBAL</h3>" + _ratios(result, names)


def side_by_side(result: ExposureResult, names: Sequence[str]) -> str:
    """Clicks of some policies next to each other, one row a budget (the paper's Table 2)."""
    found = [p for p in result.policies if p.policy in names]
    places = _places(found)
    cells = {(p.budget_share, p.policy): of(p.clicks, places) for p in found}
    return _grid(cells, names)


def _ratios(result: ExposureResult, names: Sequence[str]) -> str:
    cells = {(p.budget_share, p.policy): of(p.ratio_to_global, against=1.0) for p in result.policies}
    return _grid(cells, [name for name in names if name.lower() != "global"])


def rankers(rows: Sequence[RankerRow]) -> str:
    """One ranker or both, one row a budget (the paper's Table 3)."""
    places = words.digits(max((r.clicks.value for r in rows), default=1.0))
    cells = {(r.budget_share, " + ".join(r.rankers)): of(r.clicks, places) for r in rows}
    return _grid(cells, list(dict.fromkeys(name for _, name in cells)))


def reward_models(rows: Sequence[RewardModelLine]) -> str:
    """What each reward model earns and costs."""
    cells = [
        (
            Html(pages.text(r.name) + (' <span class="tag met">serves</span>' if r.serves else "")),
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
    return pages.table(head, cells, stack=True) if cells else ""


def variant(row: Ablation) -> str:
    """A variant's name by its switches."""
    on = [name for name, there in (("recursive", row.recursive), ("multi-basis", row.multi_basis)) if there]
    return " + ".join(on or ["neither"]) + (", monotone" if row.monotone else "") + (", taught" if row.teacher else "")


def ablation(rows: Sequence[Ablation]) -> str:
    """Variants of the network (the paper's Table 4)."""
    cells = [
        (
            variant(r),
            words.number(r.field_rce),
            words.number(r.spread_correlation),
            of(r.revenue, against=1.0),
            of(r.ratio_to_full, 4, against=1.0),
        )
        for r in rows
    ]
    head = ("variant", "Field-RCE", "correlation of spreads", "clicks ÷ GLOBAL", "÷ full network")
    return pages.table(head, cells, stack=True) if cells else ""


def scale(question: Scale) -> str:
    """One question of scale."""
    rows = [
        (p.label, of(p.ratio_to_global, against=1.0), of_share(p.saved, 0.0))
        for p in sorted(question.points, key=lambda p: p.x)
    ]
    return (
        f"<div><h3>{pages.text(question.name[:1].upper() + question.name[1:])}</h3>{pages.paragraph(question.question)}"
        + pages.table(("", "clicks ÷ GLOBAL", "FLOPs saved"), rows)
        + "</div>"
    )


def tracking(of_day: Tracking) -> str:
    """How each policy kept the budget."""
    rows = [
        (name, words.percent(of_day.utilisation.get(name), 2), words.percent(of_day.overuse.get(name), 2))
        for name in of_day.spend
    ]
    return pages.table(("policy", "of the budget used", "over it, mean"), rows)


def ceilings(rows: Sequence[Ceiling]) -> str:
    """What knowing expected rewards would earn (synthetic data)."""
    cells = [
        (
            words.budget(c.budget_share),
            words.number(c.global_, 4),
            words.number(c.greenflow, 4),
            words.number(c.foreseeable, 4),
            words.number(c.optimum, 4),
            words.percent(c.share),
        )
        for c in sorted(rows, key=lambda c: c.budget_share)
    ]
    head = ("budget", "GLOBAL", "GreenFlow", "foreseeable", "optimum", "GreenFlow's share of the gain")
    return pages.table(head, cells, stack=True)


def checks(rows: Sequence[Check]) -> str:
    """The claims, each with what decides it, met and missed alike, in the document's order."""
    cells = [
        (
            c.claim,
            c.value,
            Html('<span class="tag met">met</span>' if c.met else '<span class="tag missed">missed</span>'),
        )
        for c in rows
    ]
    return pages.table(("claim", "measured", ""), cells, 2, stack=True)


def models(evaluation: Evaluation) -> str:
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
    head = ("model", "FLOPs an item", "÷ the cheapest", "FLOPs a request", "AUC, mean of seeds")
    return pages.table(head, rows, stack=True)


def _auc(values: Sequence[float]) -> str:
    if not values:
        return "–"
    mean = words.number(sum(values) / len(values))
    if len(values) == 1:
        return mean
    return Html(f"{mean}<small>{words.number(min(values))} to {words.number(max(values))}</small>")


def _grid(cells: dict[tuple[float, str], str], names: Sequence[str]) -> str:
    """A table of one row a budget and one column a name; what is missing is a dash."""
    shares = sorted({share for share, _ in cells})
    rows = [(words.budget(s), *(cells.get((s, name), "–") for name in names)) for s in shares]
    head = ("budget", *(words.policy_name(name) for name in names))
    return pages.table(head, rows, stack=len(names) > 3) if rows else ""


def _places(found: Sequence[PolicyPoint]) -> int:
    return words.digits(max((p.clicks.value for p in found), default=1.0))


def _stacked(value: str, between: str, interval: Interval, against: float | None) -> Html:
    shown = f"<b>{value}</b>" if against is not None and words.decided(interval, against) else value
    return Html(f"{shown}<small>{between}</small>")
