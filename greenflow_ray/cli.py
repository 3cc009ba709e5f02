"""The command line, `greenflow …`: thin; each command parses, calls one function, prints."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from greenflow_ray import __version__
from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import GreenFlowError
from greenflow_ray.support.terminal import Terminal

app = typer.Typer(
    help=(
        "Serve a cascade recommender under a compute budget: for each request GreenFlow picks the action chain (which "
        "model instance runs in each stage, and how many items it scores) with the best reward minus price times cost."
        "\n\nStart with `greenflow demo`; by hand: prepare, train, serve, loadtest, report."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Run = Annotated[Path, typer.Option("--run", help="The run's folder: data, models, prices, report.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="The cascade's YAML; default: the run's own, else the built-in cascade.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on standard output, nothing else.")]
Data = Annotated[Path | None, typer.Option("--data", help="Data folder; default: the embedded synthetic set.")]
Source = Annotated[
    Path | None, typer.Option("--data", "--path", help="Data folder or file; default: the embedded synthetic set.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="auto, synthetic, movielens, sequences, kuairand, aliccp or parquet; default: auto."),
]
Force = Annotated[bool, typer.Option("--force", help="Do the work again even if nothing has changed.")]

DEFAULT_RUN = Path("runs/demo")


def resolve(
    run: Path, config: Path | None, seed: int | None, data: Path | None = None, data_format: str | None = None
) -> CascadeConfig:
    """The configuration of a run: the given file, else the run's own, else the built-in one; then the options."""
    own = run / "cascade.yaml"
    base = configuration.load(config or (own if own.exists() else configuration.DEFAULT))
    changes: dict[str, Any] = {"run": str(run)}
    if seed is not None:
        changes["seed"] = seed
    chosen: dict[str, Any] = {}
    if data is not None:
        chosen = {"path": str(data), "format": data_format or "auto"}
    elif data_format is not None:
        chosen = {"format": data_format}
    if chosen:
        changes["data"] = {**base.data.model_dump(mode="json"), **chosen}
    return configuration.validated({**base.model_dump(mode="json"), **changes}, "options")


def _print(result: Any) -> None:
    print(json.dumps(result, indent=2, default=str))


@app.callback()
def _top(
    debug: Annotated[bool, typer.Option("--debug", help="Show stack traces.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if debug:
        os.environ["GREENFLOW_DEBUG"] = "1"
    if version:
        print(__version__)
        raise typer.Exit


@app.command("config")
def config_command(run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None) -> None:
    """Print the whole configuration as YAML: a starting point for your own cascade."""
    print(configuration.dump(resolve(run, config, seed)), end="")


@app.command()
def prepare(
    run: Run = DEFAULT_RUN,
    data: Source = None,
    format: Format = None,  # noqa: A002 (the option's name)
    config: Config = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Bring a data source to the one schema, with users split once."""
    from greenflow_ray.line.steps import prepare_data

    resolved = resolve(run, config, seed, data, format)
    terminal = Terminal(quiet=as_json)
    summary = prepare_data(resolved, terminal)
    configuration.store(resolved)
    if as_json:
        _print(summary)


@app.command()
def train(
    run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None, force: Force = False, as_json: AsJson = False
) -> None:
    """Train the cascade's models and the reward model; unchanged artifacts are reused."""
    from greenflow_ray.line.steps import prepare_data, train_all

    resolved = resolve(run, config, seed)
    terminal = Terminal(quiet=as_json)
    prepare_data(resolved, terminal)
    result = train_all(resolved, terminal, force=force)
    configuration.store(resolved)
    if as_json:
        _print(result)


@app.command()
def calibrate(run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None, as_json: AsJson = False) -> None:
    """Time what every model of the cascade costs on this machine, on real requests, and count its FLOPs in torch.

    Writes costs.json into the run's folder; `costs: timed` or `costs: counted` in the YAML puts it in force.
    """
    from greenflow_ray.line.steps import calibrate_run

    result = calibrate_run(resolve(run, config, seed), Terminal(quiet=as_json))
    if as_json:
        _print(result)


@app.command()
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


@app.command()
def serve(
    run: Run = DEFAULT_RUN,
    config: Config = None,
    port: Annotated[int | None, typer.Option(help="HTTP port; default: the configuration's.")] = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Serve a trained run on loopback until Ctrl-C (`serve run deployments/laptop.yaml` does the same)."""
    from greenflow_ray.line.steps import serve_until_stopped

    terminal = Terminal(quiet=as_json)
    serve_until_stopped(resolve(run, config, seed), terminal, port, announce=_print if as_json else None)


@app.command()
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
        if as_json:
            _print(outcome)


@app.command()
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

    result = join_run(resolve(run, config, seed), Terminal(quiet=as_json), horizon_s=horizon, address=address)
    if as_json:
        _print(result)


@app.command()
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

    result = value_run(resolve(run, config, seed), Terminal(quiet=as_json), price or (), budget or ())
    if as_json:
        _print(result)


@app.command()
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

    From another machine, without a run: `greenflow loadtest --url http://server:8000 --replay trace.csv`
    """
    from greenflow_ray.line.steps import play_load

    resolved = resolve(run, config, seed)
    result = play_load(
        resolved,
        url,
        Terminal(quiet=as_json),
        name=name,
        replayed=replay,
        k=k,
        criticality=criticality,
        judged=judge,
        shape=shape,
        requests_per_second=rate,
        duration_s=duration,
    )
    if as_json:
        _print(result)


@app.command()
def report(run: Run = DEFAULT_RUN, seed: Seed = None, as_json: AsJson = False) -> None:
    """Print a run's report again and rebuild its page."""
    from greenflow_ray.line.steps import show_report

    result = show_report(resolve(run, None, seed), Terminal(quiet=as_json))
    if as_json:
        _print(result)


@app.command()
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
    if as_json:
        _print(result)
    else:
        figures = ("utilisation", "overuse", "spike_first_tick", "regret")
        terminal.table("A simulated day", ("figure", "", "value"), [(f, "", f"{result[f]:.4f}") for f in figures])
        terminal.say(f"written to {out}")


@app.command()
def demo(
    run: Run = DEFAULT_RUN, data: Data = None, config: Config = None, seed: Seed = None, as_json: AsJson = False
) -> None:
    """The main job: data, models, reward, serve, traffic twice (EQUAL, then GreenFlow), report."""
    from greenflow_ray.line.demo import run_demo

    resolved = resolve(run, config, seed, data)
    result = run_demo(resolved, Terminal(quiet=as_json))
    if as_json:
        _print(result)


def main() -> None:
    """Entry point: errors become one line and an exit code; stack traces only with ``--debug``."""
    terminal = Terminal()
    sys.path.append(os.getcwd())  # modules of one's own, which configurations name, lie where the command is run
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        terminal.error("interrupted; everything that was started has been stopped")
        code = 130
    except Exception as error:
        if os.environ.get("GREENFLOW_DEBUG"):
            raise
        if isinstance(error, GreenFlowError):
            terminal.error(str(error))
            code = error.exit_code
        elif hasattr(error, "format_message") and hasattr(error, "exit_code"):
            terminal.error(error.format_message())
            code = int(error.exit_code)
        else:
            terminal.error(f"unexpected {type(error).__name__}: {error}; run `greenflow --debug …` to see where")
            code = 1
    sys.exit(code if isinstance(code, int) else 0)
