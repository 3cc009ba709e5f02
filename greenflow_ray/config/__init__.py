"""What operators declare: one YAML, one pydantic model, unknown keys refused, every default written down."""

from greenflow_ray.config.budget import BudgetConfig, BudgetFields, Limits, SamplingConfig, ScheduledLimits
from greenflow_ray.config.cascade import CascadeConfig
from greenflow_ray.config.declaration import DEFAULT, builtin, dump, load, parse, store, validated
from greenflow_ray.config.energy import CarbonConfig, EnergyConfig
from greenflow_ray.config.offline import (
    TRAINED,
    UNRANKED,
    DataConfig,
    ModelConfig,
    RewardConfig,
    SplitConfig,
    StageConfig,
    TrainingConfig,
)
from greenflow_ray.config.paths import RunPaths
from greenflow_ray.config.section import Section
from greenflow_ray.config.serving import ALLOCATOR, LoadConfig, ReplicaConfig, ServingConfig

__all__ = [
    "ALLOCATOR",
    "DEFAULT",
    "TRAINED",
    "UNRANKED",
    "BudgetConfig",
    "BudgetFields",
    "CarbonConfig",
    "CascadeConfig",
    "DataConfig",
    "EnergyConfig",
    "Limits",
    "LoadConfig",
    "ModelConfig",
    "ReplicaConfig",
    "RewardConfig",
    "RunPaths",
    "SamplingConfig",
    "ScheduledLimits",
    "Section",
    "ServingConfig",
    "SplitConfig",
    "StageConfig",
    "TrainingConfig",
    "builtin",
    "dump",
    "load",
    "parse",
    "store",
    "validated",
]
