"""The Ray Serve application: `serve run deployments/laptop.yaml` and `greenflow serve` both come through `build`."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.schema import LoggingConfig

from greenflow_ray import config as configuration
from greenflow_ray.chains import ChainSpace
from greenflow_ray.config import ALLOCATOR, CascadeConfig, ReplicaConfig
from greenflow_ray.energy.carbon.last_known import source_for
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.pool import chain_space, load_pool, work_seconds
from greenflow_ray.serving.allocator.replica import AllocatorReplica
from greenflow_ray.serving.gateway.replica import Gateway
from greenflow_ray.serving.placement import FLOPS_PER_SECOND, Place, placed, seconds_by_flops
from greenflow_ray.serving.sources import load_source
from greenflow_ray.serving.stages.replica import StageReplica
from greenflow_ray.support.imports import import_object

APP = "greenflow"


def build(args: dict[str, Any]) -> serve.Application:
    """The application for ``args`` ``{"config": path of a cascade's YAML, or its values}``.

    ``"serving"`` beside it replaces values of the cascade's section of that name, for this deployment of it.
    Models, reward model and data are loaded once here, so that what is wrong with them is said in one line before
    any replica starts. Raises ConfigError, DataError, ArtifactError.
    """
    config, space, places = check(read_config(args))
    # Sessions sort by time: the ledger follows the newest.
    session = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    serving = config.serving
    allocator = None
    if not places[ALLOCATOR].lane:
        deployment = _deployment(AllocatorReplica, ALLOCATOR, serving.allocator, serving.deadline_s)
        allocator = deployment.bind(session, config, space)
    stages = {
        model.name: _deployment(
            StageReplica, f"{stage.name}-{model.name}", serving.replicas_of(model.name), serving.deadline_s
        ).bind(config, model)
        for stage in config.stages
        for model in stage.pool
        if not places[model.name].lane
    }
    gateway = _deployment(Gateway, "gateway", serving.gateway, serving.deadline_s)
    app: serve.Application = gateway.bind(session, config, space, allocator, stages)
    return app


def read_config(args: dict[str, Any]) -> CascadeConfig:
    """The configuration that ``args`` name, its paths absolute: replicas may have another working directory."""
    unknown = set(args) - {"config", "serving"}
    if unknown or "config" not in args:
        raise ConfigError(
            f"application args: expected config and perhaps serving, found {sorted(args)}; see deployments/cluster.yaml"
        )
    given, serving = args["config"], args.get("serving", {})
    if isinstance(given, dict):
        config = configuration.validated(given, "application args")
    else:
        config = configuration.load(Path(given))
    if not isinstance(serving, dict):
        raise ConfigError(f"application args: serving: expected a mapping, found {serving!r:.40}")
    if serving:
        values = config.model_dump(mode="json")
        values["serving"] |= serving
        config = configuration.validated(values, "application args")
    return config.absolute()


def check(config: CascadeConfig) -> tuple[CascadeConfig, ChainSpace, dict[str, Place]]:
    """Load everything that serving will load; returns the chain space and where everything runs.

    Raises the same errors as ``build``.
    """
    source = load_source(config)
    space = chain_space(config, load_pool(config, source.catalog), len(source.catalog))
    reward = import_object(config.reward.factory, "reward.factory")(config.paths.reward, space, source.catalog)
    space.index(config.budget.safe_chain)
    for chain in (config.budget.fixed_chain, *config.budget.mix):
        space.index(chain)
    source_for(config.energy)
    seconds = work_seconds(config, source.catalog) or seconds_by_flops(space)
    return config, space, placed(config, seconds, reward.flops_per_request / FLOPS_PER_SECOND)


def _deployment(kind: Any, name: str, limits: ReplicaConfig, deadline_s: float) -> Any:
    """A deployment with every limit stated; Serve's own defaults are unbounded or far too patient."""
    return serve.deployment(
        kind,
        name=name,
        num_replicas=limits.replicas,
        ray_actor_options={"num_cpus": limits.cpus, "num_gpus": limits.gpus},
        max_ongoing_requests=limits.max_ongoing,
        max_queued_requests=limits.max_queued,
        health_check_period_s=5.0,
        health_check_timeout_s=15.0,
        graceful_shutdown_wait_loop_s=0.2,
        graceful_shutdown_timeout_s=max(5.0, 2 * deadline_s),
        logging_config=LoggingConfig(enable_access_log=False, log_level="WARNING"),
    )
