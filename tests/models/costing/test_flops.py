"""The closed forms count what torch counts, and stand to each other as in the paper's Table 1."""

import pytest
from torch.utils.flop_counter import FlopCounterMode

from greenflow_ray.models.networks.network import TorchCorpusScorer, scorer_for
from tests.models.worlds import ALL, candidates, network, requests, small

PAPER = {"dssm": 13e3, "ydnn": 123e3, "din": 7020e3, "dien": 7098e3}


@pytest.mark.parametrize("history", [32, 5])
@pytest.mark.parametrize("architecture", ALL)
def test_closed_form_is_what_torch_executes(architecture: str, history: int) -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, architecture, history))
    rows = candidates(dataset, [20, 7, 20, 40, 1, 7])
    with FlopCounterMode(display=False) as counter:
        scorer.score(requests(dataset, 6), rows)
    assert counter.get_total_flops() == 6 * scorer.flops_per_request + len(rows.values) * scorer.flops_per_item


@pytest.mark.parametrize("features", [["context"], ["history", "content"], ["id", "history", "popularity"]])
@pytest.mark.parametrize("architecture", ALL)
def test_closed_form_follows_the_features(architecture: str, features: list[str]) -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, architecture, features=features, width=16))
    with FlopCounterMode(display=False) as counter:
        scorer.score(requests(dataset, 2), candidates(dataset, [3, 3]))
    assert counter.get_total_flops() == 2 * scorer.flops_per_request + 6 * scorer.flops_per_item


def test_scoring_the_corpus_costs_as_much_as_handing_it_over() -> None:
    dataset, _ = small()
    scorer = scorer_for(network(dataset, "dssm"))
    assert isinstance(scorer, TorchCorpusScorer)
    with FlopCounterMode(display=False) as counter:
        scorer.score_corpus(requests(dataset, 6))
    assert counter.get_total_flops() == 6 * (scorer.flops_per_request + len(dataset.catalog) * scorer.flops_per_item)


@pytest.mark.parametrize("architecture", ALL)
def test_a_tenth_of_the_papers_table(architecture: str) -> None:
    dataset, _ = small()
    ratio = network(dataset, architecture).flops.per_item / (PAPER[architecture] / 10)
    assert 0.8 < ratio < 1.2
