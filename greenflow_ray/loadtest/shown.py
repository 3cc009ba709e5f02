"""What a load test sees, for a terminal: a line while it plays, a table after it, a warning of a slow client."""

from __future__ import annotations

import math

import numpy as np

from greenflow_ray.loadtest.player import Progress
from greenflow_ray.loadtest.result import BUSY, ArmResult
from greenflow_ray.viz.style import seconds, si

COLUMNS = ("", "", "", "share")
SHOWN_CHAINS = 8
Row = tuple[str, str, str, str]


def rows(result: ArmResult) -> list[Row]:
    """Group, figure, value and share of the requests, in the order in which a person asks."""
    totals = result.totals()
    n, answered = totals["requests"], totals["answered"]
    latency, late = totals["latency_seconds"], totals["send_delay_seconds"]
    out: list[Row] = [
        ("requests", "offered", f"{n:,}", f"{totals['offered_per_second']:,.1f} /s"),
        ("", "answered", f"{answered:,}", f"{totals['answered_per_second']:,.1f} /s"),
        ("", "shed (HTTP 429)", f"{totals['shed']:,}", _share(totals["shed"], n)),
        ("", "errors", f"{totals['errors']:,}", _share(totals["errors"], n)),
        *(("", f"  {kind}", f"{count:,}", _share(count, n)) for kind, count in totals["errors_by_kind"].items()),
        ("", "degraded", f"{totals['degraded']:,}", _share(totals["degraded"], n)),
        *(("", f"  {why}", f"{count:,}", _share(count, n)) for why, count in totals["degraded_by_reason"].items()),
        *(("latency" if name == "p50" else "", name, seconds(value), "") for name, value in latency.items()),
        ("worth", "clicks", f"{totals['clicks']:,}", ""),
        ("cost", "FLOPs", si(totals["flops"]), ""),
        ("", "FLOPs an answer", si(totals["flops"] / answered) if answered else "–", ""),
    ]
    shown = list(totals["chains"].items())[:SHOWN_CHAINS]
    for row, (chain, count) in enumerate(shown):
        out.append(("chains" if row == 0 else "", chain, f"{count:,}", _share(count, answered)))
    if rest := len(totals["chains"]) - len(shown):
        count = answered - sum(count for _, count in shown)
        out.append(("", f"{rest} other chains", f"{count:,}", _share(count, answered)))
    return [
        *out,
        ("this client", "CPU-seconds", f"{result.client_cpu_seconds:.1f}", ""),
        ("", "share of a core", f"{result.client_cpu_share:.0%}", ""),
        ("", "in its busiest second", f"{result.client_cpu_peak:.0%}", ""),
        ("", "sent late, p99", seconds(late["p99"]), ""),
    ]


def warning(result: ArmResult) -> str | None:
    """What to doubt where the client itself was the bottleneck; None where it was not."""
    late = f"requests were sent up to {seconds(result.send_delay_s['p99'])} late (p99), which the latencies include"
    if result.client_cpu_peak >= BUSY:
        return (
            f"this client was a bottleneck: it used {result.client_cpu_peak:.0%} of a core in its busiest second, and "
            f"{late}; share the trace out over several clients"
        )
    if result.client_was_slow:
        return f"{late}: this machine had no time for the client; run it on another one than the server"
    return None


def _share(count: int, whole: int) -> str:
    share = count / whole if whole else math.nan
    return "" if not count else "< 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"


def say(progress: Progress) -> str:
    """One line about a playing trace, for a progress display."""
    p99 = f"{1e3 * progress.p99:,.0f} ms" if np.isfinite(progress.p99) else "–"
    return (
        f"{progress.arm}: {progress.answered:,}/{progress.total:,} answered, {progress.rate:,.0f}/s, p99 {p99}, "
        f"{progress.errors:,} errors, " + (f"{progress.shed:,} shed, " if progress.shed else "")
    ) + f"{progress.degraded:,} degraded"
