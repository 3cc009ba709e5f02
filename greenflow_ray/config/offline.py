"""What is prepared, trained and fitted before anything is served: stages, data, models, reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from greenflow_ray.config.section import Section

TRAINED = "greenflow_ray.models.training.artifacts:load_scorer"
"""The factory of models that `greenflow train` trains; others bring their own weights."""
UNRANKED = "greenflow_ray.models.scorer:as_ranked"
"""The factory of no model at all: the list as the stage before left it."""


class ModelConfig(Section):
    """One trained model instance of a stage's pool.

    ``factory`` is the import path ``package.module:callable`` of ``factory(weights, catalog, **args) -> Scorer``.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    factory: str = TRAINED
    weights: Path | None = Field(default=None, description="default: <run>/models/<name>.safetensors")
    args: dict[str, Any] = Field(default_factory=dict)
    scales: tuple[int, ...] = Field(default=(), description="those of the stage's scales that it may score; []: all")


class StageConfig(Section):
    """One stage: its pool, and the item scales it may score (``corpus``: always every item)."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
    pool: tuple[ModelConfig, ...] = Field(min_length=1)
    scales: Literal["corpus"] | tuple[int, ...]

    @model_validator(mode="after")
    def _check(self) -> StageConfig:
        if self.scales != "corpus" and (
            not self.scales or min(self.scales) < 1 or len(set(self.scales)) < len(self.scales)
        ):
            raise ValueError("scales must be distinct positive integers, or 'corpus'")
        if len({m.name for m in self.pool}) < len(self.pool):
            raise ValueError("two models of the pool share a name")
        return self


class SplitConfig(Section):
    """Shares of users: cascade training, validation, reward samples; the rest are the final users."""

    train: float = Field(default=0.5, gt=0, lt=1)
    validation: float = Field(default=0.1, gt=0, lt=1)
    reward: float = Field(default=0.25, gt=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> SplitConfig:
        if self.train + self.validation + self.reward >= 1:
            raise ValueError("train + validation + reward must be below 1, so that final users remain")
        return self


class DataConfig(Section):
    """Where interactions come from; ``synthetic`` makes its own, other formats read ``path``."""

    format: Literal["auto", "synthetic", "movielens", "sequences", "kuairand", "aliccp", "parquet"] = "auto"
    path: Path | None = None
    seed: int | None = Field(
        default=None, description="of the split of users and the cut of events; null: top-level seed"
    )
    view: int = Field(
        default=0, ge=0, description="which random cut into history and clicks; only events without times have several"
    )
    split: SplitConfig = SplitConfig()
    history: float = Field(default=0.5, gt=0, lt=1, description="share of a user's events that models may see")
    users: int = Field(default=6000, ge=100, description="synthetic set only")
    items: int = Field(default=2400, ge=100, description="synthetic set only")


class TrainingConfig(Section):
    """How the cascade's models are trained."""

    epochs: int = Field(default=2, ge=1)
    batch_users: int = Field(default=16, ge=1)
    targets_per_user: int = Field(default=20, ge=1, description="clicks predicted for each user and visit")
    negatives: int = Field(default=4, ge=1, description="sampled non-clicks for each click")
    learning_rate: float = Field(default=2e-3, gt=0)
    max_users: int = Field(default=4000, ge=10, description="training users seen per epoch at most")


class RewardConfig(Section):
    """The recursive multi-basis reward model (paper, section 4.2) and how it is fitted."""

    factory: str = Field(
        default="greenflow_ray.reward.stored:load_reward",
        description="import path of factory(folder, space, catalog) -> RewardEstimator",
    )
    recursive: bool = True
    multi_basis: bool = True
    monotone: bool = Field(default=True, description="more items never lower the total reward, by construction")
    teacher: Literal["boosted", "none"] = Field(
        default="boosted", description="boosted trees that the network learns from, on training users' features too"
    )
    bases: tuple[Literal["log1p", "tanh", "ratio", "exp", "sqrt"], ...] = ("log1p", "tanh", "ratio", "exp", "sqrt")
    hidden: int = Field(default=32, ge=4)
    epochs: int = Field(default=60, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0)
    centred: float = Field(
        default=0.8, ge=0, le=1, description="weight of differences between a user's chains in the loss"
    )
