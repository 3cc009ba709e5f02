"""Weights of context tokens: kept from the source to the models, and nothing changes where there are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from greenflow_ray.config import DataConfig, TrainingConfig
from greenflow_ray.datasets import storage
from greenflow_ray.datasets.assembly import Interactions, assemble
from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.datasets.schema import Clicks, Dataset, RequestBatch, Split
from greenflow_ray.datasets.tokens import TokensById
from greenflow_ray.errors import DataError
from greenflow_ray.models.networks.network import scorer_for
from greenflow_ray.models.networks.tensors import Sizes, UserInputs
from greenflow_ray.models.training.sampling import Sampler
from greenflow_ray.ragged import Ragged
from greenflow_ray.reward.traits import RewardFeatures
from tests.models.worlds import ALL, network

Prepared = tuple[Dataset, dict[Split, Clicks]]


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Forty users; user ``u`` has tokens ``a=0`` (weight 1) and ``b=u % 3`` (weight u), but user 0 none."""
    rng = np.random.default_rng(0)
    ids = rng.permutation(40).astype(np.int64)
    rows = [[] if u == 0 else [0, 1 + u % 3] for u in ids]
    weights = np.concatenate([[1.0, u] for u in ids if u]).astype(np.float32)
    tokens = TokensById(ids, Ragged.from_rows(rows), ("a=0", "b=0", "b=1", "b=2", "b=unused"), weights)
    users = np.repeat(np.arange(40), 6)
    items = np.concatenate([rng.choice(20, 6, replace=False) for _ in range(40)])
    return assemble(Interactions("toy", users, items, None, tokens), DataConfig(), 0, "d")


def plain(dataset: Dataset) -> Dataset:
    return replace(dataset, users=replace(dataset.users, weights=None))


def test_assembly_keeps_weights_with_their_tokens(prepared: Prepared) -> None:
    users = prepared[0].users
    assert users.vocabulary == ("a=0", "b=0", "b=1", "b=2")
    assert users.weights is not None
    assert users.weights.dtype == np.float32
    for row, user in enumerate(users.user_ids.tolist()):
        mine = slice(users.tokens.offsets[row], users.tokens.offsets[row + 1])
        assert users.tokens.values[mine].tolist() == ([] if user == 0 else [0, 1 + user % 3])
        assert users.weights[mine].tolist() == ([] if user == 0 else [1, user])


@pytest.mark.parametrize("weight", [np.nan, np.inf, -1.0])
def test_weights_that_are_none_are_refused(weight: float) -> None:
    users = np.repeat(np.arange(8), 4)
    tokens = TokensById(np.arange(8), Ragged.from_rows([[0]] * 8), ("a=0",), np.full(8, weight, dtype=np.float32))
    source = Interactions("toy", users, np.tile(np.arange(4), 8), None, tokens)
    with pytest.raises(DataError, match="toy: weights of users' tokens must be finite and not below 0"):
        assemble(source, DataConfig(), 0, "d")


def test_storage_keeps_weights(prepared: Prepared, tmp_path: Path) -> None:
    dataset, clicks = prepared
    storage.write(tmp_path / "with", dataset, clicks)
    back = storage.load(tmp_path / "with").users.weights
    assert back is not None
    assert dataset.users.weights is not None
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, dataset.users.weights)
    storage.write(tmp_path / "without", plain(dataset), clicks)
    assert storage.load(tmp_path / "without").users.weights is None


def test_features_hand_weights_on_and_leave_unknown_users_empty(prepared: Prepared) -> None:
    dataset = prepared[0]
    batch = TableFeatures(dataset.users).lookup(np.array([7, 999, 0, 3]))
    assert batch.tokens.lengths.tolist() == [2, 0, 0, 2]
    assert batch.weights is not None
    assert batch.weights.tolist() == [1, 7, 1, 3]
    assert TableFeatures(plain(dataset).users).lookup(np.array([7])).weights is None


def test_networks_see_shares_and_a_row_of_zeros_stays_zero() -> None:
    tokens = Ragged.from_rows([[0, 1], [], [2], [3, 0]])
    weights = np.array([1, 3, 5, 0, 0], dtype=np.float32)
    batch = RequestBatch(np.arange(4), np.ones(4, dtype=np.bool_), tokens, Ragged.from_rows([[]] * 4), weights)
    shares = UserInputs.of(batch, Sizes(5, 0, 4, 2)).shares
    assert shares is not None
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.75, 1.0, 0.0, 0.0]))
    assert UserInputs.of(replace(batch, weights=None), Sizes(5, 0, 4, 2)).shares is None


def test_the_context_vector_is_the_weighted_mean(prepared: Prepared) -> None:
    dataset = prepared[0]
    model = network(dataset, "ydnn")
    batch = TableFeatures(dataset.users).lookup(np.array([7, 0]))
    inputs = UserInputs.of(batch, model.sizes)
    table = model.context.weight.detach()
    got = model.user_vector(inputs, torch.zeros(2, model.sizes.history, model.args.width)).detach()
    torch.testing.assert_close(got[0, : table.shape[1]], (table[0] + 7 * table[2]) / 8)
    assert not got[1, : table.shape[1]].any()


@pytest.mark.parametrize("architecture", ALL)
def test_equal_weights_score_as_none(prepared: Prepared, architecture: str) -> None:
    dataset = prepared[0]
    scorer = scorer_for(network(dataset, architecture))
    batch = TableFeatures(plain(dataset).users).rows(np.arange(6))
    items = Ragged.from_rows([range(5)] * 6)
    even = replace(batch, weights=np.full(len(batch.tokens.values), 2.5, dtype=np.float32))
    uneven = replace(batch, weights=np.arange(1, len(batch.tokens.values) + 1, dtype=np.float32))
    np.testing.assert_allclose(scorer.score(even, items), scorer.score(batch, items), rtol=1e-4, atol=1e-6)
    if scorer.network.args.sees("context"):
        assert not np.allclose(scorer.score(uneven, items), scorer.score(batch, items), rtol=1e-4)


def test_sampling_pairs_weights_with_their_users(prepared: Prepared) -> None:
    dataset, clicks = prepared
    sizes = Sizes(len(dataset.catalog), 0, 4, 4)
    sampler = Sampler(dataset, clicks[Split.TRAIN], TrainingConfig(batch_users=5), sizes)
    for batch in sampler.epoch(np.random.default_rng(1)):
        assert batch.inputs.shares is not None
        assert len(batch.inputs.shares) == len(batch.inputs.tokens)
        ends = torch.cat([batch.inputs.offsets[1:], torch.tensor([len(batch.inputs.tokens)])])
        for start, end in zip(batch.inputs.offsets.tolist(), ends.tolist(), strict=True):
            if end > start:
                # Token b's share is u / (1 + u), and u % 3 is told by the token.
                user = round(float(batch.inputs.shares[start + 1] / batch.inputs.shares[start]))
                assert int(batch.inputs.tokens[start + 1]) == 1 + user % 3


def test_reward_features_weigh_context_columns(prepared: Prepared) -> None:
    dataset = prepared[0]
    features = RewardFeatures.of(
        dataset.catalog, len(dataset.users.vocabulary), np.zeros((len(dataset.catalog), 2), dtype=np.float32)
    )
    weighted = features(TableFeatures(dataset.users).lookup(np.array([7])))
    without = features(TableFeatures(plain(dataset).users).lookup(np.array([7])))
    assert weighted[0, -4:].tolist() == [1, 0, 7, 0]
    assert without[0, -4:].tolist() == [1, 0, 1, 0]
    np.testing.assert_array_equal(weighted[:, :-4], without[:, :-4])
