"""What the architectures share: batching changes nothing, empty users are served, features are kept apart."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from greenflow_ray.datasets.features import TableFeatures
from greenflow_ray.models.networks.attentive import Attention, pool
from greenflow_ray.models.networks.network import TorchCorpusScorer, scorer_for
from greenflow_ray.models.scorer import CorpusScorer, Scorer
from greenflow_ray.ragged import Ragged
from tests.models.worlds import ALL, candidates, network, requests, small


@pytest.mark.parametrize("architecture", ALL)
def test_a_request_scores_the_same_alone_and_in_a_batch(architecture: str) -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, architecture))
    rows = candidates(dataset, [20, 0, 20, 40, 1, 7])
    together = Ragged(scorer.score(requests(dataset, 6), rows), rows.offsets)
    features = TableFeatures(dataset.users)
    for i in range(6):
        alone = scorer.score(features.rows(np.array([i])), rows.take(np.array([i])))
        np.testing.assert_allclose(together.row(i), alone, rtol=1e-4, atol=1e-5)
    assert together.values.std() > 1e-3


@pytest.mark.parametrize("architecture", ALL)
def test_a_scorer_is_a_scorer(architecture: str) -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, architecture))
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, CorpusScorer) == (architecture == "dssm")
    assert scorer.score(requests(dataset, 2), Ragged.from_rows([[], []])).shape == (0,)


def test_the_corpus_scores_as_its_items_do() -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, "dssm"))
    assert isinstance(scorer, TorchCorpusScorer)
    rows = candidates(dataset, [20, 7, 40])
    corpus = scorer.score_corpus(requests(dataset, 3))
    assert corpus.shape == (3, len(dataset.catalog))
    np.testing.assert_allclose(
        corpus[rows.row_ids, rows.values], scorer.score(requests(dataset, 3), rows), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("architecture", ALL)
def test_unknown_users_and_foreign_tokens_get_finite_scores(architecture: str) -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, architecture))
    batch = TableFeatures(dataset.users).lookup(np.array([1, -5]))
    assert batch.known.tolist() == [True, False]
    odd = replace(batch, tokens=Ragged.from_rows([[10_000, 1], []]))
    for requested in (batch, odd):
        scores = scorer.score(requested, candidates(dataset, [9, 9]))
        assert np.isfinite(scores).all()


@pytest.mark.parametrize("architecture", ALL)
def test_only_the_most_recent_history_counts(architecture: str) -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, architecture, 4))
    batch = requests(dataset, 1)
    rows = candidates(dataset, [9])

    def scored(history: list[int]) -> list[float]:
        return list(scorer.score(replace(batch, history=Ragged.from_rows([history])), rows))

    assert scored([9, 8, 1, 2, 3, 4]) == scored([1, 2, 3, 4])
    assert scored([1, 2, 3, 4]) != scored([1, 2, 3, 5])


def test_what_a_model_may_not_see_does_not_move_it() -> None:
    dataset, _ = small()
    rows, batch = candidates(dataset, [30]), requests(dataset, 1)
    dull = replace(dataset.catalog, popularity=dataset.catalog.popularity[::-1].copy())
    blind = {
        name: np.array_equal(
            scorer_for(network(dataset, name)).score(batch, rows),
            scorer_for(network(replace(dataset, catalog=dull), name)).score(batch, rows),
        )
        for name in ALL
    }
    assert blind == {"dssm": True, "ydnn": False, "din": False, "dien": False}
    identities = {name: hasattr(network(dataset, name), "identity") for name in ALL}
    assert identities == {"dssm": False, "ydnn": False, "din": True, "dien": True}


def test_attention_equals_its_plain_form() -> None:
    torch.manual_seed(0)
    attention = Attention(6, 5)
    history, items = torch.randn(2, 4, 6), torch.randn(2, 3, 6)
    h = history[:, None].expand(2, 3, 4, 6)
    i = items[:, :, None].expand(2, 3, 4, 6)
    w4, own, item = attention.product, attention.own, attention.item
    # [h, i, h − i, h∘i] with W₁ = own − W₃, W₂ = item + W₃, for any W₃.
    w3 = torch.randn(5, 6)
    first = F.linear(h, own.weight - w3, own.bias) + F.linear(i, item + w3) + F.linear(h - i, w3) + F.linear(h * i, w4)
    plain = attention.out(F.relu(first)).squeeze(-1)
    torch.testing.assert_close(attention.logits(*attention.prepare(history), items), plain, rtol=1e-4, atol=1e-5)


def test_pooling_ignores_padding_and_empties_to_zero() -> None:
    history = torch.randn(2, 3, 4)
    mask = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    got = pool(torch.zeros(2, 1, 3), history, mask)
    torch.testing.assert_close(got[0, 0], history[0, :2].mean(0))
    assert got[1].abs().max() == 0
