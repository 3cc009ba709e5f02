"""The chain space: what it holds, what it leaves out, and how it is named."""

import numpy as np
import pytest

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.errors import ConfigError
from tests.worlds import make_world

SPACE = make_world().space


def test_is_the_product_of_pools_and_scales_without_impossible_chains() -> None:
    # 3 pre-ranking scales × 2 rankers × 3 ranking scales, less (10, 20) for both rankers
    assert len(SPACE) == 3 * 2 * 3 - 2
    assert (np.diff(SPACE.items, axis=1) <= 0).all()


def test_costs_are_exact_sums() -> None:
    j = SPACE.index("dssm:60>ydnn:40>dien:20")
    assert SPACE.chains[j].flops == (10 + 10 * 60) + (10 + 100 * 40) + (10 + 1200 * 20)
    assert SPACE.costs[j] == SPACE.chains[j].flops
    assert j == SPACE.fullest == SPACE.index("fullest")
    assert SPACE.chains[SPACE.cheapest].name == "dssm:60>ydnn:10>din:5"


def test_unknown_chain_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'nope'.*fullest"):
        SPACE.index("nope")


def test_digest_changes_with_costs() -> None:
    dearer = ChainSpace((*SPACE.stages[:2], Stage("ranking", (ModelCost("din", 1001, 10),), (5, 10, 20))))
    assert dearer.digest != SPACE.digest
    assert ChainSpace(SPACE.stages).digest == SPACE.digest


def test_scales_that_cannot_follow_each_other_are_refused() -> None:
    model = (ModelCost("m", 1),)
    with pytest.raises(ConfigError, match="no chain is possible"):
        ChainSpace((Stage("recall", model, (10,)), Stage("ranking", model, (20,))))
