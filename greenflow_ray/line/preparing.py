"""From data to models, rewards and the first price: what is done before anything is served, and told as it is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.preparation import prepare
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.datasets.storage import load
from greenflow_ray.datasets.summary import load as load_summary
from greenflow_ray.errors import ArtifactError
from greenflow_ray.models.costing.calibrate import calibrate
from greenflow_ray.models.costing.costs import Costs
from greenflow_ray.models.costing.costs import write as write_costs
from greenflow_ray.models.pool import calibrated, chain_space, load_pool
from greenflow_ray.models.sealed import read_manifest
from greenflow_ray.models.training.train import ModelRow, train, with_costs
from greenflow_ray.nearline.repricing.first import publish_first
from greenflow_ray.reward.stored import WEIGHTS, RewardManifest, load_reward
from greenflow_ray.reward.teaching import RewardOutcome, train_reward
from greenflow_ray.serving.sources import load_source
from greenflow_ray.support.terminal import Terminal


@dataclass(frozen=True)
class Trained:
    """Everything that serving and reporting need of a trained run."""

    dataset: Dataset
    models: tuple[ModelRow, ...]
    space: ChainSpace
    reward: RewardOutcome
    reward_flops: int


def prepare_data(config: CascadeConfig, terminal: Terminal) -> dict[str, Any]:
    """Prepare the data and print its summary."""
    with terminal.progress() as progress:
        dataset = prepare(config, progress=progress)
    config.check_corpus(len(dataset.catalog))
    splits = {split.name.lower(): len(dataset.users.of(split)) for split in Split}
    summary = {
        "dataset": dataset.name,
        "synthetic": dataset.synthetic,
        "users": len(dataset.users),
        "items": len(dataset.catalog),
        "splits": splits,
        "history_median": float(np.median(dataset.users.history.lengths)),
    }
    told = load_summary(config.paths.data)
    if told is not None:
        summary |= {key: value for key, value in asdict(told).items() if key not in summary}
    terminal.say(
        f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}: {len(dataset.users):,} users × "
        f"{len(dataset.catalog):,} items; users split once: "
        + ", ".join(f"{count:,} {name}" for name, count in splits.items())
    )
    for line in told.lines() if told is not None else ():
        terminal.say(f"  {line}")
    return summary


def measure_costs(config: CascadeConfig, terminal: Terminal) -> Costs:
    """Time and count the cascade's models, loaded as serving loads them; prints the table and writes ``costs.json``."""
    source = load_source(config)
    users = load(config.paths.data).users
    ids = users.user_ids[users.of(Split.VALIDATION)]
    with terminal.progress() as progress:
        costs = calibrate(config, source.catalog, source.features, ids, progress=progress)
    write_costs(config, costs)
    terminal.table(
        "CPU time of models on this machine",
        ("stage", "model", "µs/item", "µs/request", "GFLOP/s", "error"),
        [
            (
                model.stage,
                model.name,
                f"{1e6 * model.fit.per_item:,.3f}",
                f"{1e6 * model.fit.seconds(0, model.sharing):,.1f}",
                "–" if model.speed is None else f"{model.speed / 1e9:,.2f}",
                f"{model.fit.error:.1%}",
            )
            for model in costs.models
        ],
    )
    terminal.table(
        "Their costs: FLOPs, and FLOP-equivalents of the time",
        ("stage", "model", "FLOPs/item", "FLOPs/request", "timed/item", "timed/request"),
        [
            (
                model.stage,
                model.name,
                *(("–", "–") if model.said is None else (f"{model.said.per_item:,}", f"{model.said.per_request:,}")),
                f"{model.timed.per_item:,}",
                f"{model.timed.per_request:,}",
            )
            for model in costs.models
        ],
    )
    terminal.say(
        "FLOPs are declared, or else counted in torch; FLOP-equivalents are CPU-seconds × the "
        f"{costs.reference_flops_per_second / 1e9:.0f} GFLOP/s of a dense matrix product on one thread "
        f"({costs.machine['processor']}); a call's own time is shared by {costs.models[0].sharing} requests"
    )
    terminal.say(f"written to {config.paths.costs}; costs in force: {config.costs}")
    return costs


def calibrate_run(config: CascadeConfig, terminal: Terminal) -> dict[str, Any]:
    """`greenflow calibrate` as a JSON-able result; says what has to follow where chains cost something else now."""
    result = measure_costs(config, terminal).model_dump(mode="json")
    if config.costs == "declared":
        terminal.say("chains still cost what models declare; `costs: timed` or `costs: counted` in the YAML changes it")
        return result
    catalog = load(config.paths.data).catalog
    space = chain_space(config, load_pool(config, catalog), len(catalog))
    _say_chains(space, terminal)
    try:
        fitted = read_manifest(config.paths.reward / WEIGHTS, RewardManifest).chains == space.digest
    except ArtifactError:
        fitted = False
    if not fitted:
        terminal.say(f"the reward model knows other costs: run `greenflow train --run {config.run}` before serving")
    return result


def _say_chains(space: ChainSpace, terminal: Terminal) -> None:
    terminal.say(
        f"{len(space)} chains, from {space.chains[space.cheapest].name} ({space.costs.min() / 1e6:.1f} MFLOPs) "
        f"to {space.chains[space.fullest].name} ({space.costs.max() / 1e6:.1f} MFLOPs)"
    )


def train_models(config: CascadeConfig, terminal: Terminal, *, force: bool = False) -> Trained:
    """Train or reuse the cascade's models and the reward model; prints the paper's Table 1 and the calibration.

    Where costs are timed or counted, models that have not been measured yet are, before the reward model is trained.
    """
    dataset = load(config.paths.data)
    with terminal.progress() as progress:
        rows = train(config, progress=progress, force=force)
    if config.costs != "declared" and (force or not calibrated(config, dataset.catalog)):
        terminal.say(f"costs are {config.costs}, and these models' are not known yet: calibrating")
        measure_costs(config, terminal)
    models = tuple(with_costs(config, rows, dataset.catalog))
    terminal.table(
        "Models (the paper's Table 1)",
        ("stage", "model", "FLOPs/item", "FLOPs/request", "parameters", "AUC", ""),
        [
            (
                row.stage,
                row.name,
                f"{row.flops_per_item:,}",
                f"{row.flops_per_request:,}",
                f"{row.parameters:,}",
                "–" if row.auc is None else f"{row.auc:.3f}",
                "reused" if row.reused else "",
            )
            for row in models
        ],
    )
    pool = load_pool(config, dataset.catalog)
    space = chain_space(config, pool, len(dataset.catalog))
    _say_chains(space, terminal)
    with terminal.progress() as progress:
        outcome = train_reward(config, dataset, pool, space, force=force, progress=progress)
    reward = load_reward(config.paths.reward, space, dataset.catalog)
    publish_first(config, dataset, space, reward, outcome.manifest)
    calibration = outcome.manifest.calibration
    terminal.say(
        f"reward model{' (reused)' if outcome.reused else ''}: Field-RCE {calibration['field_rce']:.3f}, predicted ÷ "
        f"realised clicks {calibration['bias']:.3f}, correlation of differences between chains "
        f"{calibration['spread_correlation']:.3f}, on {calibration['users']} validation users"
    )
    return Trained(dataset, models, space, outcome, reward.flops_per_request)


def train_all(config: CascadeConfig, terminal: Terminal, *, force: bool = False) -> dict[str, Any]:
    """`greenflow train` as a JSON-able result."""
    trained = train_models(config, terminal, force=force)
    return {
        "models": [asdict(row) for row in trained.models],
        "chains": len(trained.space),
        "reward": trained.reward.manifest.calibration,
        "reused": trained.reward.reused and all(row.reused for row in trained.models),
    }
