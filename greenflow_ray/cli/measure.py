"""Whole runs and what came of them: `greenflow demo`, `evaluate`, `report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from greenflow_ray import config as configuration
from greenflow_ray.cli.options import DEFAULT_RUN, AsJson, Config, Data, Format, Run, Seed, app, resolve, show
from greenflow_ray.support.terminal import Terminal

PANEL = "Whole runs and results"


@app.command(rich_help_panel=PANEL)
def demo(
    run: Run = DEFAULT_RUN, data: Data = None, config: Config = None, seed: Seed = None, as_json: AsJson = False
) -> None:
    """The main job: data, models, reward, serve, the same traffic for EQUAL, TUNED and GreenFlow, report."""
    from greenflow_ray.line.demo import run_demo

    resolved = resolve(run, config, seed, data)
    show(run_demo(resolved, Terminal(quiet=as_json)), as_json)


@app.command(rich_help_panel=PANEL)
def evaluate(
    run: Annotated[
        Path | None, typer.Option("--run", help="The run's folder; default: runs/evaluation-DATA-CASCADE.")
    ] = None,
    data: Data = None,
    data_format: Format = None,
    cascade: Annotated[
        str, typer.Option("--cascade", help="A built-in cascade: C (early stages see little), D (less still), A (all).")
    ] = "C",
    config: Annotated[Path | None, typer.Option("--config", help="Your cascade's YAML, instead of --cascade.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of models and reward models.")] = 3,
    cuts: Annotated[
        int, typer.Option(min=1, help="Random cuts of each user's events to pool, where events have no times.")
    ] = 4,
    exposures: Annotated[str, typer.Option(help="Numbers of exposed items, by comma.")] = "20,50",
    quick: Annotated[bool, typer.Option("--quick", help="Only the policies and the waterfall.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; default: one a core.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="The first seed, and the seed of the data's split.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The offline experiments: what each policy earns from final users at each budget, and where savings come from.

    Runs everything from data to page; what is done already is reused, so it may be interrupted and resumed.
    """
    from greenflow_ray.evaluation.experiment import evaluate as evaluate_plan
    from greenflow_ray.evaluation.plan import Plan, parse_exposures

    chosen = resolve(run or DEFAULT_RUN, config or configuration.builtin(cascade), seed, data, data_format)
    if run is None:
        named = Path("runs") / f"evaluation-{data.resolve().name if data else 'synthetic'}-{chosen.name}"
        chosen = chosen.model_copy(update={"run": named})
    plan = Plan(
        config=chosen,
        seeds=tuple(range(seed, seed + seeds)),
        cuts=cuts,
        exposures=parse_exposures(exposures),
        full=not quick,
    )
    command = " ".join(["greenflow", *sys.argv[1:]])
    result = evaluate_plan(plan, Terminal(quiet=as_json), command, workers=workers)
    if as_json:
        print(result.to_json(), end="")


@app.command(rich_help_panel=PANEL)
def report(run: Run = DEFAULT_RUN, seed: Seed = None, as_json: AsJson = False) -> None:
    """Print a run's report again and rebuild its page."""
    from greenflow_ray.line.demo import show_report

    show(show_report(resolve(run, None, seed), Terminal(quiet=as_json)), as_json)
