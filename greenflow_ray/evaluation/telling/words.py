"""How the evaluation's figures are worded: numbers with intervals, names of policies and chains, the headline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from greenflow_ray.evaluation.findings import shape
from greenflow_ray.evaluation.findings.shape import Evaluation, ExposureResult, Interval, PolicyPoint
from greenflow_ray.viz import style
from greenflow_ray.viz.style import number, percent

MIDDLE = (0.1, 0.5)  # the budgets that claims are about, as shares of the fullest chain's FLOPs, both ends included

REALITIES = {True: "synthetic data", False: "real data"}


def is_luck(policy: str) -> bool:
    """Whether a policy chooses by clicks that nobody can know beforehand."""
    return any(word in policy.lower() for word in ("oracle", "hindsight"))


def policy_name(policy: str) -> str:
    """Name of a policy as it is shown; the oracle's says that it is luck."""
    return f"{policy} (luck)" if is_luck(policy) and "luck" not in policy.lower() else policy


def main_policy(result: ExposureResult) -> str | None:
    """The GreenFlow that serves: the policy called so, or the first whose name begins so."""
    names = [name for name in policies(result) if name.lower().startswith("greenflow")]
    return next((name for name in names if name.lower() == "greenflow"), names[0] if names else None)


def policies(result: ExposureResult) -> list[str]:
    """Names of all policies, in the document's order."""
    return list(dict.fromkeys(point.policy for point in result.policies))


def points(result: ExposureResult, policy: str | None) -> list[PolicyPoint]:
    """One policy's points, the smallest budget first."""
    return sorted((p for p in result.policies if p.policy == policy), key=lambda p: p.budget_share)


def middle(of: Sequence[PolicyPoint]) -> list[PolicyPoint]:
    """Those of the points at the budgets that claims are about."""
    return [p for p in of if MIDDLE[0] - 1e-9 <= p.budget_share <= MIDDLE[1] + 1e-9]


def chain_name(name: str, result: ExposureResult) -> str:
    """A chain's name without the stages in which the cheapest and the fullest chain do not differ."""
    parts, cheap, full = (text.split(">") for text in (name, result.cheapest.name, result.fullest.name))
    if not len(parts) == len(cheap) == len(full):
        return name
    vary = [part for part, a, b in zip(parts, cheap, full, strict=True) if a != b]
    return " › ".join(vary or parts).replace(":", " ")


def variant(row: shape.Ablation) -> str:
    """A variant's name by its switches."""
    on = [name for name, there in (("recursive", row.recursive), ("multi-basis", row.multi_basis)) if there]
    return " + ".join(on or ["neither"]) + (", monotone" if row.monotone else "") + (", taught" if row.teacher else "")


def digits(largest: float) -> int:
    """Decimals that give a number of this size four significant digits."""
    return max(0, 3 - math.floor(math.log10(abs(largest)))) if largest else 3


def used(value: float) -> str:
    """Spent ÷ budget in per cent, never rounded up to the budget nor down to it: 0.99999 is not 100 %."""
    away = math.floor if value < 1 else math.ceil
    return f"{away(round(value * 1e5, 6)) / 1e3:.3f} %"


def budget(share: float) -> str:
    """A budget as a share of the fullest chain."""
    return f"{100 * share:g} %"


def first_up(text: str) -> str:
    """With its first letter large."""
    return text[:1].upper() + text[1:]


def several(count: int, what: str) -> str:
    """A count and what is counted."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def span(of: Interval, places: int = 3, times: float = 1.0) -> str:
    """The interval of a number."""
    return f"{number(times * of.low, places)} to {number(times * of.high, places)}"


def told(of: Interval, places: int = 3, times: float = 1.0) -> str:
    """A number and its interval."""
    return f"{number(times * of.value, places)} ({span(of, places, times)})"


def change(of: Interval) -> str:
    """A saving as a signed change of FLOPs, with its interval."""
    return f"{style.change(of.value)} ({style.change(of.high)[:-2]} to {style.change(of.low)})"


def decided(of: Interval, at: float = 1.0) -> bool:
    """Whether the interval lies wholly on one side."""
    return of.low > at or of.high < at


def first_waterfall(evaluation: Evaluation) -> tuple[ExposureResult, shape.Waterfall] | None:
    """The waterfall that the headline speaks of: the first with steps at the first exposure."""
    return next(((r, falls) for r in evaluation.results[:1] for falls in r.waterfalls if falls.steps), None)


def headline(evaluation: Evaluation) -> str:
    """The main figure with its interval, and what of it is personalisation's."""
    if found := first_waterfall(evaluation):
        steps = found[1].steps
        last, saved = steps[-1], steps[-1].saved
        between = f"95 % interval {span(saved, 1, 100)} %"
        if not decided(saved, 0.0):
            text = f"No sure saving at equal clicks: {percent(saved.value)} of FLOPs ({between})"
        else:
            much = f"{percent(abs(saved.value))} {'fewer' if saved.value > 0 else 'MORE'} FLOPs"
            text = f"{much} at equal clicks ({between})"
        own = f"{number(100 * last.added.value, 1)} points ({span(last.added, 1, 100)})"
        return text + (f"; {last.step}'s own part: {own}" if len(steps) > 1 else "")
    for result in evaluation.results[:1]:
        mine = points(result, main_policy(result))
        if mine:
            point = min(mine, key=lambda p: abs(p.budget_share - 0.3))
            ratio = point.ratio_to_global
            return (
                f"{number(ratio.value)} times GLOBAL's clicks at {budget(point.budget_share)} of the fullest chain's "
                f"FLOPs (95 % interval {span(ratio)})"
            )
    return f"{evaluation.dataset}, cascade {evaluation.cascade}"


def where_from(evaluation: Evaluation) -> str:
    """One sentence: against which chain the headline's saving is, and its parts; empty without a waterfall."""
    found = first_waterfall(evaluation)
    if not found:
        return ""
    result, waterfall = found
    text = f"Against the fixed chain {chain_name(waterfall.reference.name, result)}: {waterfall.why}."
    parts = [f"{step.step} {told(step.added, 1, 100)}" for step in waterfall.steps]
    if len(parts) > 1:
        text += f" In points of its FLOPs: {', '.join(parts[:-1])} and {parts[-1]}."
    return text + f" {result.exposure} items shown (exposure)."
