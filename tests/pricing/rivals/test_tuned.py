from __future__ import annotations

import numpy as np
import pytest

from greenflow_ray.errors import InfeasibleBudget
from greenflow_ray.pricing.rivals.tuned import tuned

COSTS = np.array([1.0, 2.0, 4.0, 10.0])
CLICKS = np.array([[1, 2, 2, 5], [1, 4, 2, 5]])


def test_it_splits_between_the_two_chains_that_surround_the_budget() -> None:
    shares = tuned(CLICKS, COSTS, 6.0)  # the third chain lies below the line from the second to the fourth
    assert shares == {1: 0.5, 3: 0.5}
    assert tuned(CLICKS, COSTS, 2.0) == {1: 1.0}
    assert tuned(CLICKS, COSTS, 100.0) == {3: 1.0}


def test_it_earns_at_least_what_the_best_fixed_chain_within_the_budget_does() -> None:
    rng = np.random.default_rng(0)
    clicks, costs = rng.poisson(np.linspace(1, 3, 40), size=(300, 40)), np.sort(rng.uniform(1, 9, 40))
    mean = clicks.mean(axis=0)
    for budget in np.linspace(costs[0], 9.0, 15):
        shares = tuned(clicks, costs, float(budget))
        assert sum(share * costs[j] for j, share in shares.items()) <= budget * (1 + 1e-9)
        assert len(shares) <= 2
        earned = sum(share * mean[j] for j, share in shares.items())
        assert earned >= mean[costs <= budget].max() - 2e-3 * mean.max()


def test_below_the_cheapest_chain_there_is_none() -> None:
    with pytest.raises(InfeasibleBudget):
        tuned(CLICKS, COSTS, 0.5)
