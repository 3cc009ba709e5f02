"""From a configured cascade and its loaded models to the chain space."""

from __future__ import annotations

from collections.abc import Mapping

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.scorer import Scorer


def chain_space(config: CascadeConfig, pool: Mapping[str, Scorer], n_items: int) -> ChainSpace:
    """All chains of the configured cascade over a corpus of ``n_items``, with the costs that the models state.

    Raises ConfigError if a scale exceeds the corpus or a model is not in ``pool``.
    """
    config.check_corpus(n_items)
    stages = []
    for stage in config.stages:
        missing = [m.name for m in stage.pool if m.name not in pool]
        if missing:
            raise ConfigError(f"stage {stage.name!r}: model {missing[0]!r} is not loaded; run `greenflow train` first")
        costs = tuple(
            ModelCost(m.name, int(pool[m.name].flops_per_item), int(pool[m.name].flops_per_request)) for m in stage.pool
        )
        stages.append(Stage(stage.name, costs, (n_items,) if stage.scales == "corpus" else stage.scales))
    return ChainSpace(tuple(stages))
