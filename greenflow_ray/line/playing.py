"""Serving a run until it is stopped, and playing traffic against it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from greenflow_ray import config as configuration
from greenflow_ray.client import Client
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.datasets.storage import MANIFEST, load, load_clicks
from greenflow_ray.errors import ConfigError
from greenflow_ray.loadtest import ArmResult, ClientOptions, Trace, capacity, from_config, open_loop, replay
from greenflow_ray.loadtest import Progress as LoadProgress
from greenflow_ray.loadtest.shown import say
from greenflow_ray.models.pool import chain_space, load_pool
from greenflow_ray.support.files import whole
from greenflow_ray.support.terminal import Terminal


def serve_until_stopped(
    config: CascadeConfig,
    terminal: Terminal,
    port: int | None,
    announce: Callable[[dict[str, str]], None],
) -> None:
    """`greenflow serve`: start the application, say how to call it, stop it on Ctrl-C.

    ``announce`` is told the addresses once the application answers.
    """
    from greenflow_ray.serving.local.launch import start

    if port is not None:
        serving = config.serving.model_copy(update={"port": port})
        config = config.model_copy(update={"serving": serving})
    with start(config) as server:
        announce(asdict(server))
        terminal.say(f"serving at {server.url}; try:")
        terminal.say(f'  curl -X POST {server.url}/v1/recommend -d \'{{"user_id": 42, "k": {config.exposure}}}\'')
        terminal.say(f"documentation of the calls: {server.url}/docs; stop with Ctrl-C")
        while True:
            time.sleep(1)


def final_trace(config: CascadeConfig, dataset: Dataset) -> Trace:
    """The seeded trace of final users that both arms play."""
    users = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    return from_config(config.load, users, config.seed)


def play_arm(
    config: CascadeConfig, dataset: Dataset, trace: Trace, url: str, terminal: Terminal, name: str, **options: Any
) -> ArmResult:
    """Play ``trace`` with a progress line and say what came of it; ``options`` are those of the client's ``play``."""
    result = _play(config, dataset, trace, url, terminal, name=name, k=config.exposure, **options)
    latency = result.latency_seconds()
    terminal.say(
        f"  {name}: {len(trace):,} requests, {result.errors} errors, {int(result.requests.degraded.sum())} degraded, "
        f"{int(result.requests.clicks.sum()):,} clicks, {result.recounted.sum() / 1e9:,.1f} GFLOPs, "
        f"p50 {1e3 * latency['p50']:.0f} ms, p99 {1e3 * latency['p99']:.0f} ms"
    )
    return result


def play_load(
    config: CascadeConfig,
    url: str,
    terminal: Terminal,
    *,
    name: str,
    replayed: Path | None = None,
    k: int | None = None,
    criticality: open_loop.Criticality | None = None,
    judged: bool = True,
    arm: str | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """`greenflow loadtest`: one trace, declared or ``replayed`` from a file, against a running application.

    A replayed trace needs no prepared data; without data, or if not ``judged``, no clicks are counted and none are sent
    as feedback. ``k`` None: the cascade's exposure; without data the server's own. ``arm``: what the application is
    ordered to serve first (:mod:`.arms`). ``changes`` are values of :class:`~greenflow_ray.config.LoadConfig` that
    differ; None changes nothing. Raises ConfigError, DataError, ResourceProblem.
    """
    from greenflow_ray.loadtest import picture, shown

    update = {key: value for key, value in changes.items() if value is not None}
    declared = {**config.model_dump(mode="json"), "load": {**config.load.model_dump(mode="json"), **update}}
    config = configuration.validated(declared, "options")
    dataset: Dataset | None = None
    if replayed is None:
        dataset = load(config.paths.data)
        trace = final_trace(config, dataset)
    elif update:
        raise ConfigError(f"{', '.join(update)}: {replayed} is replayed as it is; leave these out, or the file")
    else:
        trace = replay(replayed)
        if (config.paths.data / MANIFEST).is_file():
            dataset = load(config.paths.data)
        elif judged:
            terminal.say(f"no data set in {config.paths.data}: no clicks will be counted")
    if dataset is not None:
        k = k or config.exposure
    if arm is not None:
        _start_arm(config, dataset or load(config.paths.data), url, arm, len(trace) / trace.duration_s, terminal)
    result = _play(config, dataset if judged else None, trace, url, terminal, name=name, k=k, criticality=criticality)
    picture.save_png(result, config.paths.loadtest / f"{name}.png")
    terminal.table(f"Load test {name!r}: {trace.duration_s:g} s against {url}", shown.COLUMNS, shown.rows(result))
    if doubt := shown.warning(result):
        terminal.say(f"warning: {doubt}")
    terminal.say(f"written to {config.paths.loadtest / name}.json, .png and .parquet (a row a request)")
    return result.totals()


def find_capacity(
    config: CascadeConfig,
    url: str,
    terminal: Terminal,
    *,
    name: str,
    limit_s: float,
    arm: str | None = None,
    start: float | None = None,
    seconds: float = 20.0,
) -> dict[str, Any]:
    """`greenflow loadtest --find-capacity`: the greatest constant rate with p99 within ``limit_s`` and nothing shed.

    Each rate is played for ``seconds``, after a quarter of that to warm up; a GreenFlow arm's budget rises with it.
    """
    dataset = load(config.paths.data)
    users = dataset.users.user_ids[dataset.users.of(Split.FINAL)]
    terminal.say(f"p99 within {1e3 * limit_s:g} ms, nothing shed, {seconds:g} s a step")

    def play(rate: float) -> ArmResult:
        if arm is not None:
            _start_arm(config, dataset, url, arm, rate, Terminal(quiet=True))

        def once(length: float, seed: int) -> ArmResult:
            asked = {"shape": "constant", "requests_per_second": rate, "duration_s": length}
            trace = from_config(config.load.model_copy(update=asked), users, seed)
            return _play(config, dataset, trace, url, Terminal(quiet=True), name=f"{name}-step", k=config.exposure)

        once(seconds / 4, config.seed + 1)
        played = once(seconds, config.seed)
        step = capacity.judge(rate, played, limit_s)
        terminal.say(f"  {rate:8.1f} requests/s: p99 {1e3 * step.p99_s:5.0f} ms {step.why or 'held'}")
        return played

    found = capacity.find(play, limit_s, start or config.load.requests_per_second)
    terminal.say(f"capacity: {found.rate:.1f} requests/s")
    with whole(config.paths.loadtest / f"{name}-capacity.json") as part:
        part.write_text(json.dumps({"arm": arm, **found.as_json()}, indent=1), encoding="utf-8")
    return found.as_json()


def _start_arm(config: CascadeConfig, dataset: Dataset, url: str, arm: str, rate: float, terminal: Terminal) -> None:
    """Order the application to serve an arm of the configured share of the fullest chain's FLOPs."""
    from greenflow_ray.line.arms import Arms

    space = chain_space(config, load_pool(config, dataset.catalog), len(dataset.catalog))
    order = Arms(config, dataset, space, config.load.budget_share * space.costs.max(), rate).order(arm)
    with Client(url) as client:
        client.set_budget(order)
    said = {name: value for name, value in order.told().items() if value}
    terminal.say(f"{arm}: {', '.join(f'{name} {value}' for name, value in said.items())}")


def _play(
    config: CascadeConfig, dataset: Dataset | None, trace: Trace, url: str, terminal: Terminal, **options: Any
) -> ArmResult:
    """Play and save; the final users' clicks are used here alone, to judge answers. No data set: nothing is judged."""
    judge: dict[str, Any] = {}
    if dataset is not None:
        clicks = load_clicks(config.paths.data, Split.FINAL)
        judge = {"clicks": clicks, "user_ids": dataset.users.user_ids, "item_ids": dataset.catalog.item_ids}
    # A terminal's line is drawn anew; a log gets a further line each time.
    often = 0.5 if terminal.console.is_terminal else min(max(trace.duration_s / 10, 1.0), 15.0)
    with terminal.progress() as progress:

        def show(now: LoadProgress) -> None:
            progress(say(now), min(now.elapsed_s / max(now.duration_s, 1e-9), 1.0))

        speed = ClientOptions(progress_s=often)
        result = open_loop.play(url, trace, options=speed, on_progress=show, **judge, **options)
    result.save(config.paths.loadtest)
    return result
