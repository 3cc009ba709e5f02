"""The evaluation in the terminal: a few tables, and one last line that says what was saved."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult
from greenflow_ray.evaluation.telling import words
from greenflow_ray.support.terminal import Terminal
from greenflow_ray.viz.style import si


def print_evaluation(evaluation: Evaluation, terminal: Terminal) -> None:
    """Policies, waterfalls and reward models of every exposure, then the claims and the headline."""
    about = f"{evaluation.dataset}, {words.REALITIES[evaluation.synthetic]}, cascade {evaluation.cascade}"
    for result in evaluation.results:
        where = f"{about}, exposure {result.exposure}"
        _policies(result, terminal, where)
        _waterfalls(result, terminal)
        _reward_models(result, terminal)
    if evaluation.checks:
        rows = [("met" if check.met else "MISSED", check.claim, check.value) for check in evaluation.checks]
        terminal.table("Claims", ("", "claim", "measured"), _escaped(rows))
    terminal.say(escape(words.headline(evaluation)))


def _policies(result: ExposureResult, terminal: Terminal, where: str) -> None:
    shown = {name: words.middle(words.points(result, name)) for name in words.policies(result)}
    shares = _few(sorted({p.budget_share for line in shown.values() for p in line}))
    if not shares:
        return
    places = words.digits(result.fullest.clicks.value)
    rows = []
    for name, line in shown.items():
        clicks = {p.budget_share: words.number(p.clicks.value, places) for p in line}
        ratios = [p.ratio_to_global for p in line]
        between, sure = "", ""
        if ratios and name.lower() != "global":
            low, high = min(i.value for i in ratios), max(i.value for i in ratios)
            between = f"{words.number(low)} to {words.number(high)}"
            sure = f"{sum(i.low > 1 for i in ratios)}/{len(ratios)}"
        rows.append((words.policy_name(name), between, sure, *(clicks.get(share, "–") for share in shares)))
    head = ("policy", "÷ GLOBAL", "surely > 1", *map(words.budget, shares))
    terminal.table(escape(f"Clicks a request by budget (÷ GLOBAL: over 10 to 50 %): {where}"), head, _escaped(rows))


def _few(shares: list[float], most: int = 4) -> list[float]:
    """At most so many budgets, the smallest and the largest among them: a terminal is narrow."""
    if len(shares) <= most:
        return shares
    return [shares[round(i * (len(shares) - 1) / (most - 1))] for i in range(most)]


def _waterfalls(result: ExposureResult, terminal: Terminal) -> None:
    for falls in result.waterfalls:
        rows = [("the chain itself", "", si(falls.reference.flops, "FLOPs"), "", "")]
        rows += [
            (
                step.step,
                step.policy,
                si(step.flops.value, "FLOPs"),
                f"{words.percent(step.added.value)} ({words.percent_span(step.added)})",
                f"{words.percent(step.saved.value)} ({words.percent_span(step.saved)})",
            )
            for step in falls.steps
        ]
        title = f"Saved at equal clicks against {words.chain_name(falls.reference.name, result)}: {falls.why}"
        terminal.table(escape(title), ("step", "policy", "a request", "saved by it", "so far"), _escaped(rows))


def _reward_models(result: ExposureResult, terminal: Terminal) -> None:
    rows = [
        (
            row.name,
            "serves" if row.serves else "",
            f"{words.number(row.revenue.value)} ({words.span(row.revenue)})",
            f"{words.number(row.ratio_to_boosted.value, 4)} ({words.span(row.ratio_to_boosted, 4)})",
            words.number(row.field_rce),
            "–" if row.flops_per_request is None else si(row.flops_per_request),
        )
        for row in result.reward_models
    ]
    if rows:
        head = ("reward model", "", "clicks ÷ GLOBAL", "÷ boosted", "Field-RCE", "FLOPs")
        terminal.table("Reward models, mean over budgets", head, _escaped(rows))


def _escaped(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(map(escape, row)) for row in rows]
