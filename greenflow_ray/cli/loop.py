"""Beside a running application: `greenflow reprice`, `join`, `value`; and `simulate`, a day of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from greenflow_ray.cli.options import DEFAULT_RUN, AsJson, Config, Run, Seed, app, resolve, show
from greenflow_ray.support.terminal import Terminal

PANEL = "Price loop"


@app.command(rich_help_panel=PANEL)
def reprice(
    run: Run = DEFAULT_RUN,
    config: Config = None,
    every: Annotated[float | None, typer.Option(help="Repeat with this period, in seconds; default: once.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to use; default: start one here.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Aggregate the sample log into a frontier and publish it with its price."""
    from greenflow_ray.nearline.repricing.job import reprice_job

    resolved = resolve(run, config, seed)
    for outcome in reprice_job(resolved, every=every, address=address, terminal=Terminal(quiet=as_json)):
        show(outcome, as_json)


@app.command(rich_help_panel=PANEL)
def join(
    run: Run = DEFAULT_RUN,
    config: Config = None,
    horizon: Annotated[
        float, typer.Option(help="Seconds after its answer in which a click counts; later ones are left out.")
    ] = 3600.0,
    address: Annotated[str | None, typer.Option(help="Ray cluster to use; default: start one here.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Join reported clicks to the logged samples by request id, into RUN/joined: what `greenflow value` reads.

    One row a request; a click reported twice, or a request logged twice, counts once. Late clicks and clicks on
    requests that were not sampled are counted and left out.
    """
    from greenflow_ray.nearline.learning.join import join_run

    show(join_run(resolve(run, config, seed), Terminal(quiet=as_json), horizon_s=horizon, address=address), as_json)


@app.command(rich_help_panel=PANEL)
def value(
    run: Run = DEFAULT_RUN,
    config: Config = None,
    price: Annotated[
        list[float] | None, typer.Option(help="Value the price policy at this price, clicks per FLOP; repeatable.")
    ] = None,
    budget: Annotated[
        list[float] | None, typer.Option(help="Value the price policy at so many FLOPs per request; repeatable.")
    ] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """What other policies would have earned: every fixed chain and the price policy, estimated from the joined log.

    Clicks and FLOPs per request with 95 % intervals, by inverse propensity (IPS), self-normalised (SNIPS) and doubly
    robust. Needs requests served with `budget.exploration` above 0, joined by `greenflow join`; what the log cannot
    tell is called not identifiable. A table here; value.json and value.png in RUN.
    """
    from greenflow_ray.nearline.learning.valuation import value_run

    show(value_run(resolve(run, config, seed), Terminal(quiet=as_json), price or (), budget or ()), as_json)


@app.command(rich_help_panel=PANEL)
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for simulation.json and the picture.")] = Path("runs/simulation"),
    seed: Annotated[int, typer.Option(help="Seed of the day.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Simulate a day of the price loop: daily traffic, spikes, drift, carbon, outages."""
    from greenflow_ray.pricing.simulator import simulate as run_day

    terminal = Terminal(quiet=as_json)
    with terminal.progress() as progress:
        result = run_day(out, seed, progress)
    figures = ("utilisation", "overuse", "spike_first_tick", "regret")
    terminal.table("A simulated day", ("figure", "", "value"), [(f, "", f"{result[f]:.4f}") for f in figures])
    terminal.say(f"written to {out}")
    show(result, as_json)
