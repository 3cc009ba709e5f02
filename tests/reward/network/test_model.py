"""Properties of the recursive multi-basis network that hold for any weights."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from greenflow_ray.config import RewardConfig
from greenflow_ray.reward.network.model import BASES, RewardNet, layout
from tests.worlds import make_world

SPACE = make_world().space


def net(seed: int, *, recursive: bool = True, multi_basis: bool = True, monotone: bool = True) -> RewardNet:
    torch.manual_seed(seed)
    config = RewardConfig(hidden=8, recursive=recursive, multi_basis=multi_basis, monotone=monotone)
    model = RewardNet(layout(SPACE), 7, config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    return model


@given(seed=st.integers(0, 10_000), recursive=st.booleans(), multi_basis=st.booleans())
@settings(max_examples=30, deadline=None)
def test_total_reward_rises_with_every_item_scale(seed: int, recursive: bool, multi_basis: bool) -> None:
    model = net(seed, recursive=recursive, multi_basis=multi_basis)
    rewards = model.evaluate(np.random.default_rng(seed).normal(size=(4, 7)).astype(np.float32))
    assert (rewards >= 0).all()
    for a, b in itertools.product(range(len(SPACE)), repeat=2):
        if (SPACE.models[a] == SPACE.models[b]).all() and (SPACE.items[a] <= SPACE.items[b]).all():
            assert (rewards[:, b] >= rewards[:, a] - 1e-4 * np.abs(rewards[:, a])).all()


def rises(rewards: np.ndarray, stage: int) -> bool:
    """Whether more items in ``stage``, all else equal, never lower the reward."""
    for a, b in itertools.product(range(len(SPACE)), repeat=2):
        more = SPACE.items[b] - SPACE.items[a]
        alike = (SPACE.models[a] == SPACE.models[b]).all() and (np.delete(more, stage) == 0).all()
        if alike and more[stage] > 0 and (rewards[:, b] < rewards[:, a] - 1e-4 * np.abs(rewards[:, a])).any():
            return False
    return True


@pytest.mark.parametrize("stage", [1, 2])
def test_without_the_switch_it_need_not_rise(stage: int) -> None:
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    free = [rises(net(seed, monotone=False).evaluate(x), stage) for seed in range(8)]
    held = [rises(net(seed, monotone=True).evaluate(x), stage) for seed in range(8)]
    assert all(held)
    assert not all(free)


def test_no_two_scales_share_a_reward() -> None:
    rewards = net(3).evaluate(np.random.default_rng(0).normal(size=(1, 7)).astype(np.float32))
    assert len(np.unique(rewards.round(6))) == len(SPACE)


@pytest.mark.parametrize("name", list(BASES))
def test_bases_are_increasing_concave_and_start_at_zero(name: str) -> None:
    v = torch.linspace(0, 20, 400, dtype=torch.float64)
    phi = BASES[name](v)
    assert phi[0] == 0
    assert (phi.diff() > -1e-12).all()
    assert (phi.diff().diff() < 1e-9).all()


def test_recursion_lets_the_ranker_depend_on_the_pre_ranker() -> None:
    model = net(5)
    x = torch.randn(2, 7)
    whole = model(x)
    model.recursive = False
    assert not torch.allclose(whole, model(x))


def test_flops_are_those_of_the_linear_layers() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = net(0)
    batch = 16
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(batch, 7))
    assert counter.get_total_flops() == batch * model.flops_per_request
