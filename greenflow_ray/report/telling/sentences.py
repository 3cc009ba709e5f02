"""A report's sentences, for the page, the terminal and the picture."""

from __future__ import annotations

from greenflow_ray.report.contents import Report
from greenflow_ray.report.course import LIMITS, limit_of, replica_states
from greenflow_ray.viz.style import change, percent, seconds, si

_RATIOS = {
    "clicks": "clicks", "flops": "FLOPs", "cpu_seconds": "CPU-seconds", "joules": "joules",
    "marginal_joules": "marginal joules",
}  # fmt: skip


def headline(report: Report) -> str:
    """The result in one line."""
    saved, lost = report.saving.flops, report.saving.clicks
    if saved is None or lost is None:
        return "Two arms of one trace"
    clicks = "no change in clicks" if round(lost, 3) == 0 else f"{change(lost)} clicks"
    return f"{abs(100 * saved):.1f} % {'less' if saved >= 0 else 'more'} computation, {clicks}"


def last_line(report: Report, page: object) -> str:
    """What was saved, at what cost in clicks, and where the report lies."""
    saved, lost = report.saving.flops, report.saving.clicks
    if saved is None or lost is None:
        return f"Nothing to compare: the EQUAL arm had no answers or no clicks. Report: {page}"
    what = f"{abs(100 * saved):.1f} % of the FLOPs {'saved' if saved >= 0 else 'MORE spent'}"
    cost = "clicks unchanged" if round(lost, 3) == 0 else f"{change(lost)} clicks"
    found = interval(report, "clicks")
    return f"{what}; {cost}{f' (95 % interval {found})' if found else ''}. Report: {page}"


def interval(report: Report, name: str) -> str:
    """The 95 % interval of a saving as changes; nothing if there is none."""
    found = report.saving.intervals.get(name)
    return f"{change(found[1])} to {change(found[0])}" if found else ""


def later(value: float) -> str:
    """A signed difference of latencies."""
    return ("+" if value >= 0 else "−") + seconds(abs(value))


def latency_change(report: Report, name: str) -> tuple[str, str]:
    """GreenFlow's quantile less EQUAL's, and its 95 % interval; nothing if they are not known."""
    less, found = report.saving.latency_seconds.get(name), report.saving.latency_intervals.get(name)
    return "" if less is None else later(less), f"{later(found[0])} to {later(found[1])}" if found else ""


def latency_line(report: Report, name: str) -> str:
    """:func:`latency_change` in one."""
    less, sure = latency_change(report, name)
    return f"{less} (95 % {sure})" if sure else less


def budget_lines(report: Report) -> list[str]:
    """What the budget was, how it was kept, how the spike and each change of it went, and which limit bound."""
    budget, spike = report.budget, report.budget.spike
    if budget.flops_per_second is None and not budget.course:
        return ["No budget was set."]
    mean = _rate(budget.flops_per_second)
    between = f"{_rate(budget.lowest_flops_per_second)} to {_rate(budget.highest_flops_per_second)}"
    lines = [f"The budget changed: {between}, {mean} on average." if budget.course else f"The budget is {mean}."]
    if budget.utilisation is not None and budget.overuse is not None and budget.worst_window is not None:
        used, over = (
            f" (95 % {100 * found[0]:.1f} to {100 * found[1]:.1f} %)" if (found := budget.intervals.get(name)) else ""
            for name in ("utilisation", "overuse")
        )
        lines.append(
            f"Of what could be spent of it, GreenFlow spent {percent(budget.utilisation)}{used}; it overran by "
            f"{percent(budget.overuse, 2)}{over}. "
            f"The fullest window of {budget.window_seconds:g} s took {percent(budget.worst_window, 0)}."
        )
    if spike is not None and spike.first_second is not None:
        rest = ""
        if spike.windows:
            rest = (
                f"; of the {spike.windows} window{'s' * (spike.windows > 1)} after it {spike.over or 'none'} went over"
            )
            rest += f" (the fullest took {percent(spike.worst, 0)})"
        lines.append(f"The spike's first second took {percent(spike.first_second, 0)} of its budget{rest}.")
    for moved in budget.changes:
        settled = moved.settling_seconds
        took = "was not seen at it" if settled is None else f"was at it {settled:g} s later"
        moves = f"from {_rate(moved.before)} to {_rate(moved.after)}"
        lines.append(
            f"At {moved.t:.0f} s the budget went {moves}; spend {took if settled != 0 else 'followed at once'}."
        )
    end = report.arms.greenflow.duration_seconds
    bound = [limit_of(m.bound_by) for m in report.course if m.bound_by and m.t < end]
    shares = sorted(((bound.count(name) / len(bound), name) for name in set(bound)), reverse=True)
    each = ", ".join(f"{LIMITS.get(name, name)} {percent(part, 0)}" for part, name in shares)
    return lines + ([f"The limit that bound: {each} of the time."] if bound else [])


def _rate(value: float | None) -> str:
    return "no limit" if value is None else si(value, "FLOP/s")


def replica_line(report: Report) -> str:
    """The numbers of replicas that did not change; nothing if the ledger did not say."""
    states, _ = replica_states(report.course, report.arms.greenflow.duration_seconds)
    still = [f"{name} {numbers[0]}" for name, numbers in states.items() if len(set(numbers)) == 1]
    if not still:
        return ""
    return f"Replicas {'that ' if len(still) < len(states) else ''}did not change: {', '.join(still)}."


def against_lines(report: Report) -> list[str]:
    """What GreenFlow was held against, a line a rival."""
    if report.against is None:
        return []
    mix = ", ".join(f"{name} for {part:.0%}" for name, part in report.against.tuned_chains.items()) or "not named"
    rivals = {
        "EQUAL (the fullest chain)": report.against.equal,
        f"TUNED (the best fixed chains for the same budget: {mix})": report.against.tuned,
    }
    out = []
    for name, held in rivals.items():
        if held is None:
            continue
        parts = []
        for what, label in _RATIOS.items():
            ratio, found = getattr(held, what), held.intervals.get(what)
            if ratio is not None:
                parts.append(f"{label} × {ratio:.3f}" + (f" ({found[0]:.3f} to {found[1]:.3f})" if found else ""))
        out.append(f"GreenFlow ÷ {name}: {', '.join(parts) or 'nothing to compare'}.")
    return out


def phase_lines(report: Report) -> list[str]:
    """One line for steady traffic and one for the spike."""
    return [
        f"{phase.name} ({phase.requests:,}): FLOPs {change(phase.flops)}, clicks {change(phase.clicks)}"
        for phase in report.phases
    ]


def carbon_line(report: Report) -> str:
    """The grid's intensity and where it comes from."""
    carbon = report.carbon
    if carbon is None:
        return ""
    mean = f"{carbon.grams_per_kwh:g} gCO2e/kWh"
    if carbon.lowest is not None:
        mean = f"{carbon.lowest:g} to {carbon.highest:g}, mean {carbon.grams_per_kwh:.0f} gCO2e/kWh"
    return f"Carbon intensity ({carbon.kind}): {mean} ({carbon.source})."


def own_parts(report: Report) -> str:
    """GreenFlow's own CPU-seconds by part."""
    return " + ".join(f"{name} {spent:.1f}" for name, spent in report.overhead.cpu_seconds.items())


def own_line(report: Report) -> list[str]:
    """What GreenFlow itself costs."""
    shares = {"FLOPs": report.overhead.flops_share, "CPU time": report.overhead.cpu_share}
    own = [f"{percent(value, 2)} of {what}" for what, value in shares.items() if value is not None]
    parts = f" ({own_parts(report)} CPU-seconds)" if report.overhead.cpu_seconds else ""
    return [f"GreenFlow itself: {', '.join(own)}{parts}"] if own else []
