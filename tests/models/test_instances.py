"""What a pool entry may say of its model instance: history, loss, precision, item scales, or that there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import UNRANKED, ModelConfig
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Dataset
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.networks.network import scorer_for
from greenflow_ray.models.networks.tensors import UserInputs
from greenflow_ray.models.scorer import AsRanked, Scorer
from greenflow_ray.models.training import artifacts
from greenflow_ray.models.training.train import LOSSES
from greenflow_ray.ragged import Ragged
from greenflow_ray.reward.grid import ChainRunner
from greenflow_ray.support.imports import import_object
from tests.models.worlds import ALL, candidates, network, requests, small
from tests.reward.test_grid import serve_one
from tests.worlds import make_world


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return small()[0]


@pytest.mark.parametrize("architecture", ALL)
def test_bfloat16_ranks_as_float32_does(dataset: Dataset, architecture: str) -> None:
    exact = scorer_for(network(dataset, architecture))
    rough = scorer_for(network(dataset, architecture, precision="bfloat16"))
    asked, rows = requests(dataset), candidates(dataset, [20, 5, 0, 30, 20, 7])
    a, b = exact.score(asked, rows), rough.score(asked, rows)
    assert (b.dtype, b.shape) == (np.float32, a.shape)
    assert np.isfinite(b).all()
    assert np.corrcoef(a, b)[0, 1] > 0.995
    assert {t.dtype for t in rough.tables} == {torch.bfloat16}


@pytest.mark.parametrize("architecture", ALL)
def test_training_in_bfloat16_gives_float32_gradients(dataset: Dataset, architecture: str) -> None:
    net = network(dataset, architecture, precision="bfloat16")
    inputs = UserInputs.of(requests(dataset), net.sizes)
    wanted = torch.arange(12).reshape(6, 2)
    with torch.autocast("cpu", torch.bfloat16):
        scores, extra = net.training_step(inputs, wanted, torch.zeros_like(inputs.history))
    (scores.float().sum() if extra is None else scores.float().sum() + extra).backward()
    grads = [p.grad for p in net.parameters() if p.grad is not None]
    assert grads
    assert all(g.dtype == torch.float32 and torch.isfinite(g).all() for g in grads)


def test_the_softmax_loss_by_hand() -> None:
    logits = torch.tensor([[1.0, 9.0, 0.5, -1.0, 3.0, 7.0], [2.0, 9.0, 0.0, 0.0, 9.0, 9.0]])
    labels = torch.tensor([[1.0, 1.0, 0, 0, 0, 0]] * 2)
    weights = torch.tensor([[1.0, 0, 1, 1, 1, 0], [1.0, 0, 1, 1, 0, 0]])
    batch = type("Batch", (), {"labels": labels, "weights": weights})()
    first = -np.log(np.exp(1) / (np.exp(1) + np.exp(0.5) + np.exp(-1) + np.exp(3)))
    second = -np.log(np.exp(2) / (np.exp(2) + 2))
    assert float(LOSSES["softmax"](logits, batch)) == pytest.approx((first + second) / 2, rel=1e-6)  # type: ignore[arg-type]


def test_a_history_of_its_own_costs_what_it_attends_to() -> None:
    _, short = artifacts.resolve(ModelConfig(name="din", args={"history": 8}))
    _, long = artifacts.resolve(ModelConfig(name="din", args={"history": 64}))
    assert (short.history, long.history) == (8, 64)
    assert short.flops(short.history or 32).per_item < long.flops(long.history or 32).per_item
    with pytest.raises(ConfigError, match=r"args\.history"):
        artifacts.resolve(ModelConfig(name="din", args={"history": 0}))


def test_no_model_leaves_the_list_as_it_was() -> None:
    scorer = import_object(UNRANKED, "factory")(None, None)
    assert isinstance(scorer, Scorer)
    assert (scorer.flops_per_item, scorer.flops_per_request) == (0, 0)
    rows = Ragged.from_rows([np.array([7, 3, 9]), np.array([], int), np.array([4, 1])])
    assert scorer.score(None, rows).tolist() == [0, -1, -2, 0, -1]


def test_its_chains_are_those_of_the_stage_before() -> None:
    world = make_world()
    last = world.space.stages[-1]
    pool = (*last.pool, ModelCost("none", 0, 0, (5,)))
    space = ChainSpace((*world.space.stages[:-1], Stage(last.name, pool, last.scales)))
    assert {c.choices[-1].items for c in space.chains if c.choices[-1].model == "none"} == {5}
    runner = ChainRunner(space, {**world.pool, "none": AsRanked()}, len(world.dataset.catalog), exposure=5)
    users = np.array([3, 17])
    exposed = runner.run(TableFeatures(world.dataset.users).rows(users))
    for i, user in enumerate(users):
        for j, chain in enumerate(space.chains):
            if chain.choices[-1].model == "none":
                before = next(k for k, c in enumerate(world.space.chains) if c.choices[:-1] == chain.choices[:-1])
                shorter = world.space.chains[before].choices[:-1]
                items = [
                    x
                    for x in range(len(world.dataset.catalog))
                    if x not in set(world.dataset.users.history.row(user).tolist())
                ]
                for choice in shorter:
                    row = world.pool[choice.model].table[user]
                    items = sorted(items[: choice.items], key=lambda x: -row[x])
                assert exposed[i, j].tolist() == items[:5]
            else:
                same = world.space.names.index(chain.name)
                assert exposed[i, j].tolist() == serve_one(world, int(user), same)


def test_foreign_scales_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"model 'm': scales: 7 is none of stage 'a'"):
        ChainSpace((Stage("a", (ModelCost("m", 1, 0, (7,)),), (5, 10)),))
