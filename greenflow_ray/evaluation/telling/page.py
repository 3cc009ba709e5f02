"""The evaluation as one self-contained HTML page and one picture: no network, readable on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from markupsafe import Markup

from greenflow_ray.errors import DataError
from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult, Interval, PolicyPoint
from greenflow_ray.evaluation.telling import pictures, sections, words
from greenflow_ray.viz import pages
from greenflow_ray.viz.style import number, percent

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
    for row in [row for row in result.reward_models if row.serves][:1]:
        detail = f"{words.span(row.ratio_to_boosted)}: {row.name}, which serves"
        entries.append(("Clicks ÷ boosted reference's", number(row.ratio_to_boosted.value), detail))
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
