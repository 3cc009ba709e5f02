"""A report in words, for the page, the terminal and the picture: sentences, cards, and tables of cells."""

from __future__ import annotations

from collections.abc import Callable

from greenflow_ray.report.compare import REPRICING
from greenflow_ray.report.contents import Arm, Report
from greenflow_ray.report.course import LIMITS, limit_of, replica_states
from greenflow_ray.viz.style import change, number, percent, scale, seconds, si

Rows = list[tuple[str, ...]]

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
        over = f"{spike.over or 'none'} went over (the fullest took {percent(spike.worst, 0)})"
        after = f"; of the {spike.windows} window{'s' * (spike.windows > 1)} after it {over}" if spike.windows else ""
        lines.append(f"The spike's first second took {percent(spike.first_second, 0)} of its budget{after}.")
    for moved in budget.changes:
        later_s = moved.settling_seconds
        took = (
            "followed at once"
            if later_s == 0
            else f"was at it {later_s:g} s later"
            if later_s
            else "was not seen at it"
        )
        moves = f"from {_rate(moved.before)} to {_rate(moved.after)}"
        lines.append(f"At {moved.t:.0f} s the budget went {moves}; spend {took}.")
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
    rivals = [("EQUAL (the fullest chain)", report.against.equal)]
    if report.against.tuned is not None:
        rivals.append((f"TUNED (the best fixed chains for the same budget: {mix})", report.against.tuned))
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


def own_line(report: Report) -> list[str]:
    """What GreenFlow itself costs."""
    shares = {"FLOPs": report.overhead.flops_share, "CPU time": report.overhead.cpu_share}
    own = [f"{percent(value, 2)} of {what}" for what, value in shares.items() if value is not None]
    parts = f" ({own_parts(report)} CPU-seconds)" if report.overhead.cpu_seconds else ""
    return [f"GreenFlow itself: {', '.join(own)}{parts}"] if own else []


def grams(value: float | None) -> str:
    """gCO2e with three significant digits."""
    return "–" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def cards(report: Report) -> Rows:
    """Headline figures, GreenFlow against EQUAL: name, figure, what to know about it."""
    saving, budget, overhead = report.saving, report.budget, report.overhead
    a, b = report.arms.equal, report.arms.greenflow
    energy = f"{b.energy_source}, repricing and load generator included" if b.energy_source else "not watched"
    held, over = "–", "no budget was set"
    if budget.utilisation is not None and budget.overuse is not None:
        held = f"{percent(budget.utilisation)} used"
        over = f"{percent(budget.overuse, 2)} over, {budget.windows} windows of {budget.window_seconds:g} s"
    slower = f"; {line}" if (line := latency_line(report, "p99")) else ""
    per_1000 = [grams(arm.sci.grams if arm.sci else arm.carbon_grams_per_1000_requests) for arm in (a, b)]
    parts = "embodied left out" if b.sci is None or b.sci.embodied is None else "embodied included"
    own = f"of CPU time: {own_parts(report)} s" if overhead.cpu_seconds else "of CPU time"
    own += f"; {percent(overhead.flops_share, 2)} of FLOPs" if overhead.flops_share is not None else ""
    own += f"; {seconds(overhead.p99_seconds)} at p99" if overhead.p99_seconds is not None else ""
    flops, clicks = (f"95 % interval {found}" if (found := interval(report, n)) else "" for n in ("flops", "clicks"))
    return [
        ("FLOPs", change(saving.flops), flops),
        ("Clicks", change(saving.clicks), clicks),
        ("Budget", held, over),
        ("Latency p99", seconds(b.latency_seconds.p99), f"EQUAL {seconds(a.latency_seconds.p99)}{slower}"),
        ("Energy of the node", change(saving.energy), energy),
        ("CPU time", change(saving.cpu_seconds), "all Serve processes"),
        ("Carbon (SCI)", f"{per_1000[1]} g", f"CO2e per 1,000 requests, EQUAL {per_1000[0]} g; {parts}"),
        ("GreenFlow's own cost", percent(overhead.cpu_share), own),
    ]


def arms(report: Report) -> Rows:
    """Every figure of all arms, the change from EQUAL to GreenFlow, and its 95 % interval where there is one."""
    saving, played = report.saving, list(report.arms.played.values())
    a, b = report.arms.equal, report.arms.greenflow

    def row(label: str, tell: Callable[[Arm], str], *changed: str) -> tuple[str, ...]:
        return (label, *map(tell, played), *changed, *[""] * (2 - len(changed)))

    size, prefix = scale(max(arm.flops for arm in played))
    sources = " / ".join(dict.fromkeys(arm.energy_source or "not watched" for arm in (a, b)))
    rows = [
        row("Requests", lambda arm: f"{arm.requests:,}"),
        row("Errors", lambda arm: f"{arm.errors:,}"),
        row("Degraded answers", lambda arm: f"{arm.degraded:,}"),
        row("Clicks", lambda arm: f"{arm.clicks:,}", change(saving.clicks), interval(report, "clicks")),
        row(f"{prefix}FLOPs", lambda arm: f"{arm.flops / size:.3g}", change(saving.flops), interval(report, "flops")),
        row("CPU-seconds", lambda arm: number(arm.cpu_seconds, 1), change(saving.cpu_seconds)),
        row(f"Energy ({sources})", lambda arm: si(arm.energy_joules, "J"), change(saving.energy)),
        row("Carbon, gCO2e", lambda arm: grams(arm.carbon_grams), change(saving.carbon)),
    ]
    if a.sci and b.sci:
        rows.append(row("SCI, gCO2e per 1,000 requests", lambda arm: grams(arm.sci.grams if arm.sci else None)))
        if a.sci.embodied is not None or b.sci.embodied is not None:
            rows.append(row("of it embodied", lambda arm: grams(arm.sci.embodied if arm.sci else None)))
    elif a.carbon_grams_per_1000_requests is not None:
        rows.append(row("Carbon per 1,000 requests, gCO2e", lambda arm: grams(arm.carbon_grams_per_1000_requests)))
    for name in ("p50", "p95", "p99"):
        waits = (seconds(getattr(arm.latency_seconds, name)) for arm in played)
        rows.append((f"Latency {name}", *waits, *latency_change(report, name)))
    rows.append(row("Load generator's CPU-seconds", lambda arm: number(arm.client_cpu_seconds, 1)))
    return rows


def arms_note(report: Report) -> str:
    """What to know about the table of arms."""
    small = "Small figures: 95 % intervals." if report.saving.intervals else ""
    sci = "SCI as ISO/IEC 21031 has it." if report.arms.greenflow.sci else ""
    return " ".join(part for part in (small, carbon_line(report), sci) if part)


def deployments(report: Report) -> Rows:
    """CPU-seconds and energy by deployment, the unattributed rest last; nothing if they were not watched."""
    a, b = report.arms.equal, report.arms.greenflow
    known = [arm.cpu_seconds_by_deployment | arm.energy_by_deployment_joules for arm in (a, b)]
    names = sorted(known[0] | known[1], key=lambda n: -max(found.get(n, 0.0) for found in known))
    own = {REPRICING: report.overhead.cpu_seconds.get(REPRICING)} | b.cpu_seconds_by_deployment
    spent = [(number(a.cpu_seconds_by_deployment.get(name), 1), number(own.get(name), 1)) for name in names]
    joules = [[si(arm.energy_by_deployment_joules.get(name), "J") for arm in (a, b)] for name in names]
    rest = [si(arm.energy_unattributed_joules, "J") for arm in (a, b)]
    rows: Rows = [(name, *cpu, *energy) for name, cpu, energy in zip(names, spent, joules, strict=True)]
    return [*rows, ("unattributed (other processes)", "–", "–", *rest)] if rows else []
