"""What an evaluation runs: which seeds, cuts, exposures and budgets, and where each part of it lies."""

from __future__ import annotations

from dataclasses import dataclass

from greenflow_ray.config import CascadeConfig
from greenflow_ray.errors import ConfigError

SHARES = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
"""Budgets at which all policies are compared, as shares of the fullest chain's FLOPs."""
JUDGED = (0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
"""Budgets over which figures are averaged: below the plateau on which every policy earns the same."""
CURVE = (*(round(0.065 * 1.09**i, 4) for i in range(32)), 1.0)  # budgets of the curves on which equal clicks are sought
EARLY, LATE = 1000, 120  # item scales of the arbitrary middle chain, which is the paper's
SAMPLES = (100, 200, 400, 800, 1600, 3200)  # numbers of reward users for the question how many are needed
EXPOSURES = (20, 50)


@dataclass(frozen=True)
class Plan:
    """One evaluation."""

    config: CascadeConfig  # the cascade, its run and data; its seed is the first one, and the data's
    seeds: tuple[int, ...] = (0, 1, 2)  # of models and reward models; users are split once for all
    cuts: int = 1  # how many random cuts of every user's events into history and clicks are pooled
    exposures: tuple[int, ...] = EXPOSURES  # numbers of exposed items, increasing
    full: bool = True  # whether to answer everything; if not, only the policies and the waterfall

    def __post_init__(self) -> None:
        last = self.config.stages[-1].scales
        widest = max(last) if last != "corpus" else max(self.exposures)
        if not self.exposures or min(self.exposures) < 1 or max(self.exposures) > widest:
            raise ConfigError(f"exposures {self.exposures}: give positive numbers up to the largest scale, {widest}")
        if not self.seeds or self.cuts < 1:
            raise ConfigError("seeds, cuts: at least one of each is needed")

    def of(self, seed: int, cut: int) -> CascadeConfig:
        """The configuration of one seed's models over one cut of the data."""
        data = self.config.data.model_copy(update={"seed": self.config.data_seed, "view": cut})
        prepared = self.config.paths.data if cut == 0 else self.config.run / "cuts" / str(cut)
        return self.config.model_copy(
            update={
                "run": self.config.run / "seeds" / str(seed),
                "prepared": prepared,
                "seed": seed,
                "data": data,
                "exposure": min(self.exposures),
            }
        )


def parse_exposures(text: str) -> tuple[int, ...]:
    """Numbers by comma, increasing and distinct. Raises ConfigError."""
    try:
        return tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise ConfigError(f"exposures: {text!r} is not numbers by comma, like 20,50") from error
