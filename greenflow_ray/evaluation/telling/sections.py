"""The page's tables as rows of cells; a table that has nothing to show has no rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from markupsafe import Markup

from greenflow_ray.evaluation.findings import shape
from greenflow_ray.evaluation.findings.shape import ExposureResult, Interval
from greenflow_ray.evaluation.telling import words
from greenflow_ray.viz.pages import stacked
from greenflow_ray.viz.style import number, percent, si

Row = TypeVar("Row")


@dataclass(frozen=True)
class Table:
    """Column names, rows, how many of the first columns are text, and whether a row becomes a list on a phone."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    stack: bool = True


def _table(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]], *, stack: bool = True) -> Table:
    """A table from what each column says of a row."""
    return Table(tuple(columns), [tuple(tell(row) for tell in columns.values()) for row in rows], stack=stack)


def of(value: Interval | None, places: int = 3, against: float | None = None) -> str:
    """A number over its interval; bold if the whole interval lies on one side of ``against``."""
    if value is None:
        return "–"
    bold = against is not None and words.decided(value, against)
    return stacked(number(value.value, places), words.span(value, places), bold=bold)


def of_share(value: Interval | None) -> str:
    """A saving in per cent over its interval; bold if it is sure to be one or to be none."""
    if value is None:
        return "–"
    return stacked(percent(value.value), f"{words.span(value, 1, 100)} %", bold=words.decided(value, 0.0))


def steps(falls: shape.Waterfall, result: ExposureResult) -> Table:
    """The waterfall's numbers."""
    reference = falls.reference
    clicks = words.told(reference.clicks, words.digits(reference.clicks.value))
    name = f"fixed chain {words.chain_name(reference.name, result)}: {clicks} clicks"
    rows = [(name, si(reference.flops, "FLOPs"), "", "")]
    for step in falls.steps:
        span = f"{si(step.flops.low)} to {si(step.flops.high, 'FLOPs')}"
        flops = stacked(si(step.flops.value, "FLOPs"), span)
        rows.append((f"{step.step} ({step.policy})", flops, of_share(step.added), of_share(step.saved)))
    return Table(("step", "FLOPs a request", "saved by this step", "saved so far"), rows)


def main_points(result: ExposureResult) -> Table:
    """GreenFlow, budget by budget."""
    line = words.points(result, words.main_policy(result))
    places = _places(p.clicks for p in line)
    return _table(
        line,
        {
            "budget": lambda p: words.budget(p.budget_share),
            "FLOPs a request": lambda p: si(p.budget_flops),
            "clicks": lambda p: of(p.clicks, places),
            "÷ GLOBAL": lambda p: of(p.ratio_to_global, against=1.0),
            "÷ best fixed": lambda p: of(p.ratio_to_fixed, against=1.0),
            "saved against it": lambda p: of_share(p.saved_against_fixed),
            "budget used": lambda p: words.used(p.used),
        },
    )


def side_by_side(result: ExposureResult, names: Sequence[str]) -> Table:
    """Clicks of some policies next to each other, one row a budget (the paper's Table 2)."""
    found = [p for p in result.policies if p.policy in names]
    places = _places(p.clicks for p in found)
    return _grid({(p.budget_share, p.policy): of(p.clicks, places) for p in found}, names)


def ratios(result: ExposureResult) -> Table:
    """Every policy's clicks ÷ GLOBAL's, one row a budget."""
    cells = {(p.budget_share, p.policy): of(p.ratio_to_global, against=1.0) for p in result.policies}
    return _grid(cells, [name for name in words.policies(result) if name.lower() != "global"])


def rankers(rows: Sequence[shape.RankerRow]) -> Table:
    """One ranker or both, one row a budget (the paper's Table 3)."""
    places = _places(r.clicks for r in rows)
    cells = {(r.budget_share, " + ".join(r.rankers)): of(r.clicks, places) for r in rows}
    return _grid(cells, list(dict.fromkeys(name for _, name in cells)))


def reward_models(rows: Sequence[shape.RewardModelLine]) -> Table:
    """What each reward model earns and costs."""
    serves = Markup('{} <span class="tag met">serves</span>')
    columns: dict[str, Callable[[shape.RewardModelLine], str]] = {
        "model": lambda r: serves.format(r.name) if r.serves else r.name,
        "clicks ÷ GLOBAL": lambda r: of(r.revenue, against=1.0),
        "÷ boosted": lambda r: of(r.ratio_to_boosted, 4, against=1.0),
        "Field-RCE": lambda r: number(r.field_rce),
        "predicted ÷ realised": lambda r: number(r.bias),
        "correlation of spreads": lambda r: number(r.spread_correlation),
        "FLOPs a request": lambda r: "not counted (trees)" if r.flops_per_request is None else si(r.flops_per_request),
    }
    return _table(rows, columns)


def ablation(rows: Sequence[shape.Ablation]) -> Table:
    """Variants of the network (the paper's Table 4)."""
    columns: dict[str, Callable[[shape.Ablation], str]] = {
        "variant": words.variant,
        "Field-RCE": lambda r: number(r.field_rce),
        "correlation of spreads": lambda r: number(r.spread_correlation),
        "clicks ÷ GLOBAL": lambda r: of(r.revenue, against=1.0),
        "÷ full network": lambda r: of(r.ratio_to_full, 4, against=1.0),
    }
    return _table(rows, columns)


def scale(question: shape.Scale) -> Table:
    """One question of scale."""
    columns: dict[str, Callable[[shape.ScalePoint], str]] = {
        "": lambda p: p.label,
        "clicks ÷ GLOBAL": lambda p: of(p.ratio_to_global, against=1.0),
        "FLOPs saved": lambda p: of_share(p.saved),
    }
    return _table(sorted(question.points, key=lambda p: p.x), columns, stack=False)


def tracking(day: shape.Tracking) -> Table:
    """How each policy kept the budget."""
    rows = [(name, percent(day.utilisation.get(name), 2), percent(day.overuse.get(name), 2)) for name in day.spend]
    return Table(("policy", "of the budget used", "over it, mean"), rows, stack=False)


def ceilings(rows: Sequence[shape.Ceiling]) -> Table:
    """What knowing expected rewards would earn (synthetic data)."""
    columns: dict[str, Callable[[shape.Ceiling], str]] = {
        "budget": lambda c: words.budget(c.budget_share),
        "GLOBAL": lambda c: number(c.global_, 4),
        "GreenFlow": lambda c: number(c.greenflow, 4),
        "foreseeable": lambda c: number(c.foreseeable, 4),
        "optimum": lambda c: number(c.optimum, 4),
        "GreenFlow's share of the gain": lambda c: percent(c.share),
    }
    return _table(sorted(rows, key=lambda c: c.budget_share), columns)


def checks(rows: Sequence[shape.Check]) -> Table:
    """The claims, each with what decides it, met and missed alike, in the document's order."""
    tags = {True: Markup('<span class="tag met">met</span>'), False: Markup('<span class="tag missed">missed</span>')}
    return Table(("claim", "measured", ""), [(c.claim, c.value, tags[c.met]) for c in rows], 2)


def models(evaluation: shape.Evaluation) -> Table:
    """The cascade's models (the paper's Table 1)."""
    least = min((m.flops_per_item for m in evaluation.models if m.flops_per_item > 0), default=1)
    return _table(
        evaluation.models,
        {
            "model": lambda m: f"{m.name} ({m.stage})",
            "FLOPs an item": lambda m: f"{m.flops_per_item:,}",
            "÷ the cheapest": lambda m: f"{m.flops_per_item / least:,.3g}",
            "FLOPs a request": lambda m: f"{m.flops_per_request:,}",
            "AUC, mean of seeds": lambda m: _auc(m.auc),
        },
    )


def _auc(values: Sequence[float]) -> str:
    if not values:
        return "–"
    span = f"{number(min(values))} to {number(max(values))}" if len(values) > 1 else ""
    return stacked(number(sum(values) / len(values)), span)


def _grid(cells: dict[tuple[float, str], str], names: Sequence[str]) -> Table:
    """A table of one row a budget and one column a name; what is missing is a dash."""
    shares = sorted({share for share, _ in cells})
    rows = [(words.budget(s), *(cells.get((s, name), "–") for name in names)) for s in shares]
    return Table(("budget", *(words.policy_name(name) for name in names)), rows, stack=len(names) > 3)


def _places(clicks: Iterable[Interval]) -> int:
    return words.digits(max((of.value for of in clicks), default=1.0))
