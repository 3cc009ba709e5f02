"""The arms as orders: what each asks of a running application, and who is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from greenflow_ray.errors import ConfigError, InfeasibleBudget
from greenflow_ray.line import arms
from greenflow_ray.line.arms import Arms
from tests.serving.fakes import cascade
from tests.worlds import make_world

WORLD = make_world()
SPACE = WORLD.space


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Arms:
    """Arms of the tiny world, whose reward samples click in proportion to a chain's place by cost."""
    clicks = np.tile(np.sqrt(SPACE.costs / SPACE.costs.max()), (50, 1))
    monkeypatch.setattr(arms, "load_pool", lambda *_: WORLD.pool)
    monkeypatch.setattr(arms, "sample_clicks", lambda *_: (np.arange(50), clicks))
    return Arms(cascade(Path("unused")), WORLD.dataset, SPACE, 0.5 * float(SPACE.costs.max()), 10.0)


def test_equal_is_the_fullest_chain_or_the_one_that_is_named(made: Arms) -> None:
    order = made.order("equal")
    assert (order.policy, order.fixed_chain, order.flops_per_second) == ("fixed", "fullest", None)
    load = made.config.load.model_copy(update={"equal": SPACE.names[3]})
    named = Arms(made.config.model_copy(update={"load": load}), made.dataset, SPACE, 1.0, 1.0)
    assert named.order("equal").fixed_chain == SPACE.names[3]


def test_tuned_and_greenflow_have_the_same_budget(made: Arms) -> None:
    order = made.order("tuned")
    costs = {chain.name: chain.flops for chain in SPACE.chains}
    spent = sum(share * costs[name] for name, share in order.mix.items())
    assert order.policy == "fixed"
    assert 0.97 * made.flops_per_request <= spent <= made.flops_per_request * (1 + 1e-9)
    assert made.order("greenflow").flops_per_second == made.flops_per_request * 10.0
    with pytest.raises(InfeasibleBudget):
        Arms(made.config, made.dataset, SPACE, 1.0, 10.0).order("tuned")


def test_a_chain_of_ones_own(made: Arms) -> None:
    order = made.order(f"fixed:{SPACE.names[2]}")
    assert (order.policy, order.fixed_chain) == ("fixed", SPACE.names[2])


@pytest.mark.parametrize(("arm", "words"), [("fixed:nonsense", "no chain is called 'nonsense'"), ("best", "use equal")])
def test_unknown_arms_and_chains_are_refused_by_name(made: Arms, arm: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made.order(arm)
