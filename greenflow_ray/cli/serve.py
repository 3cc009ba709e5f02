"""Serving a run and loading it: `greenflow serve`, `loadtest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from greenflow_ray.cli.options import DEFAULT_RUN, AsJson, Config, Run, Seed, app, resolve, seconds_of, show
from greenflow_ray.support.terminal import Terminal

PANEL = "Serving"


@app.command(rich_help_panel=PANEL)
def serve(
    run: Run = DEFAULT_RUN,
    config: Config = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; default: the configuration's.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Serve a trained run on loopback until Ctrl-C (`serve run deployments/laptop.yaml` does the same)."""
    from greenflow_ray.line.playing import serve_until_stopped

    terminal = Terminal(quiet=as_json)
    serve_until_stopped(resolve(run, config, seed), terminal, port, announce=lambda server: show(server, as_json))


@app.command(rich_help_panel=PANEL)
def loadtest(
    run: Run = DEFAULT_RUN,
    config: Config = None,
    url: Annotated[str, typer.Option(help="Where the application listens.")] = "http://127.0.0.1:8000",
    shape: Annotated[
        str | None, typer.Option(help="constant, daily (a day's wave) or spike; default: the configuration's.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Play this trace instead: Parquet or CSV with time (seconds) and user_id.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second: the mean, or before a spike.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds of traffic.")] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, help="Items wanted; default: the run's exposure.")] = None,
    criticality: Annotated[
        Literal["critical", "default", "sheddable"] | None,
        typer.Option(help="Sent with each request: an overloaded server sheds the least critical first."),
    ] = None,
    judge: Annotated[
        bool,
        typer.Option(help="Count the final users' held-out clicks among the answers, and send them as feedback."),
    ] = True,
    arm: Annotated[
        str | None,
        typer.Option(
            help="Order the application to serve this arm first: equal (the fullest chain), tuned (the best fixed "
            "chains for load.budget_share of its FLOPs), greenflow (that budget) or fixed:CHAIN; default: as it is."
        ),
    ] = None,
    capacity: Annotated[
        bool,
        typer.Option(
            "--find-capacity", help="Find the greatest constant rate that keeps --p99 and sheds nothing; 20 s a step."
        ),
    ] = False,
    p99: Annotated[str, typer.Option("--p99", help="Of --find-capacity: the limit, such as 250ms or 0.25s.")] = "250ms",
    name: Annotated[str, typer.Option(help="Name of the result's files in RUN/loadtest/.")] = "manual",
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Play an open-loop trace against a running application, and say what it saw.

    Each request is sent when it is due, whatever the server does, and its latency counts from then: overload shows as
    growing latency, which a client that waits for answers would hide. Arrivals are Poisson, drawn from the seed.

    Reports latency (p50 to p99.9 and a histogram), requests shed (429) and failed by kind, degraded by reason, the mix
    of chains, FLOPs, clicks, and its own CPU use and lateness: where those are high, the client was the bottleneck. A
    table here; NAME.json, NAME.png and NAME.parquet (a row a request) in RUN/loadtest/.

    `greenflow loadtest --shape constant --rate 50 --duration 60`

    Machines saved, as rates: `greenflow loadtest --find-capacity --p99 250ms --arm tuned`, and again for each arm.

    From another machine, without a run: `greenflow loadtest --url http://server:8000 --replay trace.csv`
    """
    from greenflow_ray.line.playing import find_capacity, play_load

    resolved = resolve(run, config, seed)
    if capacity:
        terminal, limit_s = Terminal(quiet=as_json), seconds_of("--p99", p99)
        show(find_capacity(resolved, url, terminal, name=name, limit_s=limit_s, arm=arm, start=rate), as_json)
        return
    result = play_load(
        resolved,
        url,
        Terminal(quiet=as_json),
        name=name,
        replayed=replay,
        k=k,
        criticality=criticality,
        judged=judge,
        arm=arm,
        shape=shape,
        requests_per_second=rate,
        duration_s=duration,
    )
    show(result, as_json)
