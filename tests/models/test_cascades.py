"""The built-in cascades of the experiments: they load, and their models cost what the paper's Table 1 says."""

from pathlib import Path

import pytest

from greenflow_ray.chains import ChainSpace, ModelCost, Stage
from greenflow_ray.config import CascadeConfig, builtin, load
from greenflow_ray.errors import ConfigError
from greenflow_ray.models.costing.costs import Flops
from greenflow_ray.models.training import artifacts

PAPER = {"dssm": 13e3, "ydnn": 123e3, "din": 7020e3, "dien": 7098e3}
RATIOS = {"dssm": 1.0, "ydnn": 9.5, "din": 540.0, "dien": 546.0}


def closed_form(config: CascadeConfig) -> dict[str, Flops]:
    """FLOPs of every model of a cascade from its settings alone: nothing is built, nothing trained."""
    models = [model for stage in config.stages for model in stage.pool]
    return {model.name: artifacts.resolve(model)[1].flops(config.history_length) for model in models}


@pytest.mark.parametrize("name", ["A", "C", "D"])
def test_the_experiments_models_stand_to_each_other_as_in_the_paper(name: str) -> None:
    config = load(builtin(name))
    assert config.name == name
    found = closed_form(config)
    assert list(found) == list(RATIOS)
    for model, ratio in RATIOS.items():
        assert found[model].per_item / found["dssm"].per_item == pytest.approx(ratio, rel=0.2)
        assert found[model].per_item == pytest.approx(PAPER[model] / 10, rel=0.2)


def test_the_full_cascade_has_the_papers_flops_and_scales() -> None:
    config = load(builtin("full"))
    assert config.name == "full"
    found = closed_form(config)
    for model, per_item in PAPER.items():
        assert found[model].per_item == pytest.approx(per_item, rel=0.05)
    stages = tuple(
        Stage(
            stage.name,
            tuple(ModelCost(m.name, found[m.name].per_item, found[m.name].per_request) for m in stage.pool),
            (20_000,) if stage.scales == "corpus" else stage.scales,
        )
        for stage in config.stages
    )
    space = ChainSpace(stages)
    assert len(space) == 6 * 2 * 5
    assert (space.items[:, 1].min(), space.items[:, 1].max()) == (900, 1400)
    assert (space.items[:, 2].min(), space.items[:, 2].max()) == (80, 160)
    # What is done once a request is small beside the items, as the paper assumes.
    once = sum(f.per_request for f in found.values())
    assert once < 0.05 * space.costs.min()


def test_what_the_cascades_see_is_what_they_say() -> None:
    seen = {
        name: {m.name: artifacts.resolve(m)[1].features for s in load(builtin(name)).stages for m in s.pool}
        for name in "ACD"
    }
    everything = {"context", "history", "content", "popularity", "id"}
    assert all(set(features) == everything for features in seen["A"].values())
    assert set(seen["C"]["dssm"]) == {"context", "history", "content"}
    assert set(seen["C"]["ydnn"]) == {"context", "history", "content", "popularity"}
    assert set(seen["D"]["dssm"]) == {"context", "content"}
    assert set(seen["D"]["ydnn"]) == {"context", "history", "content"}
    for name in "CD":
        assert set(seen[name]["din"]) == set(seen[name]["dien"]) == everything


def test_an_unknown_cascade_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"cascade 'Z': .* use one of A, C, D, full, paper, or --config FILE") as told:
        builtin("Z")
    assert "\n" not in str(told.value)


def test_every_built_in_file_is_a_cascade_of_its_own_name() -> None:
    for path in Path(builtin("C")).parent.glob("*.yaml"):
        assert load(path).name == path.stem
