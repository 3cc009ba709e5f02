"""The arms that a saving is held between, as orders to a running application: EQUAL, TUNED, GREENFLOW, one chain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from greenflow_ray.chains import ChainSpace
from greenflow_ray.client import BudgetOrder
from greenflow_ray.config import CascadeConfig
from greenflow_ray.datasets.schema import Dataset, Split
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.pool import load_pool
from greenflow_ray.pricing.rivals.tuned import tuned
from greenflow_ray.reward.grid import ChainRunner
from greenflow_ray.reward.teaching import sample_clicks

EQUAL, TUNED, GREENFLOW, FIXED = "equal", "tuned", "greenflow", "fixed:"


@dataclass(frozen=True)
class Arms:
    """Makes the orders for one cascade and one budget.

    Attributes:
        flops_per_request: what a request may cost on average.
        requests_per_second: of the traffic to come.
    """

    config: CascadeConfig
    dataset: Dataset
    space: ChainSpace
    flops_per_request: float
    requests_per_second: float

    def order(self, arm: str) -> BudgetOrder:
        """The order that starts an arm. Raises ConfigError naming the arms, or the chains, that there are."""
        if arm == EQUAL:
            return BudgetOrder(flops_per_second=None, policy="fixed", fixed_chain=self.config.load.equal)
        if arm == TUNED:
            return BudgetOrder(flops_per_second=None, policy="fixed", mix=self.tuned_chains())
        if arm == GREENFLOW:
            return BudgetOrder(flops_per_second=self.flops_per_request * self.requests_per_second)
        if not arm.startswith(FIXED):
            raise ConfigError(f"arm {arm!r}: use {EQUAL}, {TUNED}, {GREENFLOW} or {FIXED}CHAIN")
        chain = arm.removeprefix(FIXED)
        self.space.index(chain)
        return BudgetOrder(flops_per_second=None, policy="fixed", fixed_chain=chain)

    def tuned_chains(self) -> dict[str, float]:
        """What TUNED serves at this budget: chains and their shares, chosen on the reward samples' clicks."""
        pool = load_pool(self.config, self.dataset.catalog)
        runner = ChainRunner(self.space, pool, len(self.dataset.catalog), self.config.exposure)
        _, clicks = sample_clicks(self.config, self.dataset, runner, Split.REWARD)
        budget = float(np.nextafter(self.flops_per_request, np.inf))
        return {self.space.names[j]: share for j, share in tuned(clicks, self.space.costs, budget).items()}
