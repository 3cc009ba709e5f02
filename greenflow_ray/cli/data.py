"""From data to trained models: `greenflow config`, `prepare`, `train`, `calibrate`."""

from __future__ import annotations

from greenflow_ray import config as configuration
from greenflow_ray.cli.options import DEFAULT_RUN, AsJson, Config, Force, Format, Run, Seed, Source, app, resolve, show
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import GreenFlowError
from greenflow_ray.support.terminal import Terminal

PANEL = "Data and models"


@app.command("config", rich_help_panel=PANEL)
def config_command(run: Run = DEFAULT_RUN, config: Config = None, seed: Seed = None) -> None:
    """Print the whole configuration as YAML: a starting point for your own cascade."""
    resolved = resolve(run, config, seed)
    print(configuration.dump(resolved), end="")
    if "auto" in str(resolved.serving.place):
        print("# serving.place: auto")
        for line in placement_of(resolved):
            print(f"#   {line}")


def placement_of(config: CascadeConfig) -> list[str]:
    """Where everything would run and why, a line each, or why that is not known yet."""
    from greenflow_ray.serving.app import check
    from greenflow_ray.serving.placement import told

    try:
        return told(check(config)[2])
    except GreenFlowError as error:
        return [f"known once everything is trained ({error})"]


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
