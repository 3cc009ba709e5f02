"""The evaluation as one self-contained HTML page, as one picture, and in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup
from rich.markup import escape

from greenflow_ray.errors import DataError
from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult, Interval, PolicyPoint
from greenflow_ray.evaluation.telling import pictures, sections, words
from greenflow_ray.support.terminal import Terminal
from greenflow_ray.viz import pages
from greenflow_ray.viz.style import number, percent, si

MOST = 4  # budgets side by side in the terminal, which is narrow
Card = tuple[str, str, str]


def render(evaluation: Evaluation) -> str:
    """HTML text of the page: the first exposure in full, then the others, checks, models and notes."""
    return pages.render(
        "evaluation/evaluation.html.jinja",
        evaluation=evaluation,
        reality=words.REALITIES[evaluation.synthetic],
        headline=words.headline(evaluation),
        where_from=words.where_from(evaluation),
        claims_met=_claims_met(evaluation),
        cards=_cards(evaluation, evaluation.results[0]) if evaluation.results else [],
        tables=sections,
        pictures=pictures,
        words=words,
        luck=lambda names: any(map(words.is_luck, names)),
    )


def save_png(evaluation: Evaluation, path: Path | str) -> None:
    """Write the headline's waterfall to ``path``, for a README or a message. Raises DataError if there is none."""
    found = words.first_waterfall(evaluation)
    if found is None:
        raise DataError(f"{path}: the evaluation has no waterfall to draw; run `greenflow evaluate` with policies")
    result, falls = found
    about = f"{evaluation.dataset} ({words.REALITIES[evaluation.synthetic]}), cascade {evaluation.cascade}"
    lines = [*words.headline(evaluation).split("; ", 1), f"{about}, {result.exposure} items shown"]
    pictures.waterfall("waterfall", result, falls).save_png(path, title=lines)


def _claims_met(evaluation: Evaluation) -> str:
    return f"{sum(check.met for check in evaluation.checks)} of {len(evaluation.checks)}"


def _cards(evaluation: Evaluation, result: ExposureResult) -> list[Card]:
    """Headline figures of GreenFlow."""
    line = words.middle(words.points(result, words.main_policy(result)))
    entries: list[Card] = []
    if line:
        most, least = max(p.used for p in line), min(p.used for p in line)
        over = "over the budget" if most > 1 else "never over the budget"
        entries += [
            _over("Clicks ÷ GLOBAL's", line, lambda p: p.ratio_to_global, 1.0),
            _over("Clicks ÷ best fixed chain's", line, lambda p: p.ratio_to_fixed, 1.0),
            _over("FLOPs saved against the best fixed chain", line, lambda p: p.saved_against_fixed, 0.0),
            ("Budget used", words.used(most), f"at most, {over}; least {words.used(least)}"),
        ]
    if serving := next((row for row in result.reward_models if row.serves), None):
        detail = f"{words.span(serving.ratio_to_boosted)}: {serving.name}, which serves"
        entries.append(("Clicks ÷ boosted reference's", number(serving.ratio_to_boosted.value), detail))
    if evaluation.checks:
        entries.append(("Claims met", _claims_met(evaluation), Markup('<a href="#checks">each with its figure</a>')))
    return entries


def _over(
    name: str, line: Sequence[PolicyPoint], pick: Callable[[PolicyPoint], Interval | None], against: float
) -> Card:
    """One card: the smallest and largest value over the budgets that claims are about, and how many are sure."""
    found = [value for value in map(pick, line) if value is not None]
    if not found:
        return name, "–", "out of the curves' range"
    low, high = min(i.value for i in found), max(i.value for i in found)
    least, most = (number(v) if against else percent(v) for v in (low, high))
    worse = sum(i.high < against for i in found)
    ends = f"{100 * line[0].budget_share:g} to {words.budget(line[-1].budget_share)}"
    sure = f"interval above {against:g} at {sum(i.low > against for i in found)} of {len(line)}"
    text = least if round(low, 4) == round(high, 4) else f"{least.removesuffix(' %')} to {most}"
    return name, text, f"least to most at budgets of {ends}; {sure}" + (f", below at {worse}" if worse else "")


def print_evaluation(evaluation: Evaluation, terminal: Terminal) -> None:
    """Policies, waterfalls and reward models of every exposure, then the claims and the headline."""

    def table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
        if rows:
            terminal.table(escape(title), head, [tuple(map(escape, row)) for row in rows])

    about = f"{evaluation.dataset}, {words.REALITIES[evaluation.synthetic]}, cascade {evaluation.cascade}"
    for result in evaluation.results:
        shares, rows = _side_by_side(result)
        title = f"Clicks a request by budget (÷ GLOBAL: over 10 to 50 %): {about}, exposure {result.exposure}"
        table(title, ("policy", "÷ GLOBAL", "surely > 1", *map(words.budget, shares)), rows if shares else [])
        for falls in result.waterfalls:
            rows = [("the chain itself", "", si(falls.reference.flops, "FLOPs"), "", "")]
            for step in falls.steps:
                parts = (f"{percent(of.value)} ({words.span(of, 1, 100)} %)" for of in (step.added, step.saved))
                rows.append((step.step, step.policy, si(step.flops.value, "FLOPs"), *parts))
            title = f"Saved at equal clicks against {words.chain_name(falls.reference.name, result)}: {falls.why}"
            table(title, ("step", "policy", "a request", "saved by it", "so far"), rows)
        rows = [
            (row.name, "serves" if row.serves else "", words.told(row.revenue), words.told(row.ratio_to_boosted, 4),
             number(row.field_rce), si(row.flops_per_request))
            for row in result.reward_models
        ]  # fmt: skip
        head = ("reward model", "", "clicks ÷ GLOBAL", "÷ boosted", "Field-RCE", "FLOPs")
        table("Reward models, mean over budgets", head, rows)
    claims = [("met" if check.met else "MISSED", check.claim, check.value) for check in evaluation.checks]
    table("Claims", ("", "claim", "measured"), claims)
    terminal.say(escape(words.headline(evaluation)))


def _side_by_side(result: ExposureResult) -> tuple[list[float], list[tuple[str, ...]]]:
    """Policies' clicks over a few budgets, the smallest and the largest among them: those budgets, and the rows."""
    shown = {name: words.middle(words.points(result, name)) for name in words.policies(result)}
    shares = sorted({p.budget_share for line in shown.values() for p in line})
    if len(shares) > MOST:
        shares = [shares[round(i * (len(shares) - 1) / (MOST - 1))] for i in range(MOST)]
    places = words.digits(result.fullest.clicks.value)
    rows = []
    for name, line in shown.items():
        clicks = {p.budget_share: number(p.clicks.value, places) for p in line}
        ratios = sorted((p.ratio_to_global for p in line), key=lambda of: of.value) if name.lower() != "global" else []
        between = f"{number(ratios[0].value)} to {number(ratios[-1].value)}" if ratios else ""
        sure = f"{sum(of.low > 1 for of in ratios)}/{len(ratios)}" if ratios else ""
        rows.append((words.policy_name(name), between, sure, *(clicks.get(share, "–") for share in shares)))
    return shares, rows
