"""The evaluation in the terminal: a few tables, and one last line that says what was saved."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult
from greenflow_ray.evaluation.telling import words
from greenflow_ray.support.terminal import Terminal
from greenflow_ray.viz.style import number, percent, si

MOST = 4
"""Budgets side by side: a terminal is narrow."""


def print_evaluation(evaluation: Evaluation, terminal: Terminal) -> None:
    """Policies, waterfalls and reward models of every exposure, then the claims and the headline."""
    about = f"{evaluation.dataset}, {words.REALITIES[evaluation.synthetic]}, cascade {evaluation.cascade}"
    for result in evaluation.results:
        _policies(result, terminal, f"{about}, exposure {result.exposure}")
        _waterfalls(result, terminal)
        _reward_models(result, terminal)
    if evaluation.checks:
        rows = [("met" if check.met else "MISSED", check.claim, check.value) for check in evaluation.checks]
        terminal.table("Claims", ("", "claim", "measured"), _escaped(rows))
    terminal.say(escape(words.headline(evaluation)))


def _policies(result: ExposureResult, terminal: Terminal, where: str) -> None:
    shown = {name: words.middle(words.points(result, name)) for name in words.policies(result)}
    shares = sorted({p.budget_share for line in shown.values() for p in line})
    if not shares:
        return
    if len(shares) > MOST:  # the smallest and the largest among those shown
        shares = [shares[round(i * (len(shares) - 1) / (MOST - 1))] for i in range(MOST)]
    places = words.digits(result.fullest.clicks.value)
    rows = []
    for name, line in shown.items():
        clicks = {p.budget_share: number(p.clicks.value, places) for p in line}
        ratios = sorted((p.ratio_to_global for p in line), key=lambda of: of.value) if name.lower() != "global" else []
        between = f"{number(ratios[0].value)} to {number(ratios[-1].value)}" if ratios else ""
        sure = f"{sum(of.low > 1 for of in ratios)}/{len(ratios)}" if ratios else ""
        rows.append((words.policy_name(name), between, sure, *(clicks.get(share, "–") for share in shares)))
    head = ("policy", "÷ GLOBAL", "surely > 1", *map(words.budget, shares))
    terminal.table(escape(f"Clicks a request by budget (÷ GLOBAL: over 10 to 50 %): {where}"), head, _escaped(rows))


def _waterfalls(result: ExposureResult, terminal: Terminal) -> None:
    for falls in result.waterfalls:
        rows: list[tuple[str, ...]] = [("the chain itself", "", si(falls.reference.flops, "FLOPs"), "", "")]
        for step in falls.steps:
            parts = (f"{percent(of.value)} ({words.span(of, 1, 100)} %)" for of in (step.added, step.saved))
            rows.append((step.step, step.policy, si(step.flops.value, "FLOPs"), *parts))
        title = f"Saved at equal clicks against {words.chain_name(falls.reference.name, result)}: {falls.why}"
        terminal.table(escape(title), ("step", "policy", "a request", "saved by it", "so far"), _escaped(rows))


def _reward_models(result: ExposureResult, terminal: Terminal) -> None:
    rows = [
        (row.name, "serves" if row.serves else "", words.told(row.revenue), words.told(row.ratio_to_boosted, 4),
         number(row.field_rce), si(row.flops_per_request))
        for row in result.reward_models
    ]  # fmt: skip
    if rows:
        head = ("reward model", "", "clicks ÷ GLOBAL", "÷ boosted", "Field-RCE", "FLOPs")
        terminal.table("Reward models, mean over budgets", head, _escaped(rows))


def _escaped(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(map(escape, row)) for row in rows]
