"""A report's sentences and numbers in words, for the page, the terminal and the picture."""

from __future__ import annotations

from greenflow_ray.report.contents import Arm, Report
from greenflow_ray.report.course import LIMITS, limit_of, replica_states, replicas_moved
from greenflow_ray.viz.style import seconds, si, signed_percent


def headline(report: Report) -> str:
    """The result in one line."""
    saved, lost = report.saving.flops, report.saving.clicks
    if saved is None or lost is None:
        return "Two arms of one trace"
    clicks = "no change in clicks" if round(lost, 3) == 0 else f"{signed_percent(-lost)} clicks"
    return f"{abs(100 * saved):.1f} % {'less' if saved >= 0 else 'more'} computation, {clicks}"


def change(saving: float | None) -> str:
    """A saving as a signed change, e.g. 0.4 as −40.0 %."""
    return signed_percent(None if saving is None else -saving)


def share(value: float | None, digits: int = 2) -> str:
    """A fraction in per cent."""
    return "–" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 1) -> str:
    """A number with thousands set apart."""
    return "–" if value is None else f"{value:,.{digits}f}"


def unit(value: float | None, name: str) -> str:
    """A number with an SI prefix and its unit."""
    return "–" if value is None else si(value, name)


def grams(value: float | None) -> str:
    """gCO2e with three significant digits."""
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def later(value: float | None) -> str:
    """A signed difference of latencies."""
    return "–" if value is None else ("+" if value >= 0 else "−") + seconds(abs(value))


def saving_interval(report: Report, name: str) -> str:
    """The interval of a saving as changes; nothing if there is none."""
    found = report.saving.intervals.get(name)
    return f"95 % interval {signed_percent(-found[1])} to {signed_percent(-found[0])}" if found else ""


def latency_change(report: Report, name: str) -> str:
    """GreenFlow's quantile less EQUAL's, with its interval."""
    found = report.saving.latency_intervals.get(name)
    difference = later(report.saving.latency_seconds.get(name))
    return f"{difference} (95 % {later(found[0])} to {later(found[1])})" if found else difference


def rate(value: float | None) -> str:
    """A budget: FLOP/s, or that there is none."""
    return "no limit" if value is None else si(value, "FLOP/s")


def budget_lines(report: Report) -> list[str]:
    """What the budget was, how it was kept, how the spike and each change of it went."""
    budget = report.budget
    if budget.flops_per_second is None and not budget.course:
        return ["No budget was set."]
    lines = []
    if budget.course:
        lines.append(
            f"The budget changed: {rate(budget.lowest_flops_per_second)} to {rate(budget.highest_flops_per_second)}, "
            f"{rate(budget.flops_per_second)} on average."
        )
    else:
        lines.append(f"The budget is {rate(budget.flops_per_second)}.")
    if budget.utilisation is not None and budget.overuse is not None and budget.worst_window is not None:
        lines.append(
            f"Of what could be spent of it, GreenFlow spent {share(budget.utilisation, 1)}"
            f"{_interval(report, 'utilisation')}; it overran by {share(budget.overuse)}{_interval(report, 'overuse')}. "
            f"The fullest window of {budget.window_seconds:g} s took {share(budget.worst_window, 0)}."
        )
    return lines + spike_lines(report) + change_lines(report) + bound_lines(report)


def spike_lines(report: Report) -> list[str]:
    """How the budget was kept in the spike."""
    spike = report.budget.spike
    if spike is None or spike.first_second is None:
        return []
    rest = ""
    if spike.windows:
        rest = f"; of the {spike.windows} window{'s' * (spike.windows > 1)} after it {spike.over or 'none'} went over"
        rest += f" (the fullest took {share(spike.worst, 0)})"
    return [f"The spike's first second took {share(spike.first_second, 0)} of its budget{rest}."]


def change_lines(report: Report) -> list[str]:
    """How long spend took to follow each change of the budget."""
    out = []
    for moved in report.budget.changes:
        settled = moved.settling_seconds
        took = (
            "was not seen at it"
            if settled is None
            else f"was at it {settled:g} s later"
            if settled
            else "followed at once"
        )
        moves = f"from {rate(moved.before)} to {rate(moved.after)}"
        out.append(f"At {moved.t:.0f} s the budget went {moves}; spend {took}.")
    return out


def bound_lines(report: Report) -> list[str]:
    """Which limit bound, and for how much of the time; nothing if the ledger did not say."""
    end = report.arms.greenflow.duration_seconds
    found = [limit_of(m.bound_by) for m in report.course if m.bound_by and m.t < end]
    if not found:
        return []
    shares = sorted(((found.count(name) / len(found), name) for name in set(found)), reverse=True)
    each = ", ".join(f"{LIMITS.get(name, name)} {share(part, 0)}" for part, name in shares)
    return [f"The limit that bound: {each} of the time."]


def replica_line(report: Report) -> str:
    """The numbers of replicas that did not change; nothing if the ledger did not say."""
    end = report.arms.greenflow.duration_seconds
    moved = replicas_moved(report.course, end)
    still = {name: n[0] for name, n in replica_states(report.course, end)[0].items() if name not in moved}
    if not still:
        return ""
    each = ", ".join(f"{name} {n}" for name, n in still.items())
    return f"Replicas that did not change: {each}." if moved else f"Replicas did not change: {each}."


_RATIOS = {
    "clicks": "clicks", "flops": "FLOPs", "cpu_seconds": "CPU-seconds", "joules": "joules",
    "marginal_joules": "marginal joules",
}  # fmt: skip


def against_lines(report: Report) -> list[str]:
    """What GreenFlow was held against, a line a rival."""
    if report.against is None:
        return []
    mix = ", ".join(f"{name} for {part:.0%}" for name, part in report.against.tuned_chains.items())
    rivals = [("EQUAL (the fullest chain)", report.against.equal)]
    if report.against.tuned is not None:
        rivals.append(
            (f"TUNED (the best fixed chains for the same budget: {mix or 'not named'})", report.against.tuned)
        )
    out = []
    for name, held in rivals:
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


def energy_labels(a: Arm, b: Arm) -> str:
    """Whether energy was measured or estimated, in either arm."""
    return " / ".join(dict.fromkeys(arm.energy_source or "not watched" for arm in (a, b)))


def _interval(report: Report, name: str) -> str:
    found = report.budget.intervals.get(name)
    return f" (95 % {100 * found[0]:.1f} to {100 * found[1]:.1f} %)" if found else ""
