"""The evaluation as one self-contained HTML page: no script, no network, readable on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from matplotlib.figure import Figure

from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult, Interval, PolicyPoint
from greenflow_ray.evaluation.telling import pictures, sections, words
from greenflow_ray.viz import html_parts as pages
from greenflow_ray.viz.html_parts import Html, save

__all__ = ["render", "save"]

INTERVALS = "Intervals are 95 %, from a paired bootstrap that draws whole users."
BOLD = "Bold: the whole interval lies on one side of 1, or of no saving."


def render(evaluation: Evaluation) -> str:
    """HTML text of the page: the first exposure in full, then the others, checks, models and notes."""
    parts = [_header(evaluation)]
    for number, result in enumerate(evaluation.results):
        if len(evaluation.results) > 1:
            parts.append(f'<h2 id="e{result.exposure}">Exposure {result.exposure}</h2>')
        if number == 0:
            parts.append(_cards(evaluation, result))
        parts += _result(result, f"e{result.exposure}-", first=number == 0)
    if len(evaluation.results) > 1:
        parts.append("<h2>All exposures</h2>")
    if evaluation.checks:
        met = sum(check.met for check in evaluation.checks)
        summary = f"{met} of {len(evaluation.checks)} met."
        parts.append(pages.section("Claims", pages.paragraph(summary) + sections.checks(evaluation.checks), "checks"))
    if evaluation.models:
        parts.append(pages.section("Models", pages.paragraph(MODELS) + sections.models(evaluation), "models"))
    if evaluation.notes:
        parts.append(pages.section("Before you believe it", pages.bullets(evaluation.notes), "notes"))
    parts.append(_footer(evaluation))
    title = f"GreenFlow evaluation: {evaluation.dataset}, cascade {evaluation.cascade}"
    return pages.document(title, "\n".join(part for part in parts if part))


MODELS = (
    "User-side work is counted once a request. AUC on validation users, over all seeds: mean, smallest and largest. "
    "After the paper's Table 1."
)


def _header(evaluation: Evaluation) -> str:
    where = words.where_from(evaluation)
    seeds = f"{len(evaluation.seeds)} seed{'s' if len(evaluation.seeds) != 1 else ''} of models"
    users = ", ".join(f"{count:,} {split}" for split, count in evaluation.users.items())
    facts = f"{evaluation.dataset} ({words.REALITIES[evaluation.synthetic]}), cascade {evaluation.cascade} · {seeds}"
    facts += f" · {evaluation.cuts} random cut{'s' if evaluation.cuts != 1 else ''} of each user's events"
    facts += f" · users: {users} · {evaluation.items:,} items" if users else f" · {evaluation.items:,} items"
    kicker = "GreenFlow evaluation" + (" · synthetic data" if evaluation.synthetic else "")
    return (
        f'<header><p class="kicker">{kicker}</p><h1 class="long">{escape(words.headline(evaluation))}</h1>'
        + (f'<p class="lead">{escape(where)}</p>' if where else "")
        + f"<p>{escape(facts)}</p></header>"
    )


def _cards(evaluation: Evaluation, result: ExposureResult) -> str:
    main = words.main_policy(result)
    line = words.middle(words.points(result, main))
    entries: list[tuple[str, str, str]] = []
    if line:
        entries += [
            _over("Clicks ÷ GLOBAL's", line, lambda p: p.ratio_to_global, 1.0),
            _over("Clicks ÷ best fixed chain's", line, lambda p: p.ratio_to_fixed, 1.0),
            _over("FLOPs saved against the best fixed chain", line, lambda p: p.saved_against_fixed, 0.0),
        ]
        most, least = max(p.used for p in line), min(p.used for p in line)
        over = "over the budget" if most > 1 else "never over the budget"
        entries.append(("Budget used", words.used(most), f"at most, {over}; least {words.used(least)}"))
    serving = next((row for row in result.reward_models if row.serves), None)
    if serving is not None:
        ratio = serving.ratio_to_boosted
        detail = f"{words.span(ratio)}: {serving.name}, which serves"
        entries.append(("Clicks ÷ boosted reference's", words.number(ratio.value), detail))
    if evaluation.checks:
        met = sum(check.met for check in evaluation.checks)
        link = Html('<a href="#checks">each with its figure</a>')
        entries.append(("Claims met", f"{met} of {len(evaluation.checks)}", link))
    return pages.cards("Headline figures of GreenFlow", entries) if entries else ""


def _over(
    name: str, line: Sequence[PolicyPoint], pick: Callable[[PolicyPoint], Interval | None], against: float
) -> tuple[str, str, str]:
    """One card: the smallest and largest value over the budgets that claims are about, and how many are sure."""
    found = [value for value in map(pick, line) if value is not None]
    if not found:
        return name, "–", "out of the curves' range"
    low, high = min(i.value for i in found), max(i.value for i in found)
    shown = words.number if against else lambda value, _=0: words.percent(value)
    sure = sum(i.low > against for i in found)
    worse = sum(i.high < against for i in found)
    ends = f"{100 * line[0].budget_share:g} to {words.budget(line[-1].budget_share)}"
    detail = f"least to most at budgets of {ends}; interval above {against:g} at {sure} of {len(line)}"
    text = shown(low, 3) if round(low, 4) == round(high, 4) else f"{shown(low, 3)} to {shown(high, 3)}"
    return name, text.replace(" % to", " to"), detail + (f", below at {worse}" if worse else "")


def _result(result: ExposureResult, prefix: str, *, first: bool) -> list[str]:
    """All sections of one exposure; those after the first fold away what is not a picture."""
    out = [_waterfalls(result, prefix), _revenue(result, prefix)]
    rest = [
        _tables(result),
        _reward(result, prefix),
        _scales(result, prefix),
        _tracking(result, prefix),
        _ceilings(result, prefix),
    ]
    if first:
        return out + rest
    folded = "".join(rest)
    return [*out, pages.folded(f"Tables and further pictures at exposure {result.exposure}", folded) if folded else ""]


def _waterfalls(result: ExposureResult, prefix: str) -> str:
    if not result.waterfalls:
        return ""
    out = []
    for number, falls in enumerate(result.waterfalls):
        name = words.chain_name(falls.reference.name, result)
        out.append(f"<h3>Against {escape(name)}: {escape(falls.why)}</h3>" if len(result.waterfalls) > 1 else "")
        pictures = [pictures.waterfall(result, falls, narrow=narrow) for narrow in (False, True)]
        out.append(pages.picture(f"Waterfall against {name}", f"{prefix}waterfall-{number}", pictures))
        out.append(pages.folded("The numbers", sections.steps(falls, result)))
    text = "From one fixed chain to GreenFlow at the same clicks. " + (
        f"The chain: {result.waterfalls[0].why}. " if len(result.waterfalls) == 1 else ""
    )
    text += f"A step's whisker is the interval of its own part, the last one that of the whole. {INTERVALS}"
    return pages.section("Where the saving comes from", pages.paragraph(text) + "".join(out))


def _revenue(result: ExposureResult, prefix: str) -> str:
    if not result.policies:
        return ""
    pictures = [pictures.revenue(result, narrow=narrow) for narrow in (False, True)]
    places = words.digits(result.fullest.clicks.value)
    text = (
        f"Final users, {result.chains:,} chains. The fullest, {words.chain_name(result.fullest.name, result)}, earns "
        f"{sections.of_plain(result.fullest.clicks, places)} clicks; the cheapest, "
        f"{words.chain_name(result.cheapest.name, result)}, {sections.of_plain(result.cheapest.clicks, places)}. "
        "The lower panel compares the same users, so that its bands are narrower."
    )
    if any(map(words.is_luck, words.policies(result))):
        text += " The oracle knows the clicks beforehand: most of its lead is luck, which no policy can have."
    content = pages.paragraph(text) + pages.picture("Clicks over budget", f"{prefix}revenue", pictures)
    table = sections.main_points(result)
    if table:
        title = f"{words.main_policy(result)}, budget by budget"
        content += f"<h3>{escape(title)}</h3>{pages.paragraph(BOLD)}{table}"
    content += pages.folded("All policies at all budgets", sections.all_points(result))
    return pages.section("What a budget buys", content)


def _tables(result: ExposureResult) -> str:
    several = sections.side_by_side(result, result.multi_stage) if result.multi_stage else ""
    both = sections.rankers(result.rankers)
    entries = [
        ("All stages or one", "Clicks a request. After the paper's Table 2.", several),
        ("One ranker or both", "Clicks a request of GreenFlow. After the paper's Table 3.", both),
    ]
    shown = [pages.section(title, pages.paragraph(text) + table) for title, text, table in entries if table]
    return pages.pair(*shown) if len(shown) > 1 else "".join(shown)


def _reward(result: ExposureResult, prefix: str) -> str:
    out = ""
    if result.reward_models:
        entries = [(row.name, row.revenue, row.serves) for row in result.reward_models]
        text = f"Clicks ÷ GLOBAL's, mean over budgets. {BOLD}"
        figures = _twice(lambda narrow: pictures.forest(entries, "Clicks ÷ GLOBAL's, mean over budgets", narrow=narrow))
        content = pages.picture("Reward models", f"{prefix}reward", figures) + sections.reward_models(
            result.reward_models
        )
        out += pages.section("Reward models", pages.paragraph(text) + content)
    if result.ablation:
        best = max(row.revenue.value for row in result.ablation)
        entries = [(sections.variant(row), row.revenue, row.revenue.value == best) for row in result.ablation]
        text = f"Variants of the network, after the paper's Table 4. Green: the one that earns most. {BOLD}"
        figures = _twice(lambda narrow: pictures.forest(entries, "Clicks ÷ GLOBAL's, mean over budgets", narrow=narrow))
        content = pages.picture("Ablation", f"{prefix}ablation", figures) + sections.ablation(result.ablation)
        out += pages.section("What the network's parts are worth", pages.paragraph(text) + content)
    return out


def _scales(result: ExposureResult, prefix: str) -> str:
    shown = [scale for scale in result.scales if scale.points]
    if not shown:
        return ""
    figures = _twice(lambda narrow: pictures.scales(shown, narrow=narrow))
    text = "Clicks of GreenFlow ÷ GLOBAL's, mean over budgets; points are set evenly."
    numbers = pages.pair(*map(sections.scale, shown))
    content = pages.picture("Questions of scale", f"{prefix}scale", figures) + pages.folded("The numbers", numbers)
    return pages.section("How it depends on samples, chains, exposure and time", pages.paragraph(text) + content)


def _tracking(result: ExposureResult, prefix: str) -> str:
    found = result.tracking
    if found is None:
        return ""
    figures = _twice(lambda narrow: pictures.tracking(found, narrow=narrow))
    text = "Spend against a budget over a simulated day, after the paper's Figure 5."
    content = pages.picture("Budget tracking", f"{prefix}tracking", figures) + sections.tracking(found)
    return pages.section("Keeping a budget", pages.paragraph(text) + content)


def _ceilings(result: ExposureResult, prefix: str) -> str:
    found = result.ceilings
    if not found:
        return ""
    figures = _twice(lambda narrow: pictures.ceiling(found, result.fullest.flops, narrow=narrow))
    text = (
        "Synthetic data: every expected reward is known, so the optimum here is not luck. Expected clicks a request. "
        "Foreseeable: boosted trees fitted to the reward users' expected rewards, without the noise of clicks."
    )
    content = pages.picture("Ceiling", f"{prefix}ceiling", figures) + sections.ceilings(found)
    return pages.section("How much there is to gain", pages.paragraph(text) + content)


def _twice(draw: Callable[[bool], Figure]) -> list[Figure]:
    return [draw(narrow) for narrow in (False, True)]


def _footer(evaluation: Evaluation) -> str:
    return (
        f"<footer><p>Made by <code>{escape(evaluation.command)}</code> in {evaluation.seconds:,.0f} s, reused parts "
        f"not counted · seeds {', '.join(map(str, evaluation.seeds))}</p></footer>"
    )
