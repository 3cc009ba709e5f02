"""The chain space of a configured cascade."""

from pathlib import Path

import pytest

from greenflow_ray.errors import ConfigError
from greenflow_ray.models.networks.network import scorer_for
from greenflow_ray.models.pool import chain_space
from tests.models.worlds import ALL, config, network, small


def test_chains_cost_what_their_models_say(tmp_path: Path) -> None:
    dataset, _ = small()
    pool = {name: scorer_for(network(dataset, name, 8)) for name in ALL}
    space = chain_space(config(tmp_path), pool, 150)
    assert len(space) == 8
    by_name = dict(zip(space.names, space.costs, strict=True))
    models = [(pool["dssm"], 150), (pool["ydnn"], 80), (pool["dien"], 20)]
    cost = sum(m.flops_per_request + n * m.flops_per_item for m, n in models)
    assert by_name["dssm:150>ydnn:80>dien:20"] == cost


def test_scales_beyond_the_corpus_and_missing_models_are_refused(tmp_path: Path) -> None:
    dataset, _ = small()
    pool = {name: scorer_for(network(dataset, name, 8)) for name in ALL}
    with pytest.raises(ConfigError, match=r"stages\.1\.scales: 80 exceeds the corpus of 60 items"):
        chain_space(config(tmp_path), pool, 60)
    del pool["din"]
    with pytest.raises(ConfigError, match="model 'din' is not loaded"):
        chain_space(config(tmp_path), pool, 150)
