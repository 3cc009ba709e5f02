"""The whole declaration of a cascade."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from greenflow_ray.config.budget import BudgetConfig, Limits, SamplingConfig
from greenflow_ray.config.energy import EnergyConfig
from greenflow_ray.config.offline import DataConfig, RewardConfig, StageConfig, TrainingConfig
from greenflow_ray.config.paths import RunPaths
from greenflow_ray.config.section import Section
from greenflow_ray.config.serving import ALLOCATOR, LoadConfig, ServingConfig
from greenflow_ray.errors import ConfigError


class CascadeConfig(Section):
    """The whole declaration. Relative paths are taken from the working directory."""

    name: str = Field(default="default", description="what reports call this cascade")
    run: Path = Path("runs/demo")
    prepared: Path | None = Field(
        default=None, description="the prepared set's folder; null: data/ in the run's folder"
    )
    seed: int = 0
    exposure: int = Field(default=20, ge=1, description="items exposed to the user (the paper's e)")
    history_length: int = Field(default=32, ge=1, description="most recent history items that models attend to")
    stages: tuple[StageConfig, ...] = Field(min_length=2, max_length=6)
    costs: Literal["declared", "timed", "counted"] = Field(
        default="declared",
        description="what models cost: what they declare, or what `greenflow calibrate` timed, or counted in torch",
    )
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    reward: RewardConfig = RewardConfig()
    budget: BudgetConfig = BudgetConfig()
    sampling: SamplingConfig = SamplingConfig()
    serving: ServingConfig = ServingConfig()
    energy: EnergyConfig = EnergyConfig()
    load: LoadConfig = LoadConfig()

    @model_validator(mode="after")
    def _check(self) -> CascadeConfig:
        last = self.stages[-1].scales
        if last != "corpus" and min(last) < self.exposure:
            raise ValueError(f"stages.{len(self.stages) - 1}.scales: {min(last)} is below exposure {self.exposure}")
        names = [m.name for s in self.stages for m in s.pool]
        if len(set(names)) < len(names):
            raise ValueError("two models share a name; names are unique across stages")
        unknown = sorted(set(self.serving.models) - set(names))
        if unknown:
            raise ValueError(f"serving.models: no model is called {unknown[0]!r}; use one of {', '.join(names)}")
        ordered: tuple[Limits, ...] = (self.budget, *self.budget.schedule)
        if self.costs != "timed" and any(limits.cores for limits in ordered):
            raise ValueError("budget.cores: chains cost what models declare; set `costs: timed` and calibrate")
        places = [stage.name for stage in self.stages] + [ALLOCATOR]
        if not isinstance(self.serving.place, str) and (strange := sorted(set(self.serving.place) - set(places))):
            raise ValueError(f"serving.place: nothing is called {strange[0]!r}; use one of {', '.join(places)}")
        return self

    @property
    def paths(self) -> RunPaths:
        """Where this run's files lie."""
        return RunPaths(self.run, self.prepared)

    @property
    def data_seed(self) -> int:
        """Seed of all that concerns the data."""
        return self.seed if self.data.seed is None else self.data.seed

    def absolute(self) -> CascadeConfig:
        """The same with absolute paths, for processes with another working directory."""

        def resolved(path: Path | None) -> Path | None:
            return None if path is None else path.resolve()

        stages = tuple(
            stage.model_copy(
                update={
                    "pool": tuple(m.model_copy(update={"weights": resolved(m.weights)}) for m in stage.pool),
                }
            )
            for stage in self.stages
        )
        carbon = self.energy.carbon.model_copy(update={"path": resolved(self.energy.carbon.path)})
        energy = self.energy.model_copy(update={"carbon": carbon})
        return self.model_copy(
            update={"run": self.run.resolve(), "prepared": resolved(self.prepared), "stages": stages, "energy": energy}
        )

    def check_corpus(self, n_items: int) -> None:
        """Raise ConfigError if a stage would score more items than the corpus holds."""
        for i, stage in enumerate(self.stages):
            if stage.scales != "corpus" and max(stage.scales) > n_items:
                raise ConfigError(
                    f"stages.{i}.scales: {max(stage.scales)} exceeds the corpus of {n_items} items; "
                    f"lower it to {n_items} or less"
                )

    def digest(self, *sections: str) -> str:
        """SHA-256 of the named sections' values: artifacts are reused while it stays the same."""
        dumped = self.model_dump(mode="json")
        text = json.dumps({name: dumped[name] for name in sections}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
