"""The application `greenflow` and what its commands share: options, the configuration they name, results as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from greenflow_ray import __version__
from greenflow_ray import config as configuration
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import ConfigError

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


def show(result: Any, as_json: bool) -> None:
    """The result on standard output, if it was asked for as JSON."""
    if as_json:
        print(json.dumps(result, indent=2, default=str))


def seconds_of(option: str, text: str) -> float:
    """``250ms``, ``0.25s`` or ``0.25`` in seconds. Raises ConfigError."""
    number, scale = (text[:-2], 1e-3) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        seconds = float(number) * scale
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise ConfigError(f"{option}: {text!r} is no time; write 250ms or 0.25s")
    return seconds


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
