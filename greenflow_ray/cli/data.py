"""From data to trained models: `greenflow config`, `prepare`, `train`, `calibrate`."""

from __future__ import annotations

from greenflow_ray import config as configuration
from greenflow_ray.cli.options import DEFAULT_RUN, AsJson, Config, Force, Format, Run, Seed, Source, app, resolve, show
from greenflow_ray.support.terminal import Terminal

PANEL = "Data and models"


@app.command("config", rich_help_panel=PANEL)
def config_command(run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None) -> None:
    """Print the whole configuration as YAML: a starting point for your own cascade."""
    print(configuration.dump(resolve(run, config, seed)), end="")


@app.command(rich_help_panel=PANEL)
def prepare(
    run: Run = DEFAULT_RUN,
    data: Source = None,
    format: Format = None,  # noqa: A002 (the option's name)
    config: Config = None,
    seed: Seed = None,
    as_json: AsJson = False,
) -> None:
    """Bring a data source to the one schema, with users split once."""
    from greenflow_ray.line.preparing import prepare_data

    resolved = resolve(run, config, seed, data, format)
    terminal = Terminal(quiet=as_json)
    summary = prepare_data(resolved, terminal)
    configuration.store(resolved)
    show(summary, as_json)


@app.command(rich_help_panel=PANEL)
def train(
    run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None, force: Force = False, as_json: AsJson = False
) -> None:
    """Train the cascade's models and the reward model; unchanged artifacts are reused."""
    from greenflow_ray.line.preparing import prepare_data, train_all

    resolved = resolve(run, config, seed)
    terminal = Terminal(quiet=as_json)
    prepare_data(resolved, terminal)
    result = train_all(resolved, terminal, force=force)
    configuration.store(resolved)
    show(result, as_json)


@app.command(rich_help_panel=PANEL)
def calibrate(run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None, as_json: AsJson = False) -> None:
    """Time what every model of the cascade costs on this machine, on real requests, and count its FLOPs in torch.

    Writes costs.json into the run's folder; `costs: timed` or `costs: counted` in the YAML puts it in force.
    """
    from greenflow_ray.line.preparing import calibrate_run

    show(calibrate_run(resolve(run, config, seed), Terminal(quiet=as_json)), as_json)
