"""What serving runs gives the training network's rewards, whatever its switches, stages, batch or weights."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import RewardConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.pricing.kernels.choice import PriceDirective, choose, request_hashes
from greenflow_ray.reward.network.fast import CHUNK, FastReward
from greenflow_ray.reward.network.model import BASES, RewardNet, layout
from greenflow_ray.reward.stored import load_reward
from greenflow_ray.reward.traits import RewardFeatures
from tests.examples import many
from tests.reward.storing import store
from tests.worlds import make_world

INPUTS, HIDDEN = 7, 9
F32 = npt.NDArray[np.float32]


def space(stages: int) -> ChainSpace:
    """One to three models and scales a stage, scales of neighbours overlapping, so that not every tuple is a chain."""
    shapes = [(1, (90,)), (2, (20, 40, 60)), (1, (30, 50)), (3, (15,)), (1, (10, 25)), (2, (5, 10))]
    return ChainSpace(
        tuple(
            Stage(f"s{k}", tuple(ModelCost(f"m{k}{i}", 10 * (k + 1) + i) for i in range(models)), scales)
            for k, (models, scales) in enumerate(shapes[:stages])
        )
    )


SPACES = {n: space(n) for n in range(2, 7)}


def network(stages: int, seed: int = 0, **switches: bool) -> RewardNet:
    torch.manual_seed(seed)
    net = RewardNet(layout(SPACES[stages]), INPUTS, RewardConfig(hidden=HIDDEN, **switches))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        net.mean.normal_()
        net.deviation.uniform_(0.2, 3.0)
        net.scale.fill_(0.2)
    return net


def inputs(rows: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).normal(size=(rows, INPUTS)).astype(np.float32)


@given(
    stages=st.sampled_from(sorted(SPACES)),
    rows=st.sampled_from([0, 1, 7, 64]),
    recursive=st.booleans(),
    multi_basis=st.booleans(),
    monotone=st.booleans(),
    seed=st.integers(0, 10_000),
)
@example(stages=6, rows=64, recursive=True, multi_basis=True, monotone=True, seed=0)
@example(stages=2, rows=CHUNK + 1, recursive=False, multi_basis=False, monotone=False, seed=0)
@settings(max_examples=many(60), deadline=None)
def test_rewards_are_the_networks(
    stages: int, rows: int, recursive: bool, multi_basis: bool, monotone: bool, seed: int
) -> None:
    net = network(stages, seed, recursive=recursive, multi_basis=multi_basis, monotone=monotone)
    x = inputs(rows, seed)
    found = FastReward(net).evaluate(x)
    assert found.dtype == np.float32
    assert found.shape == (rows, len(SPACES[stages]))
    np.testing.assert_allclose(found, net.evaluate(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*BASES, "all, reversed"])
def test_every_basis_is_known_in_any_order(name: str) -> None:
    bases = (name,) if name in BASES else tuple(BASES)[::-1]
    torch.manual_seed(0)
    net = RewardNet(layout(SPACES[3]), INPUTS, RewardConfig.model_validate({"hidden": HIDDEN, "bases": bases}))
    np.testing.assert_allclose(FastReward(net).evaluate(inputs(5)), net.evaluate(inputs(5)), rtol=1e-5)


@pytest.mark.parametrize("bias", [-15.0, -8.0, 8.0, 40.0])
@pytest.mark.parametrize("monotone", [True, False])
def test_small_and_large_rewards_keep_their_relative_precision(bias: float, monotone: bool) -> None:
    net = network(3, monotone=monotone)
    with torch.no_grad():
        for stage in net.stages:
            for head in (stage.start, stage.rise):
                if head is not None:
                    head.bias.fill_(bias)
    rewards = net.evaluate(inputs(8))
    np.testing.assert_allclose(FastReward(net).evaluate(inputs(8)), rewards, rtol=1e-5)


@given(seed=st.integers(0, 10_000), price=st.floats(0, 1e-3), monotone=st.booleans())
@settings(max_examples=many(40), deadline=None)
def test_decisions_are_the_networks_but_for_ties(seed: int, price: float, monotone: bool) -> None:
    chains, net = SPACES[4], network(4, seed, monotone=monotone)
    x = inputs(32, seed)
    slow, quick = net.evaluate(x), FastReward(net).evaluate(x)
    directive = PriceDirective(price, 1.1 * price, 0.5, 1, False, chains.cheapest)
    hashes = request_hashes(np.arange(32))
    a, b = (choose(r, chains.costs, directive, hashes) for r in (slow, quick))
    paid = np.where(hashes.astype(np.float64) < 2.0**63, 1.1 * price, price)
    worth = slow - paid[:, None] * chains.costs
    each = np.arange(32)
    assert (worth[each, a] - worth[each, b] <= 1e-5 * np.maximum(1, np.abs(slow).max())).all()


@pytest.mark.parametrize("monotone", [True, False])
@pytest.mark.parametrize("recursive", [True, False])
@pytest.mark.parametrize("multi_basis", [True, False])
@pytest.mark.parametrize("rows", [1, 40])
def test_a_feature_that_is_nan_makes_its_row_nan_and_no_other(
    rows: int, recursive: bool, multi_basis: bool, monotone: bool
) -> None:
    net = network(3, recursive=recursive, multi_basis=multi_basis, monotone=monotone)
    x = inputs(rows)
    x[rows // 2, 3] = np.nan
    found = FastReward(net).evaluate(x)
    assert np.isnan(found[rows // 2]).all()
    others = np.delete(found, rows // 2, axis=0)
    np.testing.assert_allclose(others, np.delete(net.evaluate(x), rows // 2, axis=0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e38, -1e38])
def test_features_out_of_range_are_finite_where_the_networks_are(value: float) -> None:
    net = network(3)
    x = inputs(4)
    x[2, 1] = value
    np.testing.assert_allclose(FastReward(net).evaluate(x), net.evaluate(x), rtol=1e-5, atol=1e-5)


def test_inputs_may_be_read_only_and_stay_as_they_are() -> None:
    fast, x = FastReward(network(3)), inputs(5)
    before = fast.evaluate(x)
    kept = x.copy()
    x.flags.writeable = False
    np.testing.assert_array_equal(fast.evaluate(x), before)
    np.testing.assert_array_equal(x, kept)


def test_a_later_step_of_training_does_not_reach_it() -> None:
    net = network(3)
    fast = FastReward(net)
    before = fast.evaluate(inputs(3))
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.zero_()
    np.testing.assert_array_equal(fast.evaluate(inputs(3)), before)


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match="features: 6 columns, the network was fitted to 7"):
        FastReward(network(2)).evaluate(inputs(2)[:, :6].copy())


@pytest.mark.parametrize("recursive", [True, False])
def test_flops_count_what_is_done_once(recursive: bool) -> None:
    net = network(2, recursive=recursive)
    bases, h = len(BASES), HIDDEN
    trunk = INPUTS * 2 * h + 2 * h * h
    # Stage 1: one prefix of one scale, no state yet. Stage 2: two prefixes, three scales, nothing known of stage 1.
    first = h * h + h * 2 * bases
    second = h * h + (h * h if recursive else 0) + 2 * h * (2 + 2) * bases
    assert FastReward(net).flops_per_request == 2 * (trunk + first + second)
    assert FastReward(net).flops_per_request < net.flops_per_request


@pytest.mark.parametrize("monotone", [True, False])
def test_a_stored_model_predicts_what_the_network_evaluates(tmp_path: Path, monotone: bool) -> None:
    world = make_world()
    config = RewardConfig(hidden=8, monotone=monotone)
    factors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    vocabulary = len(world.dataset.users.vocabulary)
    features = RewardFeatures.of(world.dataset.catalog, vocabulary, factors)
    torch.manual_seed(0)
    net = RewardNet(layout(world.space), features.width, config)
    store(tmp_path, net, factors, world, config, {})
    requests = TableFeatures(world.dataset.users).lookup(np.array([0, 5, 17, 10**6]))
    found = load_reward(tmp_path, world.space, world.dataset.catalog).predict(requests)
    np.testing.assert_allclose(found, net.evaluate(features(requests)), rtol=1e-5, atol=1e-5)
